import numpy as np
import pytest
from scipy.cluster import hierarchy as scipy_hierarchy

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.export.linkage import to_linkage
from supercuts.hierarchy.tree import Hierarchy


def is_same_grouping(one, other):
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


def leaf_labels(h, **how):
    region = np.empty(h.n_leaves, int)
    region[h.labels] = h.cut(**how)
    return region


def test_fcluster_agrees_with_every_cut(ragged, tmp_path):
    ragged.export(tmp_path / "a.npy", "linkage")
    matrix = np.load(tmp_path / "a.npy")
    assert scipy_hierarchy.is_valid_linkage(matrix, throw=True)
    assert scipy_hierarchy.is_monotonic(matrix)
    for altitude in np.unique(ragged.altitudes):
        clusters = scipy_hierarchy.fcluster(matrix, altitude, "distance")
        assert is_same_grouping(clusters, leaf_labels(ragged, altitude=float(altitude)))


def test_dendrogram_and_cophenetic_distances_are_the_trees(ragged):
    matrix = to_linkage(ragged)
    drawn = scipy_hierarchy.dendrogram(matrix, no_plot=True)
    assert sorted(drawn["leaves"]) == list(range(ragged.n_leaves))
    heights = scipy_hierarchy.cophenet(matrix)
    pairs = list(zip(*np.triu_indices(ragged.n_leaves, 1), strict=True))
    for (i, j), height in list(zip(pairs, heights, strict=True))[::13]:
        common = set(ragged.ancestors(int(i)).tolist()) & set(ragged.ancestors(int(j)).tolist())
        assert height == ragged.altitudes[min(common)]


def test_counts_agree_on_a_binary_tree_without_ties():
    rng = np.random.default_rng(0)
    matrix = scipy_hierarchy.linkage(rng.random((30, 2)), "average")
    matrix[:, 2] /= matrix[:, 2].max()
    parents = np.arange(59, dtype=np.int32)
    for row, (a, b) in enumerate(matrix[:, :2].astype(int)):
        parents[[a, b]] = 30 + row
    altitudes = np.concatenate([np.zeros(30), matrix[:, 2]]).astype(np.float32)
    h = Hierarchy(np.arange(30, dtype=np.int32)[None], parents, altitudes, np.zeros((30, 0), np.float32))
    np.testing.assert_allclose(to_linkage(h), matrix, rtol=1e-6)
    for n in (1, 2, 7, 30):
        clusters = scipy_hierarchy.fcluster(to_linkage(h), n, "maxclust")
        assert is_same_grouping(clusters, relabel_consecutive(h.cut(regions=n))[0][0])


def test_one_superpixel_is_refused():
    one = Hierarchy(
        np.zeros((2, 2), np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32)
    )
    with pytest.raises(InputError, match="has no merge to write: segment with more superpixels"):
        to_linkage(one)
