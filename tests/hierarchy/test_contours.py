import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as draw_arrays

from supercuts.core.errors import InputError
from supercuts.hierarchy.contours import contour_map, contour_tree, tracking_maps
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.io import read_image
from supercuts.metrics.region import ucm_labels
from supercuts.model import Model

ULTRACK = os.environ.get("SUPERCUTS_ULTRACK_PYTHON")


@st.composite
def contour_maps(draw):
    """Draw any map that is 0 at the pixels, ultrametric or not: the benchmark cuts every one."""
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    shape = (2 * height + 1, 2 * width + 1)
    ucm = draw(draw_arrays(np.float64, shape, elements=st.sampled_from([0, 0.2, 0.5, 0.5, 0.7, 1])))
    ucm[1::2, 1::2] = 0
    return ucm


def cut(tree, altitude):
    """Return the label map of the maximal nodes of at most that altitude, step by step."""
    node = tree.labels.astype(np.int64)
    while True:
        above = tree.parents[node]
        above = np.where(tree.altitudes[above] <= altitude, above, node)
        if np.array_equal(above, node):
            return node
        node = above


def same_partition(a, b):
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len({i for i, _ in pairs}) == len({j for _, j in pairs})


@given(contour_maps())
def test_cuts_are_the_components_of_the_thresholded_map(ucm):
    tree = contour_tree(ucm)
    for altitude in (0, 0.1, 0.2, 0.5, 0.6, 0.7, 1):
        assert same_partition(cut(tree, altitude), ucm_labels(ucm, altitude))


@given(contour_maps())
def test_tree_is_valid_and_binary(ucm):
    before = ucm.copy()
    tree = contour_tree(ucm)
    n_leaves = int(tree.labels.max()) + 1
    assert sorted(set(tree.labels.ravel().tolist())) == list(range(n_leaves))
    assert tree.parents.size == 2 * n_leaves - 1
    assert (tree.parents[:-1] > np.arange(tree.parents.size - 1)).all()
    assert tree.parents[-1] == tree.parents.size - 1
    np.testing.assert_array_equal(np.bincount(tree.parents[:-1], minlength=tree.parents.size)[n_leaves:], 2)
    assert (tree.altitudes[tree.parents] >= tree.altitudes).all()
    assert (tree.altitudes[:n_leaves] == 0).all()
    np.testing.assert_array_equal(ucm, before)


@pytest.mark.dataset
def test_benchmark_maps_are_cut_alike(data_root):
    for path in sorted((data_root / "bsds_bench_reference/ucm2").glob("*.mat")):
        ucm = scipy.io.loadmat(path)["ucm2"]
        tree = contour_tree(ucm)
        for altitude in (0.01, 0.2, 0.5, 0.9):
            assert same_partition(cut(tree, ucm.dtype.type(altitude)), ucm_labels(ucm, altitude))


@pytest.mark.parametrize(
    ("ucm", "remedy"),
    [
        (np.zeros((4, 5)), "Give the double-size map"),
        (np.full((3, 3), np.nan), "replace them"),
        (np.full((3, 3), -1.0), "replace them"),
        (np.ones((3, 5)), "is not 0 at 2 of the pixels"),
    ],
)
def test_other_maps_are_refused(ucm, remedy):
    with pytest.raises(InputError, match=remedy):
        contour_tree(ucm)


def slow_ucm(h):
    """Element by element, with ancestor lists: independent of the kernels."""

    def joined(a, b):
        lines = []
        for node in (int(a), int(b)):
            line = [node]
            while h.parents[line[-1]] != line[-1]:
                line.append(int(h.parents[line[-1]]))
            lines.append(line)
        return h.altitudes[next(node for node in lines[0] if node in lines[1])]

    height, width = h.shape
    ucm = np.zeros((2 * height + 1, 2 * width + 1), dtype=np.float32)
    for y, x in np.ndindex(height, width):
        if x + 1 < width:
            ucm[2 * y + 1, 2 * x + 2] = joined(h.labels[y, x], h.labels[y, x + 1])
        if y + 1 < height:
            ucm[2 * y + 2, 2 * x + 1] = joined(h.labels[y, x], h.labels[y + 1, x])
    for r in range(2, 2 * height, 2):
        for c in range(2, 2 * width, 2):
            ucm[r, c] = max(ucm[r - 1, c], ucm[r + 1, c], ucm[r, c - 1], ucm[r, c + 1])
    ucm[0], ucm[-1] = ucm[1], ucm[-2]
    ucm[:, 0], ucm[:, -1] = ucm[:, 1], ucm[:, -2]
    return ucm


def test_hand_worked_map(hand):
    a, b, c, d = 0.25, 0.75, 0.5, 0.125  # {0,1}, root, {2,3,4}, {3,4}
    expected = [
        [0, 0, 0, 0, a, 0, 0, 0, 0],
        [0, 0, 0, 0, a, 0, 0, 0, 0],
        [b, b, b, b, b, b, b, b, b],
        [0, 0, 0, 0, c, 0, d, 0, 0],
        [0, 0, 0, 0, c, 0, d, 0, 0],
    ]
    ucm = hand.ucm()
    assert ucm.dtype == np.float32
    np.testing.assert_array_equal(ucm, expected)


@given(data=st.data())
def test_matches_the_slow_map(hierarchies, data):
    h = data.draw(hierarchies)
    np.testing.assert_array_equal(h.ucm(), slow_ucm(h), strict=True)


@given(data=st.data(), altitude=st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 2 / 3, 0.9, 1.0]))
def test_threshold_gives_the_partition_of_the_cut(hierarchies, data, altitude):
    h = data.draw(hierarchies)
    components = scipy.ndimage.label(h.ucm()[1:-1, 1:-1] <= np.float32(altitude))[0][::2, ::2]
    cut = h.cut(altitude=altitude)
    pairs = set(zip(components.ravel().tolist(), cut.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(components)) == cut.max() + 1


@given(data=st.data())
def test_transposing_the_image_transposes_the_map(hierarchies, data):
    h = data.draw(hierarchies)
    flipped = contour_map(np.ascontiguousarray(h.labels.T), h.parents, h.altitudes)
    np.testing.assert_array_equal(flipped, h.ucm().T)


def test_more_boundaries_than_memo_slots():
    rng = np.random.default_rng(3)  # scattered leaves: nearly every pair of 120 leaves touches somewhere
    labels = np.concatenate([np.arange(120), rng.integers(0, 120, 120 * 39)]).reshape(40, 120).astype(np.int32)
    parents, altitudes = np.arange(1, 240, dtype=np.int32).repeat(1)[:239], np.zeros(239, dtype=np.float32)
    parents[:120], parents[120:238], parents[238] = np.arange(120) // 1 + 119, np.arange(121, 239), 238
    parents[0] = 120  # a chain: 0 and 1 make 120, each further leaf joins the chain
    altitudes[120:] = np.linspace(0.1, 1, 119)
    h = Hierarchy(labels, parents, altitudes, np.zeros((120, 0), dtype=np.float32))
    np.testing.assert_array_equal(h.ucm(), slow_ucm(h), strict=True)


def test_frame_and_corners_follow_the_benchmark(data_root):
    """The benchmark's own maps obey the same rules, so ours can be given to it."""
    for path in sorted((data_root / "bsds_bench_reference/ucm2").glob("*.mat")):
        ucm = scipy.io.loadmat(path)["ucm2"]
        assert not ucm[1::2, 1::2].any()
        for edge, beside in ((ucm[0], ucm[1]), (ucm[-1], ucm[-2]), (ucm[:, 0], ucm[:, 1]), (ucm[:, -1], ucm[:, -2])):
            np.testing.assert_array_equal(edge, beside)
        along = np.maximum(ucm[2:-1:2, 1:-2:2], ucm[2:-1:2, 3::2])
        across = np.maximum(ucm[1:-2:2, 2:-1:2], ucm[3::2, 2:-1:2])
        np.testing.assert_array_equal(ucm[2:-1:2, 2:-1:2], np.maximum(along, across))


@pytest.mark.parametrize("altitude", [0.0, 0.25, 0.5, 0.75])
def test_no_path_below_an_altitude_joins_regions_of_its_cut(altitude):
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(12, dtype=np.int32).reshape(3, 4), np.ones((5, 5), np.int32))
    labels[rng.random(labels.shape) < 0.05] = -1
    parents, altitudes = np.arange(12, 35).repeat(2)[:23].astype(np.int32), np.zeros(23, np.float32)
    parents[-1], altitudes[12:] = 22, np.linspace(0.1, 0.9, 11)
    h = Hierarchy(labels, parents, altitudes, np.zeros((12, 0), np.float32))
    maps = tracking_maps(h.labels, h.ucm())
    np.testing.assert_array_equal(maps.foreground, labels >= 0)
    pieces, n = scipy.ndimage.label(maps.foreground & (maps.contours <= altitude))
    cut = h.cut(altitude=altitude)
    assert n > 0
    assert [len(np.unique(cut[pieces == piece + 1])) for piece in range(n)] == [1] * n


def test_a_background_is_no_foreground():
    labels = np.zeros((2, 3), np.int32)
    background = np.array([[True, False, False]] * 2)
    maps = tracking_maps(labels, np.zeros((5, 7), np.float32), background)
    assert maps.foreground.tolist() == [[False, True, True]] * 2
    assert not maps.contours.any()
    with pytest.raises(InputError, match="differ in size"):
        tracking_maps(labels, np.zeros((5, 5), np.float32))


@pytest.mark.timeout(600)
@pytest.mark.skipif(ULTRACK is None, reason="SUPERCUTS_ULTRACK_PYTHON names no Python with ultrack: nox -s tools")
def test_ultrack_makes_the_regions_of_the_tree(tmp_path):
    photo = read_image(Path(__file__).parents[2] / "examples/photo.jpg")[:200, :300]
    frames = [Model(None).segment(photo[rows, columns], 60) for rows, columns in (np.s_[:, :-4], np.s_[:, 4:])]
    maps = [tracking_maps(h.labels, h.ucm()) for h in frames]
    np.savez(tmp_path / "maps.npz", foreground=[m.foreground for m in maps], contours=[m.contours for m in maps])
    script = Path(__file__).parents[1] / "export/read_by_tools.py"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [ULTRACK, script, "ultrack", tmp_path / "maps.npz", "-", tmp_path / "read.npz"]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    read = np.load(tmp_path / "read.npz")
    for frame, h in enumerate(frames):
        actual = read["masks"][read["frames"] == frame].reshape(-1, h.labels.size).astype(np.float32)
        leaves = (np.arange(h.n_leaves)[:, None] == h.labels.ravel()).astype(np.float32)
        nodes = np.stack([leaves[h.leaves_of(node)].sum(axis=0) for node in range(h.n_nodes)])
        nodes = nodes[nodes.sum(axis=1) >= 50]
        both = actual @ nodes.T
        jaccard = both / (actual.sum(axis=1)[:, None] + nodes.sum(axis=1) - both)
        assert np.median(jaccard.max(axis=0)) > 0.9  # it gives the pixels of a contour to one side
        assert len(actual) > 0.8 * len(nodes)
        assert (both.max(axis=1) == actual.sum(axis=1)).all()  # no region of it crosses a border of ours
