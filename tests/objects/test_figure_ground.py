import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

import supercuts
from supercuts.core.errors import InputError
from supercuts.hierarchy.regions import frame_contact
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging.affinity import Perceptrons
from supercuts.objects import _kernels as kernels
from supercuts.objects.discover import discover
from supercuts.objects.figure_ground import (
    FEATURES,
    FigureGroundConfig,
    border_edges,
    figure_features,
    figures,
    leaf_saliency,
    snap_to_tree,
)
from supercuts.objects.node_graph import label_graph


def judge_by(name):
    """Return perceptrons whose logit is one feature."""
    first, second = np.zeros((1, len(FEATURES) + 1, 2), np.float32), np.zeros((1, 3, 2), np.float32)
    first[0, FEATURES.index(name)] = 1, -1
    second[0, :2] = np.eye(2)
    zeros, ones = np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32)
    return Perceptrons(zeros, ones, first, second, np.array([[1, -1, 0]], np.float32))


def random_hierarchy(seed=0, n=9, shape=(12, 15)):
    rng = np.random.default_rng(seed)
    height, width = shape
    rows, columns = (
        np.sort(rng.choice(np.arange(1, height), 2, False)),
        np.sort(rng.choice(np.arange(1, width), 2, False)),
    )
    labels = np.searchsorted(rows, np.arange(height), "right")[:, None] * 3 + np.searchsorted(
        columns, np.arange(width), "right"
    )
    parents, roots = np.zeros(2 * n - 1, np.int32), list(range(n))
    for node in range(n, 2 * n - 1):
        for _ in range(2):
            parents[roots.pop(rng.integers(len(roots)))] = node
        roots.append(node)
    parents[-1] = 2 * n - 2
    altitudes = np.concatenate([np.zeros(n), np.sort(rng.random(n - 1))]).astype(np.float32)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return Hierarchy(labels.astype(np.int32), parents, altitudes, rng.random((n, 4), np.float32), image)


def joining_altitude(h, a, b):
    while a != b:
        a, b = (h.parents[a], b) if a < b else (a, h.parents[b])
    return float(h.altitudes[a])


@pytest.mark.parametrize("seed", range(5))
def test_outlines_are_those_of_the_pixels(seed):
    h = random_hierarchy(seed)
    actual = kernels.sum_outlines(h.parents, h.altitudes, *border_edges(h))
    for node in range(h.n_nodes):
        inside = np.isin(h.labels, h.leaves_of(node))
        length = strength = 0.0
        for axis in (0, 1):
            pairs = (np.delete(a, -1, axis) if i == 0 else np.delete(a, 0, axis) for i, a in ((0, inside), (1, inside)))
            first, second = pairs
            leaf_one, leaf_other = np.delete(h.labels, -1, axis), np.delete(h.labels, 0, axis)
            for a, b in zip(leaf_one[first != second], leaf_other[first != second], strict=True):
                length += 1
                strength += joining_altitude(h, a, b)
        np.testing.assert_allclose(actual[node], [length, strength], atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_leaves_join_the_frame_at_the_trees_altitude(seed):
    h = random_hierarchy(seed)
    frame = np.ones(h.shape, bool)
    frame[1:-1, 1:-1] = False
    counts = np.bincount(h.labels[frame], minlength=h.n_leaves)
    of_nodes = np.array([counts[h.leaves_of(node)].sum() for node in range(h.n_nodes)], float)
    actual = kernels.frame_altitudes(h.parents, h.altitudes, of_nodes, h.n_leaves)
    for leaf in range(h.n_leaves):
        joins = np.array([joining_altitude(h, leaf, other) for other in range(h.n_leaves)])
        mean = (joins * counts).sum() / counts.sum()
        np.testing.assert_allclose(actual[leaf], [mean, joins[counts > 0].min()], atol=1e-6)


def test_averages_to_the_root_are_weighted_means_of_all_nodes_above():
    h = random_hierarchy(3)
    rng = np.random.default_rng(0)
    values, weights = rng.random(h.n_nodes), rng.random(h.n_nodes)
    actual = kernels.average_to_root(h.parents, values, weights, h.n_leaves)
    for leaf in range(h.n_leaves):
        way = [leaf, *h.ancestors(leaf)]
        assert actual[leaf] == pytest.approx(np.average(values[way], weights=weights[way]))


def column(features, name):
    return features[:, FEATURES.index(name)]


def test_features_have_their_names_and_meanings():
    h = random_hierarchy(1)
    features = figure_features(h)
    assert features.shape == (h.n_nodes, len(FEATURES))
    table = h.region_table()
    np.testing.assert_allclose(column(features, "area"), table.area / h.labels.size, rtol=1e-5)
    np.testing.assert_allclose(
        column(features, "centre: row"), (table.centroid_yx[:, 0] + 0.5) / len(h.labels), rtol=1e-5
    )
    np.testing.assert_allclose(column(features, "altitude"), h.altitudes)
    np.testing.assert_allclose(
        column(features, "area: share of the parent"), table.area / table.area[h.parents], rtol=1e-5
    )
    top = [np.isin(h.labels[0], h.leaves_of(node)).mean() for node in range(h.n_nodes)]
    np.testing.assert_allclose(column(features, "frame: upper side"), top, rtol=1e-5)
    sides = np.array(
        [
            [
                np.isin(side, h.leaves_of(node)).any()
                for side in (h.labels[0], h.labels[-1], h.labels[:, 0], h.labels[:, -1])
            ]
            for node in range(h.n_nodes)
        ]
    )
    np.testing.assert_array_equal(column(features, "frame: sides touched"), sides.sum(1))
    assert np.isfinite(features).all()


def test_contrasts_are_of_colours_and_embeddings_in_units_of_their_spread():
    h = random_hierarchy(2)
    features = figure_features(h)
    area = h.areas()[: h.n_leaves]
    x = h.embeddings.astype(float)
    x = (x - np.average(x, axis=0, weights=area)) / np.sqrt(
        np.average(((x - np.average(x, axis=0, weights=area)) ** 2).sum(1), weights=area)
    )
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(2))
    expected = np.exp(-(distance**2) / (2 * 0.3**2)) @ area / area.sum()
    actual = column(features, "embedding: likeness to the image, spread 0.3")[: h.n_leaves]
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
    np.testing.assert_allclose(column(features, "embedding: mean distance to the frame").min(), 0, atol=3)


def test_a_mirrored_image_has_the_same_features():
    h = random_hierarchy(4)
    mirrored = Hierarchy(
        np.ascontiguousarray(h.labels[:, ::-1]),
        h.parents,
        h.altitudes,
        h.embeddings,
        np.ascontiguousarray(h.image[:, ::-1]),
    )
    np.testing.assert_allclose(figure_features(mirrored), figure_features(h), rtol=1e-3, atol=1e-4)


def test_fewer_references_change_little():
    h = supercuts.load("compact").segment(picture(), superpixels=120)
    all_of_them, few = (figure_features(h, FigureGroundConfig(references=n)) for n in (120, 40))
    contrasts = slice(0, 14)
    assert abs(all_of_them[:, contrasts] - few[:, contrasts]).mean() < 0.15


def picture():
    image = np.full((80, 120, 3), 205, np.uint8)
    image[10:30, 15:40] = (200, 40, 40)
    image[40:70, 60:100] = (30, 60, 170)
    return image


def test_saliency_runs_from_0_to_1_and_is_0_for_a_single_leaf():
    h = random_hierarchy(0)
    saliency = leaf_saliency(h, judge_by("frame: share"))
    assert (saliency.min(), saliency.max()) == (0, 1)
    one = Hierarchy(
        np.zeros((4, 5), np.int32),
        np.zeros(1, np.int32),
        np.zeros(1, np.float32),
        np.zeros((1, 0), np.float32),
        np.zeros((4, 5, 3), np.uint8),
    )
    assert leaf_saliency(one, judge_by("area")).tolist() == [0]
    whole = figures(one, label_graph(one.labels), judge_by("area"))
    assert whole[0].is_object.all()
    assert whole[0].score == 0


def test_both_figures_are_found_together_and_apart():
    model = supercuts.load("compact")
    h = model.segment(picture(), superpixels=80)
    truth = np.zeros((2, 80, 120), bool)
    truth[0, 40:70, 60:100] = True
    truth[1, 10:30, 15:40] = True
    together = model.objects(h)
    assert len(together.masks) == 1
    assert (together.mask & truth.any(0)).sum() > 0.9 * (together.mask | truth.any(0)).sum()
    apart = model.objects(h, n=5)
    assert len(apart.masks) == 2
    for mask in apart.masks:
        assert max((mask & item).sum() / (mask | item).sum() for item in truth) > 0.9
    assert (together.saliency[together.mask] >= 0.5).all()
    assert (together.saliency[~together.mask] <= 0.5).all()


def test_missing_inputs_are_named():
    h = random_hierarchy(0)
    bare = Hierarchy(h.labels, h.parents, h.altitudes, h.embeddings)
    with pytest.raises(InputError, match="image=True"):
        figure_features(bare)
    with pytest.raises(InputError, match="supercuts calibrate"):
        discover(h, method="tree")


def noisy_margin(h, top, bottom, left, right):
    """Return the hierarchy of a larger image whose new pixels, noise, a mask leaves out."""
    margin = ((top, bottom), (left, right))
    labels = np.pad(h.labels, margin, constant_values=-1)
    image = np.random.default_rng(5).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    image[labels >= 0] = h.image.reshape(-1, 3)
    return replace(h, labels=labels, image=image)


@pytest.mark.parametrize("seed", range(4))
def test_a_margin_that_a_mask_leaves_out_changes_nothing(seed):
    h = random_hierarchy(seed)
    wide = noisy_margin(h, 3, 0, 2, 4)
    np.testing.assert_allclose(figure_features(wide), figure_features(h), rtol=1e-6)
    np.testing.assert_array_equal(discover(wide, n=3).masks[:, 3:, 2:-4], discover(h, n=3).masks)
    judge = judge_by("frame: share")
    first, second = (discover(each, method="tree", judge=judge) for each in (h, wide))
    np.testing.assert_array_equal(second.masks[:, 3:, 2:-4], first.masks)
    np.testing.assert_allclose(second.saliency[3:, 2:-4], first.saliency, atol=1e-6)
    assert second.mask.sum() == first.mask.sum()
    assert not second.saliency[:3].any()


def test_features_are_finite_of_islands_in_holes_and_see_no_hidden_pixel():
    h = random_hierarchy(5, shape=(36, 45))
    labels = h.labels.copy()
    around = ndimage.binary_dilation(labels == 4, np.ones((3, 3))) & (labels != 4)
    labels[around] = -1  # leaf 4 is an island in a hole
    assert frame_contact(labels, 9)[4] == 0
    assert (np.bincount(labels[labels >= 0], minlength=9) > 0).all()
    holed = replace(h, labels=labels)
    features = figure_features(holed)
    assert np.isfinite(features).all()
    noise = np.random.default_rng(0).integers(0, 256, h.image.shape, dtype=np.uint8)
    hidden = replace(holed, image=np.where(labels[..., None] < 0, noise, h.image))
    np.testing.assert_array_equal(figure_features(hidden), features)


def test_the_figure_is_found_next_to_masked_pixels():
    model = supercuts.load("compact")
    valid = np.ones((80, 120), bool)
    valid[:, 105:], valid[:6], valid[20:24, 60:66] = False, False, False
    photo = picture()
    photo[~valid] = (255, 255, 0)
    actual = model.objects(model.segment(photo, superpixels=80, mask=valid))
    truth = np.zeros((80, 120), bool)
    truth[40:70, 60:100] = truth[10:30, 15:40] = True
    assert not actual.mask[~valid].any()
    assert not actual.saliency[~valid].any()
    assert (actual.mask & truth).sum() > 0.9 * (actual.mask | truth).sum()


def random_tree(n, seed):
    """Return a binary hierarchy of n leaves of 1 to 6 pixels."""
    rng = np.random.default_rng(seed)
    parents = np.arange(2 * n - 1, dtype=np.int32)
    roots = list(range(n))
    for node in range(n, 2 * n - 1):
        for _ in range(2):
            parents[roots.pop(rng.integers(len(roots)))] = node
        roots.append(node)
    labels = np.repeat(np.arange(n), rng.integers(1, 7, n)).astype(np.int32)[None]
    altitudes = np.concatenate([np.zeros(n), np.linspace(0.1, 1, n - 1)]).astype(np.float32)
    return Hierarchy(labels, parents, altitudes, np.zeros((n, 0), np.float32))


def all_unions(h):
    """Return (nodes, mask of leaves) of every union of disjoint nodes."""
    below = [set(h.leaves_of(node).tolist()) for node in range(h.n_nodes)]
    unions = []
    for size in range(1, h.n_leaves + 1):
        for nodes in itertools.combinations(range(h.n_nodes), size):
            leaves = [leaf for node in nodes for leaf in below[node]]
            if len(leaves) == len(set(leaves)):
                unions.append((size, np.isin(np.arange(h.n_leaves), leaves)))
    return unions


def value(h, soft, penalty, size, mask):
    areas = h.areas()
    return ((soft - 0.5) * areas[: h.n_leaves])[mask].sum() - size * penalty * areas[-1]


@pytest.mark.parametrize("penalty", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_no_union_agrees_more(seed, penalty):
    h, soft = random_tree(6, seed), np.random.default_rng(seed).random(6)
    best = max(value(h, soft, penalty, *union) for union in all_unions(h))
    mask = snap_to_tree(h, soft, penalty)
    actual = max(value(h, soft, penalty, size, other) for size, other in all_unions(h) if (other == mask).all())
    assert actual == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_binary_mask_comes_back_without_a_penalty(seed):
    h = random_tree(30, seed)
    inside = np.random.default_rng(seed).random(30) < 0.4
    np.testing.assert_array_equal(snap_to_tree(h, inside.astype(float), 0.0), inside)


@pytest.mark.parametrize("max_nodes", [1, 2, 4])
def test_a_union_has_at_most_the_given_number_of_nodes(max_nodes):
    h, soft = random_tree(8, 3), np.random.default_rng(3).random(8)
    mask = snap_to_tree(h, soft, 0.0, max_nodes)
    assert min(size for size, other in all_unions(h) if (other == mask).all()) <= max_nodes


def test_a_stray_leaf_and_a_hole_follow_their_region():
    # leaves 0..3 make node 8 by way of 6 and 7; 4 and 5 make 9
    parents = np.array([6, 6, 7, 7, 9, 9, 8, 8, 10, 10, 10], np.int32)
    labels = np.repeat(np.arange(6, dtype=np.int32), 4)[None]
    altitudes = np.array([0] * 6 + [0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
    h = Hierarchy(labels, parents, altitudes, np.zeros((6, 0), np.float32))
    soft = np.array([0.9, 0.9, 0.45, 0.9, 0.52, 0.1])
    assert snap_to_tree(h, soft, 0.01).tolist() == [True, True, True, True, False, False]


def test_the_union_is_never_empty():
    h = random_tree(5, 0)
    assert snap_to_tree(h, np.zeros(5)).sum() == 1
    assert snap_to_tree(h, np.full(5, 0.5)).all()
    one = Hierarchy(
        np.zeros((2, 2), np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32)
    )
    assert snap_to_tree(one, np.array([0.2])).tolist() == [True]


def test_mismatched_inputs_are_refused():
    h = random_tree(5, 0)
    with pytest.raises(InputError, match=r"5 numbers in 0\.\.1"):
        snap_to_tree(h, np.full(5, 1.5))
    with pytest.raises(InputError, match="penalty=2"):
        snap_to_tree(h, np.zeros(5), 2)
    with pytest.raises(InputError, match="max_nodes=0"):
        snap_to_tree(h, np.zeros(5), max_nodes=0)
