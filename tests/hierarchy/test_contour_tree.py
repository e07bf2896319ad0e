import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as draw_arrays

from supercuts.core.errors import InputError
from supercuts.hierarchy.contour_tree import contour_tree
from supercuts.metrics.region import ucm_labels


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
    for _ in range(tree.parents.size):
        above = tree.parents[node]
        node = np.where(tree.altitudes[above] <= altitude, above, node)
    return node


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
