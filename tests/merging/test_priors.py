import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.graph.rag import build_rag, region_statistics
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging import priors
from supercuts.merging.affinity import feature_names
from supercuts.merging.mergers import MergingConfig, Regions, merge
from supercuts.training.affinity import by_boundary


@pytest.fixture
def as_installed():
    """Switch the array annotations off, as outside the tests, to reach our own error messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def mosaics(make_mosaic):
    """Return (labels, graph, statistics) of 40 leaves."""
    labels, maps = make_mosaic(40, (24, 30))
    graph = build_rag(labels, maps.boundary, maps.color, maps.embeddings)
    return labels, graph, region_statistics(labels, graph, maps)


def draw_members(rng, n_leaves):
    """Return random sets of leaves that nest, are disjoint, or cross, and of which many are not connected."""
    members = np.zeros((5, n_leaves), bool)
    members[0, rng.permutation(n_leaves)[:20]] = True
    members[1, rng.permutation(np.flatnonzero(members[0]))[:7]] = True
    members[2, rng.permutation(np.flatnonzero(~members[0]))[:9]] = True
    members[3] = rng.random(n_leaves) < 0.3
    members[4, rng.integers(n_leaves)] = True
    return members[rng.permutation(5)]


def test_hand_worked_cells():
    masks = np.zeros((3, 2, 3), bool)
    masks[0, :, :2], masks[1, 0], masks[2] = True, True, True
    cells = priors.cells_of_masks(masks)
    assert cells.dtype == np.int32
    assert sorted(np.unique(cells)) == [0, 1, 2, 3]
    assert cells[0, 0] == cells[0, 1] != cells[0, 2]
    assert cells[1, 0] == cells[1, 1] != cells[1, 2]


@given(seed=st.integers(0, 10_000))
def test_pixels_share_a_cell_where_they_lie_in_the_same_masks(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((rng.integers(1, 5), 4, 5)) < 0.5
    cells = priors.cells_of_masks(masks).ravel()
    rows = masks.reshape(len(masks), -1).T
    np.testing.assert_array_equal(cells[:, None] == cells, (rows[:, None] == rows).all(axis=2))
    assert set(cells) == set(range(cells.max() + 1))


def test_the_family_is_taken_in_order_and_given_innermost_first():
    members = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1], [1, 1, 1, 0, 0]], bool)
    assert priors.nested_family(members).tolist() == [2, 3, 0, 4]  # 1 crosses 0; the twins 0 and 4 do not cross


@pytest.mark.parametrize("method", ["agglomerative", "spectral"])
@pytest.mark.parametrize("is_learned", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_every_mask_of_the_family_is_a_node_of_an_ultrametric_tree(mosaics, method, is_learned, seed):
    labels, graph, statistics = mosaics
    affinity = by_boundary(len(feature_names(statistics))) if is_learned else None
    regions = Regions(graph, MergingConfig(method=method), statistics if is_learned else None, affinity)
    members = draw_members(np.random.default_rng(seed), graph.n_nodes)
    h = Hierarchy(labels, *priors.merge_with_priors(regions, members), np.zeros((graph.n_nodes, 0), np.float32))
    assert h.n_nodes == 2 * h.n_leaves - 1
    sets = {tuple(h.leaves_of(node)) for node in range(h.n_nodes)}
    family = priors.nested_family(members)
    assert family.size >= 2
    assert {tuple(np.flatnonzero(members[k])) for k in family} <= sets


def test_without_masks_the_tree_is_the_merger_s_own(mosaics):
    _, graph, statistics = mosaics
    regions = Regions(graph, MergingConfig(), statistics, by_boundary(len(feature_names(statistics))))
    for members in (np.zeros((0, graph.n_nodes), bool), np.ones((2, graph.n_nodes), bool)):
        tree, plain = priors.merge_with_priors(regions, members), merge(regions)
        np.testing.assert_array_equal(tree.parents, plain.parents)
        np.testing.assert_array_equal(tree.altitudes, plain.altitudes)


def test_nothing_merges_across_cells(mosaics):
    labels, graph, _ = mosaics
    cell = np.arange(graph.n_nodes, dtype=np.int32) % 2
    inside = priors.within_cells(graph, cell, graph.n_nodes)
    assert 0 < inside.n_edges < graph.n_edges
    assert (cell[inside.edges[:, 0]] == cell[inside.edges[:, 1]]).all()
    with pytest.raises(InputError, match=r"superpixels=2 are too few: .*connected pieces. Ask for at least as many"):
        priors.within_cells(graph, cell, 2)
    masks = np.stack([cell[labels] == 0, cell[labels] >= 0])
    np.testing.assert_array_equal(priors.members_of_masks(masks, labels, graph.n_nodes), [cell == 0, cell >= 0])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([np.ones((2, 3), np.uint8)], r"priors\[0\] is uint8 \(2, 3\); expected bool \(2, 3\).*mask > 0"),
        ([np.ones((2, 3), bool), np.ones((3, 2), bool)], r"priors\[1\] is bool \(3, 2\)"),
        ([np.zeros((2, 3), bool)], r"priors\[0\] has no pixel: leave it out"),
        ([[True]], r"priors\[0\] is list"),
    ],
)
def test_refusals(masks, message, as_installed):
    with pytest.raises(InputError, match=message):
        priors.check_priors(masks, (2, 3))
