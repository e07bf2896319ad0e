import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

import supercuts
from supercuts.core.errors import InputError
from supercuts.superpixels._kernels.pixels import label_volume
from supercuts.superpixels.volumes import VolumeConfig, VolumeHierarchy, segment_volume


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
    h.save(tmp_path / "volume.npz")
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
