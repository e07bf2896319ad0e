import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

import supercuts
from supercuts.core.arrays import contingency
from supercuts.core.errors import InputError
from supercuts.images.io import read_volume
from supercuts.superpixels._kernels.cluster import average_alike
from supercuts.superpixels._kernels.pixels import label_volume
from supercuts.superpixels.volumes import VolumeConfig, VolumeHierarchy, segment_sequence, segment_volume


def cells(seed, shape=(8, 24, 24), n=12, noise=0.05):
    """Return a volume of Voronoi cells of random brightness with noise, and the cell of each voxel."""
    rng = np.random.default_rng(seed)
    centres = rng.random((n, 3)) * shape
    places = np.moveaxis(np.indices(shape), 0, -1)
    truth = ((places[..., None, :] - centres) ** 2).sum(-1).argmin(-1)
    return (rng.random(n)[truth] + rng.normal(0, noise, shape)).clip(0, 1).astype(np.float32), truth


def check_leaves(h, n, valid):
    labels = h.labels
    np.testing.assert_array_equal(np.unique(labels[valid]), np.arange(n))
    assert (labels[~valid] == -1).all()
    for leaf in range(n):
        assert scipy.ndimage.label(labels == leaf)[1] == 1


@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    n=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_leaves_are_connected_and_exactly_as_many_and_cuts_are_nested(shape, n, seed):
    h = segment_volume(np.random.default_rng(seed).random(shape, np.float32), n)
    n_leaves = min(n, int(np.prod(shape)))
    check_leaves(h, n_leaves, np.ones(shape, bool))
    finer = h.labels
    for regions in range(n_leaves, 0, -3):
        cut = h.cut(regions=regions)
        assert cut.max() + 1 == regions
        assert len(np.unique(np.stack([finer.ravel(), cut.ravel()]), axis=1).T) == finer.max() + 1
        finer = cut


def test_masked_voxels_are_in_no_region():
    volume, truth = cells(0)
    mask = truth > 1
    volume[0, 0, 0] = np.nan
    h = segment_volume(volume, 40, mask=mask)
    mask[0, 0, 0] = False
    check_leaves(h, 40, mask)
    assert set(np.unique(h.cut(regions=3))) == {-1, 0, 1, 2}


def test_pieces_of_a_mask_are_never_joined_by_leaves():
    mask = np.zeros((3, 5, 5), bool)
    mask[0, 0, 0] = mask[2, 4, 4] = mask[0, 0, 1] = True
    h = segment_volume(np.zeros(mask.shape, np.uint8), 1, mask=mask)
    check_leaves(h, 2, mask)


def test_borders_follow_cells_better_than_slic_at_the_same_count():
    from skimage.segmentation import slic

    ours, theirs = [], []
    for seed in range(2):
        volume, truth = cells(seed, (12, 40, 40), 15)
        labels = slic(volume, 60, compactness=0.1, channel_axis=None, start_label=0)
        h = segment_volume(volume, int(labels.max()) + 1)
        ours.append(accuracy(h.labels, truth))
        theirs.append(accuracy(labels, truth))
    assert np.mean(ours) > np.mean(theirs)


def accuracy(labels, truth):
    """Return the achievable segmentation accuracy."""
    table = np.zeros((labels.max() + 1, truth.max() + 1), int)
    np.add.at(table, (labels, truth), 1)
    return table.max(axis=1).sum() / labels.size


def test_merging_stops_at_boundaries():
    boundary = np.zeros((8, 8, 8), np.float32)
    boundary[:, :, 3:5] = 1
    config = VolumeConfig(oversampling=1)  # cells of 2 x 2 x 2 voxels
    labels = segment_volume(np.zeros(boundary.shape, np.uint8), 64, boundary=boundary, config=config).cut(regions=2)
    assert len(np.unique(labels[:, :, :4])) == len(np.unique(labels[:, :, 4:])) == 1
    assert labels[0, 0, 0] != labels[0, 0, -1]


def test_channels_and_types_and_spacing():
    volume = cells(1)[0]
    grey = segment_volume(volume, 30)
    same = segment_volume(np.repeat(volume[..., None], 1, axis=3), 30)
    np.testing.assert_array_equal(grey.labels, same.labels)
    np.testing.assert_array_equal(grey.labels, segment_volume(volume, 30).labels)  # nothing is random
    assert segment_volume((volume * 255).astype(np.uint8), 30).labels.max() == 29
    flat = segment_volume(np.zeros((8, 16, 16), np.uint8), 32, spacing=(100, 1, 1))
    assert all(len(np.unique(np.nonzero(flat.labels == leaf)[0])) == 1 for leaf in range(32))  # slices far apart


def test_pieces_are_those_of_scipy():
    labels = np.random.default_rng(0).integers(-1, 2, (5, 7, 6)).astype(np.int32)
    pieces, n = label_volume(labels)
    count = sum(scipy.ndimage.label(labels == value)[1] for value in (0, 1))
    assert n == count == len(np.unique(pieces[labels >= 0]))
    assert (pieces[labels < 0] == -1).all()


def test_a_file_holds_the_slices(tmp_path):
    h = segment_volume(cells(2)[0], 20)
    (tmp_path / "volume.npz").write_text("mine")
    with pytest.raises(InputError, match="replace it with overwrite=True"):
        h.save(tmp_path / "volume.npz")
    assert (tmp_path / "volume.npz").read_text() == "mine"
    h.save(tmp_path / "volume.npz", overwrite=True)
    again = VolumeHierarchy(supercuts.read(tmp_path / "volume.npz"), 8)
    np.testing.assert_array_equal(again.cut(regions=7), h.cut(regions=7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 2, 2), np.int64), 2), "expected uint8, uint16 or float"),
        ((np.zeros((2, 2, 2), np.uint8), 0), "supervoxels"),
        ((np.full((2, 2, 2), np.nan, np.float32), 2), "no valid voxel"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        segment_volume(*arguments)


def test_sizes_that_differ_are_refused():
    volume = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises((InputError, TypeError)):
        segment_volume(volume, 2, mask=np.ones((2, 3, 3), bool))
    with pytest.raises(InputError, match="three positive sizes"):
        segment_volume(volume, 2, spacing=(1.0, 0.0, 1.0))


def frames_of(seed, n_frames=4, step=(1, 2), size=(40, 60)):
    """Return frames that a window sees as it moves over a picture of noisy cells by `step` each time."""
    height, width = (n + step_ * n_frames for n, step_ in zip(size, step, strict=True))
    picture = cells(seed, (1, height, width), 40, noise=0.02)[0][0]
    places = [(step[0] * t, step[1] * t) for t in range(n_frames)]
    return np.stack([picture[y : y + size[0], x : x + size[1]] for y, x in places])


def check_frames(h, n, valid):
    for labels, ok in zip(h.labels, valid, strict=True):
        ids = np.unique(labels[ok])
        assert len(ids) == n
        assert (labels[~ok] == -1).all()
        assert all(scipy.ndimage.label(labels == leaf)[1] == 1 for leaf in ids)
    np.testing.assert_array_equal(np.unique(h.labels[valid]), np.arange(h.slices.n_leaves))


def nodes_in_frames(h):
    """Return (T, nodes), whether a node has pixels in a frame below at least two children, or is a leaf there."""
    below = np.zeros((h.n_slices, h.slices.parents.size), int)
    for t, labels in enumerate(h.labels):
        below[t, np.unique(labels[labels >= 0])] = 1
    is_shown = below > 0
    for node, parent in enumerate(h.slices.parents[:-1]):
        is_there = (below[:, node] > 0) | is_shown[:, node]
        below[:, parent] += is_there
    is_shown[:, h.slices.n_leaves :] = below[:, h.slices.n_leaves :] >= 2
    return is_shown


def test_ids_and_nodes_stay_in_a_translated_sequence_and_counts_are_exact():
    frames = frames_of(3)
    h = segment_sequence(frames, 60)
    check_frames(h, 60, np.ones(frames.shape, bool))
    is_shown = nodes_in_frames(h)
    for t in range(1, len(frames)):
        assert (is_shown[t - 1] & is_shown[t]).sum() >= 0.95 * is_shown[t - 1].sum()
        before, now = h.labels[t - 1][1:, 2:], h.labels[t][:-1, :-2]  # the part of the picture in both
        ids = np.intersect1d(before, now)
        overlap = [((before == i) & (now == i)).sum() / ((before == i) | (now == i)).sum() for i in ids]
        assert np.mean(np.array(overlap) > 0.5) > 0.9
        assert h.in_slice(t).n_leaves == 60
        assert h.in_slice(t).cut(regions=7).max() == 6


def test_a_flow_moves_each_part_of_a_frame_its_own_way():
    frames = np.zeros((2, 20, 40), np.float32)
    frames[0, 5:11, 3:9] = frames[1, 5:11, 6:12] = 0.5  # moves right by 3
    frames[:, 10:16, 25:31] = 1.0  # stays
    flow = np.zeros((1, 20, 40, 2), np.float32)
    flow[0, 3:13, :14, 1] = -3
    h = segment_sequence(frames, 12, flow=flow)
    check_frames(h, 12, np.ones(frames.shape, bool))
    np.testing.assert_array_equal(np.unique(h.labels[1][6:10, 7:11]), np.unique(h.labels[0][6:10, 4:8]))


@settings(max_examples=6, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(2, 9), st.integers(2, 9)),
    n=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_any_frames_have_exact_counts(shape, n, seed):
    h = segment_sequence(np.random.default_rng(seed).random(shape, np.float32), n)
    check_frames(h, min(n, shape[1] * shape[2]), np.ones(shape, bool))


def test_frames_with_masks_and_a_count_below_their_pieces():
    mask = np.ones((3, 12, 16), bool)
    mask[1, :, 8] = False  # two pieces
    mask[2, 1:, :] = False  # one row
    frames = cells(5, mask.shape)[0]
    check_frames(segment_sequence(frames, 9, mask=mask), 9, mask)
    labels = segment_sequence(frames, 1, mask=mask).labels
    assert [len(np.unique(frame[ok])) for frame, ok in zip(labels, mask, strict=True)] == [1, 2, 1]


def test_boundaries_of_frames_are_altitudes():
    boundary = np.zeros((2, 8, 8), np.float32)
    boundary[:, :, 3:5] = 1
    frames = np.zeros(boundary.shape, np.uint8)
    frames[:, :, 4:] = 5
    cut = segment_sequence(frames, 16, boundary=boundary, config=VolumeConfig(oversampling=1)).cut(regions=2)
    assert cut[:, :, :4].max() < cut[:, :, 4:].min()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"superpixels": 0}, "superpixels"),
        ({"mask": np.stack([np.ones((3, 4), bool), np.zeros((3, 4), bool)])}, "a frame has no valid pixel"),
        ({"flow": np.zeros((2, 3, 4, 2), np.float32)}, "one for each frame but the first"),
    ],
)
def test_frames_that_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        segment_sequence(np.zeros((2, 3, 4), np.uint8), **{"superpixels": 2, **arguments})


def test_slices_have_trees_of_what_they_show():
    mask = np.ones((3, 10, 10), bool)
    mask[2] = False
    h = segment_volume(cells(4, mask.shape)[0], 30, mask=mask)
    tree = h.in_slice(1)
    np.testing.assert_array_equal(np.unique(h.labels[1])[tree.labels], h.labels[1])
    cut = h.cut(altitude=float(np.median(h.slices.altitudes)))[1]  # the same regions, by the same altitudes
    same = tree.cut(altitude=float(np.median(h.slices.altitudes)))
    assert len(np.unique(np.stack([cut.ravel(), same.ravel()]), axis=1).T) == len(np.unique(cut)) == same.max() + 1
    with pytest.raises(InputError, match="slice 2 has no valid voxel"):
        h.in_slice(2)
    with pytest.raises(InputError, match="index"):
        h.in_slice(3)


@pytest.mark.parametrize("shape", [(3, 10, 12), (3, 10, 12, 2), (3, 10, 12, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_ome_zarr_holds_the_volume_and_its_labels(shape, dtype, tmp_path):
    pytest.importorskip("zarr")
    volume = np.random.default_rng(0).random(shape)
    volume = volume.astype(dtype) if dtype == np.float32 else (volume * 255).astype(dtype)
    h = segment_volume(volume, 20)
    h.export_ome_zarr(tmp_path / "a.zarr", volume, (2.0, 0.5, 0.25), regions=5)
    read = read_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read.values, volume)
    assert read.values.dtype == dtype
    labels = read_volume(tmp_path / "a.zarr/labels/cut")
    np.testing.assert_array_equal(labels.values, h.cut(regions=5) + 1)
    assert read.spacing == labels.spacing == (2.0, 0.5, 0.25)
    with pytest.raises(InputError, match="differs from its labels"):
        h.export_ome_zarr(tmp_path / "b.zarr", volume[:2])


def test_the_filter_is_a_mean_over_alike_neighbours():
    rng = np.random.default_rng(0)
    values, valid = rng.normal(50, 10, (3, 4, 5, 2)).astype(np.float32), rng.random((3, 4, 5)) < 0.8
    weights, scale = rng.random((3, 3, 3), np.float32), np.float32(0.01)
    actual = np.empty_like(values)
    for z in range(3):
        average_alike(values, valid, weights, scale, z, actual)
    padded = np.pad(values, ((1, 1), (1, 1), (1, 1), (0, 0)))
    is_there = np.pad(valid, 1)
    total, mass = np.zeros(values.shape), np.zeros(valid.shape)
    for i, j, k in np.ndindex(3, 3, 3):
        shifted = np.s_[i : i + 3, j : j + 4, k : k + 5]
        e = scale * ((padded[shifted] - values) ** 2).sum(axis=3)
        weight = is_there[shifted] * weights[i, j, k] / (1 + e + e**2 / 2)
        total += weight[..., None] * padded[shifted]
        mass += weight
    expected = np.where(valid[..., None], total / np.where(valid, mass, 1)[..., None], values)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_noise_is_removed_before_clustering():
    volume, truth = cells(0, noise=0.15)

    def error(config):
        labels = segment_volume(volume, 60, config=config).labels
        return 1 - contingency(truth, labels).max(axis=0).sum() / truth.size

    assert error(VolumeConfig()) < 0.8 * error(VolumeConfig(denoise=0))


def test_a_volume_without_noise_is_clustered_as_it_is():
    volume = np.zeros((4, 12, 12), np.uint8)
    volume[:, 4:, 3:] = 200
    volume[2:, 6:, 8:] = 90
    as_it_is = segment_volume(volume, 12, config=VolumeConfig(denoise=0))
    np.testing.assert_array_equal(segment_volume(volume, 12).labels, as_it_is.labels)
