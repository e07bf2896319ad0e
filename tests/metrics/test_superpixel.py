import inspect

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as draw_arrays

from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.metrics import superpixel
from supercuts.metrics.superpixel import (
    achievable_segmentation_accuracy,
    boundary_mask,
    boundary_precision,
    boundary_recall,
    boundary_recalls,
    compactness,
    default_radius_px,
    explained_variation,
    n_fragments,
    undersegmentation_error,
    undersegmentation_error_corrected,
)

TABLE_METRICS = [achievable_segmentation_accuracy, undersegmentation_error, undersegmentation_error_corrected]
PAIR_METRICS = [boundary_recall, boundary_precision]
SOLO_METRICS = [compactness, n_fragments]

shapes = st.tuples(st.integers(1, 8), st.integers(1, 8))


def label_maps(shape):
    return draw_arrays(np.int32, shape, elements=st.integers(0, 4)).map(lambda a: relabel_consecutive(a)[0])


pairs = shapes.flatmap(lambda shape: st.tuples(label_maps(shape), label_maps(shape)))


def permuted(labels, seed):
    ids = np.random.default_rng(seed).permutation(labels.max() + 1)
    return ids[labels].astype(np.int32)


def gapped(labels, seed):
    """Give the regions any ids that a label map may hold: below the pixel count, with gaps."""
    ids = np.random.default_rng(seed).choice(labels.size, labels.max() + 1, replace=False)
    return ids[labels].astype(np.int32)


def random_image(labels, seed):
    return np.random.default_rng(seed).normal(50, 20, (*labels.shape, 3))


# truth rows: 6 and 6 pixels; superpixels: 5 inside the first, 3 = 1 + 2, 4 inside the second
HAND = np.array([[5, 1, 0], [0, 2, 4]])


def test_table_metrics_match_hand_worked_table():
    assert achievable_segmentation_accuracy(HAND) == 11 / 12
    assert undersegmentation_error(HAND) == 2 / 12
    assert undersegmentation_error_corrected(HAND) == 1 / 12


def test_undersegmentation_counts_the_smaller_side_only():
    # 2 of 10 pixels leak: min(8, 2) and min(2, 8)
    assert undersegmentation_error(np.array([[8], [2]])) == 0.4


@given(pairs)
def test_table_metrics_match_set_definitions(pair):
    truth, labels = (a.ravel() for a in pair)
    n = truth.size
    regions = [set(np.flatnonzero(truth == i)) for i in np.unique(truth)]
    superpixels = [set(np.flatnonzero(labels == j)) for j in np.unique(labels)]
    table = contingency(*pair)
    asa = sum(max(len(s & g) for g in regions) for s in superpixels) / n
    ue = sum(min(len(s & g), len(s - g)) for g in regions for s in superpixels) / n
    assert achievable_segmentation_accuracy(table) == pytest.approx(asa)
    assert undersegmentation_error(table) == pytest.approx(ue)
    assert undersegmentation_error_corrected(table) == pytest.approx(1 - asa)


@given(pairs, st.integers(0, 99))
def test_relabelling_and_transposing_change_nothing(pair, seed):
    truth, labels = pair
    image = random_image(labels, seed)
    renamed = (permuted(truth, seed), permuted(labels, seed + 1), image)
    spread = (gapped(truth, seed), gapped(labels, seed + 1), image)
    turned = (truth.T, labels.T, image.transpose(1, 0, 2))
    for *other, pixels in (renamed, spread, turned):
        for metric in TABLE_METRICS:
            assert metric(contingency(*other)) == pytest.approx(metric(contingency(*pair)))
        for metric in PAIR_METRICS:
            assert metric(*other, 1) == pytest.approx(metric(*pair, 1))
        for metric in SOLO_METRICS:
            assert metric(other[1]) == pytest.approx(metric(labels))
        np.testing.assert_array_equal(boundary_recalls(*other, [0, 2]), boundary_recalls(*pair, [0, 2]))
        assert explained_variation(pixels, other[1]) == pytest.approx(explained_variation(image, labels))


@given(pairs)
def test_ranges_and_swapped_roles(pair):
    table = contingency(*pair)
    for metric in TABLE_METRICS:
        assert 0 <= metric(table) <= 1
    assert undersegmentation_error_corrected(table) < 1
    assert 0 < achievable_segmentation_accuracy(table) <= 1
    assert 0 < compactness(pair[1]) <= np.pi / 4 + 1e-12
    assert 0 <= n_fragments(pair[1]) <= pair[1].size - np.unique(pair[1]).size
    assert 0 <= explained_variation(random_image(pair[1], 0), pair[1]) <= 1
    for radius in (0, 1, 2):
        assert 0 <= boundary_recall(*pair, radius) <= boundary_recall(*pair, radius + 1) <= 1
        assert boundary_precision(*pair, radius) == boundary_recall(pair[1], pair[0], radius)


@given(shapes.flatmap(label_maps), st.integers(0, 99))
def test_perfect_prediction_is_perfect(truth, seed):
    labels = gapped(truth, seed)
    table = contingency(truth, labels)
    assert achievable_segmentation_accuracy(table) == 1
    assert undersegmentation_error(table) == undersegmentation_error_corrected(table) == 0
    assert boundary_recall(truth, labels, 0) == boundary_precision(truth, labels, 0) == 1
    colours = np.random.default_rng(seed).normal(50, 20, (truth.max() + 1, 3))
    assert explained_variation(colours[truth], labels) == pytest.approx(1)


@given(pairs)
def test_splitting_superpixels_never_lowers_the_achievable_accuracy(pair):
    truth, labels = pair
    finer = relabel_consecutive(labels * 5 + truth)[0]  # every superpixel cut along the truth
    assert achievable_segmentation_accuracy(contingency(truth, finer)) == 1
    assert boundary_recall(truth, finer, 0) == 1
    image = random_image(labels, 0)
    assert explained_variation(image, finer) >= explained_variation(image, labels) - 1e-12


def test_one_pixel_is_defined():
    pixel = np.zeros((1, 1), np.int32)
    table = contingency(pixel, pixel)
    assert [metric(table) for metric in TABLE_METRICS] == [1, 0, 0]
    assert boundary_recall(pixel, pixel) == boundary_precision(pixel, pixel) == 1
    assert boundary_recalls(pixel, pixel, [0, 5]).tolist() == [1, 1]
    assert not boundary_mask(pixel).any()
    assert default_radius_px(pixel.shape) == 0
    assert compactness(pixel) == pytest.approx(np.pi / 4)
    assert n_fragments(pixel) == 0
    assert explained_variation(np.full((1, 1, 3), 40.0), pixel) == 1


def test_one_region_is_defined():
    whole = np.zeros((4, 6), np.int32)
    halves = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0).astype(np.int32)
    assert boundary_recall(whole, halves) == 1  # no boundary to miss
    assert boundary_recall(halves, whole) == 0
    assert boundary_precision(halves, whole) == 1
    assert boundary_precision(whole, halves) == 0
    assert boundary_recalls(whole, halves, [0, 1]).tolist() == [1, 1]
    assert boundary_recalls(halves, whole, [0, 9]).tolist() == [0, 0]
    assert undersegmentation_error(contingency(whole, halves)) == 0
    assert achievable_segmentation_accuracy(contingency(halves, whole)) == 0.5
    assert undersegmentation_error(contingency(halves, whole)) == 1
    assert n_fragments(whole) == 0
    assert compactness(whole) == pytest.approx(4 * np.pi * 24 / 20**2)


@given(pairs, st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_boundary_recall_matches_pixel_by_pixel_search(pair, radii):
    def boundary(labels):
        height, width = labels.shape
        return {
            (y, x)
            for y in range(height)
            for x in range(width)
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            if 0 <= v < height and 0 <= u < width and labels[v, u] != labels[y, x]
        }

    wanted, actual = boundary(pair[0]), boundary(pair[1])
    assert set(map(tuple, np.argwhere(boundary_mask(pair[0])).tolist())) == wanted
    nearest = [min((max(abs(y - v), abs(x - u)) for v, u in actual), default=np.inf) for y, x in wanted]
    expected = [np.mean(np.array(nearest) <= radius) if wanted else 1.0 for radius in radii]
    np.testing.assert_allclose(boundary_recalls(*pair, radii), expected)
    assert [boundary_recall(*pair, radius) for radius in radii] == boundary_recalls(*pair, radii).tolist()


@pytest.mark.parametrize("last", [0, 1, 5, 12, 30, 37, 38])
def test_boundary_recall_grows_with_the_radius_up_to_the_far_border(last):
    # every pixel is on a truth boundary; the superpixels' runs between columns last and last + 1 of 40
    truth, labels = np.arange(40)[None], (np.arange(40) > last).astype(np.int64)[None]
    distance = np.array([max(last - x, x - last - 1, 0) for x in range(40)])
    radii = [*range(50), 1000]
    expected = [(distance <= radius).mean() for radius in radii]
    assert boundary_recalls(truth, labels, radii).tolist() == expected
    assert boundary_recalls(truth.T, labels.T, radii[::-1]).tolist() == expected[::-1]
    assert [boundary_recall(truth, labels, radius) for radius in radii] == expected


def test_no_radii_give_no_recalls():
    labels = np.array([[0, 1]])
    assert boundary_recalls(labels, labels, []).shape == (0,)


@pytest.mark.parametrize(("shape", "radius"), [((321, 481), 1), ((481, 321), 1), ((10, 10), 0), ((2400, 1800), 8)])
def test_default_radius_follows_the_diagonal(shape, radius):
    assert default_radius_px(shape) == radius


def test_compactness_counts_the_image_border():
    # one 3 x 1 column and one 3 x 2 block: perimeters 8 and 10
    labels = np.array([[0, 1, 1]] * 3)
    expected = (3 * 4 * np.pi * 3 / 64 + 6 * 4 * np.pi * 6 / 100) / 9
    assert compactness(labels) == pytest.approx(expected)


def test_compactness_skips_unused_ids():
    assert compactness(np.array([[2, 2], [2, 2]])) == pytest.approx(np.pi / 4)


@given(shapes.flatmap(label_maps))
def test_fragments_match_component_labelling(labels):
    components = sum(scipy.ndimage.label(labels == label)[1] for label in np.unique(labels))
    assert n_fragments(labels) == components - np.unique(labels).size


def test_fragments_of_a_spiral_are_joined():
    # components that meet only late test the merging of sets
    labels = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 1, 1], [1, 0, 0, 0, 0]])
    assert n_fragments(labels) == 0


@given(shapes.flatmap(label_maps), st.integers(0, 99))
def test_explained_variation_is_one_minus_within_share(labels, seed):
    image = random_image(labels, seed)
    if labels.size == 1:
        assert explained_variation(image, labels) == 1
        return
    within = sum(((x := image[labels == j]) - x.mean(axis=0)).__pow__(2).sum() for j in np.unique(labels))
    total = ((image - image.mean(axis=(0, 1))) ** 2).sum()
    assert explained_variation(image, labels) == pytest.approx(1 - within / total)


def test_explained_variation_edges():
    image = np.arange(12.0).reshape(2, 2, 3)
    assert explained_variation(image, np.zeros((2, 2), np.int32)) == pytest.approx(0)
    assert explained_variation(image, np.arange(4).reshape(2, 2)) == pytest.approx(1)
    assert explained_variation(np.full((2, 2, 3), 7.5), np.zeros((2, 2), np.int32)) == 1  # no variation to explain


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_explained_variation_of_unknown_colours_is_refused(value):
    image = np.zeros((2, 2, 3))
    image[1, 0, 2] = value
    with pytest.raises(InputError, match=r"Expected finite colours: replace them"):
        explained_variation(image, np.zeros((2, 2), np.int32))


@pytest.mark.parametrize("metric", TABLE_METRICS)
@pytest.mark.parametrize("table", [np.zeros((0, 0), int), np.zeros((2, 2), int), np.array([[3, -1]])])
def test_bad_tables_are_refused(metric, table):
    with pytest.raises(InputError, match=r"Build it with core\.arrays\.contingency"):
        metric(table)


@pytest.mark.parametrize("metric", ["compactness", "n_fragments", "boundary_recall", "explained_variation"])
@pytest.mark.parametrize("labels", [np.zeros((0, 3), int), np.array([[-1, 0]]), np.array([[0, 2]])])
def test_bad_label_maps_are_refused(metric, labels):
    given = {
        "boundary_recall": (labels, np.zeros_like(labels)),
        "explained_variation": (np.zeros((*labels.shape, 3)), labels),
    }.get(metric, (labels,))
    with pytest.raises(InputError, match=r"renumber with core\.arrays\.relabel_consecutive"):
        getattr(superpixel, metric)(*given)


def test_maps_of_different_images_are_refused():
    # unwrapped: while tests enforce annotations, those would refuse first
    recalls, variation = inspect.unwrap(boundary_recalls), inspect.unwrap(explained_variation)
    with pytest.raises(InputError, match=r"differ in shape: score maps of one image"):
        recalls(np.zeros((2, 3), np.int32), np.zeros((3, 2), np.int32), [1])
    with pytest.raises(InputError, match=r"differ in size: give maps of one image"):
        variation(np.zeros((2, 3, 3)), np.zeros((3, 2), np.int32))


def test_negative_radius_is_refused():
    labels = np.zeros((2, 2), np.int32)
    with pytest.raises(InputError, match=r"radius_px=-1 is negative\. Give 0"):
        boundary_recall(labels, labels, -1)
    with pytest.raises(InputError, match=r"radius_px=-2 is negative\. Give 0"):
        boundary_recalls(labels, labels, [1, -2])
