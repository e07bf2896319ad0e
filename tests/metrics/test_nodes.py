import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.datasets.bsds500 import read_segmentations
from supercuts.metrics.nodes import (
    NodeScores,
    aggregate_nodes,
    best_cut_jaccard,
    best_disjoint_nodes,
    best_node_jaccard,
    flat_jaccard,
    lifetimes,
    node_counts,
    tree_nodes,
)

sizes, seeds = st.integers(1, 10), st.integers(0, 999)


def scene(n_leaves, seed, n_truths=4):
    """Return leaf ids, all of them present, and truth ids, both (5, 6)."""
    rng = np.random.default_rng(seed)
    leaves = rng.permutation(np.concatenate([np.arange(n_leaves), rng.integers(0, n_leaves, 30 - n_leaves)]))
    truth = np.where(rng.random(30) < 0.7, leaves % n_truths, rng.integers(0, n_truths, 30))
    return leaves.reshape(5, 6), relabel_consecutive(truth.reshape(5, 6))[0]


def jaccard(a, b):
    return len(a & b) / len(a | b)


def pixels(labels, ids):
    return set(np.flatnonzero(np.isin(labels, ids)))


def best_by_sets(truth, regions):
    """Return the best index of each truth region with any of the pixel sets."""
    return [max(jaccard(pixels(truth, [i]), region) for region in regions) for i in range(truth.max() + 1)]


def node_sets(parents, leaves):
    below = [{leaf} for leaf in range(leaves.max() + 1)] + [set() for _ in range(parents.size - leaves.max() - 1)]
    for node, parent in enumerate(parents[:-1]):
        below[parent] |= below[node]
    return [pixels(leaves, list(ids)) for ids in below]


def cuts_by_walking(walked_cut, parents, altitudes, leaves):
    """Return the label maps of every distinct cut."""
    n_leaves = leaves.max() + 1
    return [walked_cut(parents, altitudes, n_leaves, t)[leaves] for t in (-1.0, *np.unique(altitudes[n_leaves:]))]


@given(sizes, seeds)
def test_best_node_matches_sets_of_pixels(random_tree, n_leaves, seed):
    leaves, truth = scene(n_leaves, seed)
    parents, _ = random_tree(n_leaves, seed)
    got = best_node_jaccard(contingency(truth, leaves), parents)
    np.testing.assert_allclose(got, best_by_sets(truth, node_sets(parents, leaves)))


@given(sizes, seeds)
def test_best_cut_matches_every_cut_on_sets_of_pixels(random_tree, walked_cut, n_leaves, seed):
    leaves, truth = scene(n_leaves, seed)
    parents, altitudes = random_tree(n_leaves, seed)
    maps = cuts_by_walking(walked_cut, parents, altitudes, leaves)
    every = [np.mean(best_by_sets(truth, [pixels(cut, [j]) for j in np.unique(cut)])) for cut in maps]
    assert best_cut_jaccard(contingency(truth, leaves), parents, altitudes) == pytest.approx(max(every))


@given(sizes, seeds)
def test_no_cut_beats_the_best_nodes_and_the_best_cut(random_tree, walked_cut, n_leaves, seed):
    leaves, truth = scene(n_leaves, seed)
    parents, altitudes = random_tree(n_leaves, seed)
    table = contingency(truth, leaves)
    nodes, best_cut = best_node_jaccard(table, parents), best_cut_jaccard(table, parents, altitudes)
    assert 0 < best_cut <= nodes.mean() + 1e-12 <= 1 + 2e-12
    for cut in cuts_by_walking(walked_cut, parents, altitudes, leaves):
        flat = flat_jaccard(contingency(truth, relabel_consecutive(cut)[0]))
        assert (flat <= nodes + 1e-12).all()
        assert flat.mean() <= best_cut + 1e-12


@given(sizes, seeds)
def test_relabelling_and_transposing_change_nothing(n_leaves, seed):
    labels, truth = scene(n_leaves, seed)
    rng = np.random.default_rng(seed)
    order, others = rng.permutation(truth.max() + 1), rng.permutation(n_leaves)
    expected = flat_jaccard(contingency(truth, labels))
    np.testing.assert_allclose(flat_jaccard(contingency(order[truth].T, others[labels].T))[order], expected)


@given(sizes, seeds)
def test_tree_nodes_average_each_annotator_alone(random_tree, n_leaves, seed):
    parents, altitudes = random_tree(n_leaves, seed)
    leaves, _ = scene(n_leaves, seed)
    tables = [contingency(scene(n_leaves, seed, k)[1], leaves) for k in (1, 3, 7)]
    got = tree_nodes(tables, parents, altitudes)
    np.testing.assert_allclose(got.best_node, [best_node_jaccard(table, parents).mean() for table in tables])
    np.testing.assert_allclose(got.best_cut, [best_cut_jaccard(table, parents, altitudes) for table in tables])


@given(sizes, seeds)
def test_perfect_segmentation_reaches_one(n_leaves, seed):
    labels, _ = scene(n_leaves, seed)
    assert flat_jaccard(contingency(labels, labels)).tolist() == [1.0] * n_leaves


def test_hand_worked_tree():
    # pixels: truth A = leaves 0, 1 (2 + 2); B = leaf 2 (4) and half of leaf 3 (2 of 4); C = the other half
    table = np.array([[2, 2, 0, 0], [0, 0, 4, 2], [0, 0, 0, 2]])
    parents, altitudes = np.array([4, 4, 5, 5, 6, 6, 6]), np.array([0, 0, 0, 0, 0.5, 0.3, 0.9])
    np.testing.assert_allclose(best_node_jaccard(table, parents), [1, 6 / 8, 2 / 4])
    # leaves: 2/4, 4/6, 2/4; at 0.3 leaves 2, 3 join: 2/4, 6/8, 2/8; at 0.5 leaves 0, 1 too: 1, 6/8, 2/8
    assert best_cut_jaccard(table, parents, altitudes) == pytest.approx((1 + 6 / 8 + 2 / 8) / 3)
    # with the joins the other way round there is 1, 4/6, 2/4 at the lower one
    altitudes = np.array([0, 0, 0, 0, 0.3, 0.5, 0.9])
    assert best_cut_jaccard(table, parents, altitudes) == pytest.approx((1 + 4 / 6 + 2 / 4) / 3)


def test_leaves_are_a_cut_though_merged_at_altitude_zero():
    table, parents = np.array([[4, 0], [0, 4]]), np.array([2, 2, 2])
    assert best_cut_jaccard(table, parents, np.zeros(3)) == 1


def test_one_region_inputs_are_defined():
    assert flat_jaccard(np.array([[3]])).tolist() == [1]
    assert best_node_jaccard(np.array([[3]]), np.array([0])).tolist() == [1]
    assert best_cut_jaccard(np.array([[3]]), np.array([0]), np.zeros(1)) == 1


def test_truth_regions_without_pixels_are_zero_and_count_in_no_mean():
    table, tree = np.array([[2, 0], [0, 0], [0, 2]]), (np.array([2, 2, 2]), np.array([0, 0, 0.5]))
    assert flat_jaccard(table).tolist() == [1, 0, 1]
    assert best_node_jaccard(table, tree[0]).tolist() == [1, 0, 1]
    scores = tree_nodes([table], *tree)
    assert (scores.best_node.tolist(), scores.best_cut.tolist()) == ([1], [1])
    assert scores.best_disjoint.tolist() == [1]


@given(sizes, seeds)
def test_areas_stand_for_rows_left_out(random_tree, n_leaves, seed):
    leaves, truth = scene(n_leaves, seed)
    parents, altitudes = random_tree(n_leaves, seed)
    table = contingency(truth, leaves)
    areas = np.bincount(leaves.ravel())
    some = table[1:] if len(table) > 1 else table
    np.testing.assert_array_equal(flat_jaccard(some, areas), flat_jaccard(table)[-len(some) :])
    expected = best_node_jaccard(table, parents)[-len(some) :]
    np.testing.assert_array_equal(best_node_jaccard(some, parents, areas), expected)
    scores = tree_nodes([some, table], parents, altitudes, areas)
    assert scores.best_node == pytest.approx([expected.mean(), best_node_jaccard(table, parents).mean()])
    assert scores.best_cut[1] == pytest.approx(best_cut_jaccard(table, parents, altitudes))
    expected = [best_disjoint_nodes(some, parents, areas).score, best_disjoint_nodes(table, parents).score]
    assert scores.best_disjoint == pytest.approx(expected)
    assert (scores.best_disjoint <= scores.best_node).all()


def test_areas_beyond_the_rows_make_the_union_larger():
    # an object of 2 pixels in leaf 0; the leaves hold 4 and 4 pixels
    table, areas = np.array([[2, 0]]), np.array([4, 4])
    assert flat_jaccard(table, areas).tolist() == [0.5]
    assert best_cut_jaccard(table, np.array([2, 2, 2]), np.array([0, 0, 0.5]), areas) == 0.5


def test_aggregate_weighs_images_and_not_annotators():
    summary = aggregate_nodes(
        [NodeScores(np.array([1.0]), np.array([0.6])), NodeScores(np.array([0.2, 0.4]), np.array([0.1, 0.3]))]
    )
    assert (summary.best_node, summary.best_cut) == pytest.approx(((1 + 0.3) / 2, (0.6 + 0.2) / 2))
    assert np.isnan(summary.best_disjoint)  # not measured
    one, two = (NodeScores(np.ones(n), np.ones(n), np.linspace(0.2, 0.6, n)) for n in (1, 3))
    assert aggregate_nodes([one, two]).best_disjoint == pytest.approx((0.2 + 0.4) / 2)


TABLE, PARENTS, ALTITUDES = np.array([[2, 0], [0, 2]]), np.array([2, 2, 2]), np.array([0, 0, 0.5])


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda: tree_nodes([], PARENTS, ALTITUDES), "at least one truth"),
        (lambda: tree_nodes([], PARENTS, ALTITUDES, np.array([2, 2])), "at least one truth"),
        (lambda: tree_nodes([TABLE, TABLE[:1]], PARENTS, ALTITUDES), "with one label map"),
        (lambda: tree_nodes([TABLE], PARENTS, ALTITUDES[::-1].copy()), "rise towards the root"),
        (lambda: best_node_jaccard(TABLE, np.array([2, 0, 2])), "order nodes leaves first"),
        (lambda: best_cut_jaccard(TABLE, PARENTS, np.array([0, 0, np.nan])), "rise towards the root"),
        (lambda: flat_jaccard(np.zeros((1, 2), int)), r"Use contingency\(\)"),
        (lambda: flat_jaccard(TABLE, np.array([2, 1])), "give the pixels of each leaf"),
        (lambda: tree_nodes([TABLE, 0 * TABLE], PARENTS, ALTITUDES, np.array([2, 2])), "leave out annotators"),
        (lambda: flat_jaccard(-TABLE, np.array([2, 2])), "a negative count"),
        (lambda: aggregate_nodes([]), "scores of at least one"),
        (lambda: NodeScores(np.zeros(2), np.zeros(1)), "tree_nodes does"),
    ],
)
def test_bad_inputs_are_refused(call, remedy):
    with pytest.raises(InputError, match=remedy):
        call()


@pytest.mark.dataset
def test_annotators_match_themselves_and_reference_segmentations_are_in_range(data_root):
    folder = data_root / "bsds_bench_reference"
    for path in sorted((folder / "groundTruth").glob("*.mat")):
        truths = read_segmentations(path)
        assert all((flat_jaccard(contingency(truth, truth)) == 1).all() for truth in truths)
        for labels in scipy.io.loadmat(folder / "segs" / path.name)["segs"][0]:
            labels = relabel_consecutive(labels.astype(np.int32))[0]
            for truth in truths:
                actual = flat_jaccard(contingency(truth, labels))
                i = int(actual.argmax())
                regions = [labels == j for j in np.unique(labels[truth == i])]
                expected = max(((truth == i) & region).sum() / ((truth == i) | region).sum() for region in regions)
                assert actual[i] == pytest.approx(expected)
                assert ((actual > 0) & (actual <= 1)).all()


THRESHOLDS = np.array([-0.5, 0.0, 0.1, 0.11, 0.3, 0.55, 5.0])


def ancestors(parents, node):
    actual = {node}
    while parents[node] != node:
        node = parents[node]
        actual.add(node)
    return actual


@given(st.integers(1, 12), st.integers(0, 999))
def test_nodes_live_in_the_cuts_that_walking_up_finds(random_tree, walked_cut, n_leaves, seed):
    parents, altitudes = random_tree(n_leaves, seed)
    births, deaths = lifetimes(parents, altitudes, n_leaves, THRESHOLDS)
    for cut, threshold in enumerate(THRESHOLDS.astype(np.float32)):
        alive = np.flatnonzero((births <= cut) & (cut < deaths))
        assert alive.tolist() == sorted(set(walked_cut(parents, altitudes, n_leaves, threshold)))


@given(st.integers(1, 12), st.integers(0, 999))
def test_counts_are_sums_over_the_leaves_below(random_tree, n_leaves, seed):
    parents, _ = random_tree(n_leaves, seed)
    table = np.random.default_rng(seed).integers(0, 9, (3, n_leaves))
    counts = node_counts(table, parents)
    for node in range(parents.size):
        below = [leaf for leaf in range(n_leaves) if node in ancestors(parents, leaf)]
        np.testing.assert_array_equal(counts[node], table[:, below].sum(axis=1))


def test_thresholds_meet_altitudes_in_their_own_precision():
    # float32(0.1) exceeds 0.1: comparing in float64 would keep the leaves apart
    births, deaths = lifetimes(np.array([2, 2, 2]), np.array([0, 0, 0.1], np.float32), 2, np.array([0.05, 0.1]))
    assert births.tolist() == [0, 0, 1]
    assert deaths.tolist() == [1, 1, 2]


def best_of_all_antichains(parents, worth):
    """Return the largest sum of worth over all sets of disjoint nodes, by trying every one."""
    n = parents.size
    ancestors = []
    for node in range(n):
        above, chain = node, set()
        while above != n - 1:
            above = int(parents[above])
            chain.add(above)
        ancestors.append(chain)
    best = 0.0
    for chosen in range(2**n):
        members = [node for node in range(n) if chosen >> node & 1]
        if not any(other in ancestors[node] for node in members for other in members):
            best = max(best, sum(worth[node] for node in members))
    return best


@settings(max_examples=15, deadline=None)  # each tries all sets of nodes
@given(n_leaves=st.integers(2, 4), seed=seeds)
def test_disjoint_nodes_are_the_best_of_all_choices(random_tree, n_leaves, seed):
    leaves, truth = scene(n_leaves, seed)
    parents = random_tree(n_leaves, seed)[0]
    table = contingency(truth, leaves)
    got = best_disjoint_nodes(table, parents)
    members = [
        pixels(leaves, [leaf for leaf in range(n_leaves) if leads_to(parents, leaf, node)])
        for node in range(parents.size)
    ]
    truths = [pixels(truth, [label]) for label in range(truth.max() + 1)]
    worth = [sum(jaccard(node, item) for item in truths if 2 * len(node & item) > len(item)) for node in members]
    assert got.jaccard.sum() == pytest.approx(best_of_all_antichains(parents, worth))
    for node, index, one in zip(got.node, got.jaccard, truths, strict=True):
        assert index == pytest.approx(jaccard(members[node], one) if node >= 0 else 0)
    chosen = sorted(set(got.node.tolist()) - {-1})
    assert sum(len(members[node]) for node in chosen) == len(set().union(*(members[node] for node in chosen)))


def leads_to(parents, node, ancestor):
    while node != ancestor and node != parents.size - 1:
        node = int(parents[node])
    return node == ancestor
