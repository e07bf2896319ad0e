from dataclasses import replace

import numpy as np
import pytest

import supercuts
from supercuts.core.errors import InputError
from supercuts.hierarchy._kernels import tree as tree_kernels
from supercuts.hierarchy.tree import Hierarchy
from supercuts.objects.parts import METHODS, PartDescriptors, describe_parts, find_parts, paint_shared, share_parts
from supercuts.objects.result import Objects, Parts

# leaves 0..5 in a row; 6 = {0, 1}, 7 = {2, 3}, 8 = {6, 7}, 9 = {4, 5}, 10 = all
PARENTS = np.array([6, 6, 7, 7, 9, 9, 8, 8, 10, 10, 10], np.int32)
ALTITUDES = np.array([0, 0, 0, 0, 0, 0, 0.1, 0.2, 0.5, 0.3, 0.9], np.float32)


def row(levels=None, embeddings=None):
    labels = np.repeat(np.arange(6, dtype=np.int32), 2)[None].repeat(2, axis=0)
    embeddings = np.zeros((6, 0), np.float32) if embeddings is None else embeddings
    return Hierarchy(labels, PARENTS, ALTITUDES, embeddings, levels=levels or {})


def objects(*leaves, h=None):
    labels = (h or row()).labels
    masks = np.stack([np.isin(labels, group) for group in leaves])
    scores = np.linspace(0.9, 0.5, len(leaves), dtype=np.float32)
    return Objects(masks, scores, masks.any(0).astype(np.float32))


def of_leaves(parts):
    return parts.labels[0, ::2].tolist()


def test_the_tree_of_some_leaves_keeps_nodes_that_still_join_two():
    parents, nodes = tree_kernels.restrict(PARENTS, np.array([1, 0, 1, 1, 0, 1], bool))
    assert nodes.tolist() == [0, 2, 3, 5, 7, 8, 10]  # 6 and 9 have one child left
    assert parents.tolist() == [5, 4, 4, 6, 5, 6, 6]


def test_the_tree_of_one_leaf_is_a_root():
    parents, nodes = tree_kernels.restrict(PARENTS, np.eye(6, dtype=bool)[4])
    assert (parents.tolist(), nodes.tolist()) == ([0], [4])


@pytest.mark.parametrize("seed", range(20))
def test_a_smaller_tree_joins_leaves_where_the_whole_tree_does(seed):
    rng = np.random.default_rng(seed)
    n = 12
    parents, roots = np.zeros(2 * n - 1, np.int32), list(range(n))
    for node in range(n, 2 * n - 1):
        for _ in range(2):
            parents[roots.pop(rng.integers(len(roots)))] = node
        roots.append(node)
    parents[-1] = 2 * n - 2
    kept = np.zeros(n, bool)
    kept[rng.choice(n, rng.integers(1, n + 1), replace=False)] = True
    smaller, nodes = tree_kernels.restrict(parents, kept)
    assert nodes[: kept.sum()].tolist() == np.flatnonzero(kept).tolist()

    def joined(tree, a, b):
        while a != b:
            a, b = (tree[a], b) if a < b else (a, tree[b])
        return a

    for i in range(kept.sum()):
        for j in range(kept.sum()):
            assert nodes[joined(smaller, i, j)] == joined(parents, nodes[i], nodes[j])


@pytest.mark.parametrize(
    ("k", "expected"),
    [(1, [1, 1, 1, 0, 0, 1]), (2, [1, 1, 1, 0, 0, 2]), (3, [1, 1, 2, 0, 0, 3]), (9, [1, 2, 3, 0, 0, 4])],
)
def test_parts_are_cuts_of_the_tree_inside_the_object(k, expected):
    assert of_leaves(find_parts(row(), objects([0, 1, 2, 5]), k=k)) == expected


def test_without_a_number_the_level_part_decides():
    actual = find_parts(row(levels={"part": 0.15}), objects([0, 1, 2, 3]))
    assert of_leaves(actual) == [1, 1, 2, 3, 0, 0]


def test_parts_of_several_objects_are_numbered_one_object_after_the_other():
    actual = find_parts(row(), objects([2, 3], [4, 5]), k=2)
    assert of_leaves(actual) == [0, 0, 1, 2, 3, 4]
    assert actual.object_of.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [None, 1, 2, 3])
def test_parts_cover_their_objects_and_nothing_else(method, k):
    rng = np.random.default_rng(0)
    h = row(embeddings=rng.random((6, 3), np.float32))
    wanted = objects([0, 1, 3, 4], [5], h=h)
    actual = find_parts(h, wanted, k=k, method=method)
    np.testing.assert_array_equal(actual.labels > 0, wanted.mask)
    for part, of in enumerate(actual.object_of, 1):
        assert (actual.labels[wanted.masks[of]] == part).any()
        assert not (actual.labels[~wanted.masks[of]] == part).any()
    if k is not None:
        assert np.bincount(actual.object_of).max() <= k


def test_a_mask_across_leaves_is_covered_to_the_pixel():
    h = row()
    mask = np.zeros((1, *h.shape), bool)
    mask[0, 0, 1:9] = True  # half of leaf 0, all of the upper halves of 1..3
    mask[0, :, 2:6] = True
    actual = find_parts(h, Objects(mask, np.ones(1, np.float32), mask[0].astype(np.float32)), k=2)
    np.testing.assert_array_equal(actual.labels > 0, mask[0])
    assert actual.object_of.size == 2


def test_two_clusters_of_features_are_two_parts():
    embeddings = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1]], np.float32)
    h = row(embeddings=embeddings)
    assert of_leaves(find_parts(h, objects([0, 1, 2, 3], h=h), k=2, method="spectral")) == [1, 1, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"method": "by hand"}, "method"), ({"k": 0}, "at least one part")],
)
def test_wrong_wishes_are_refused(changes, problem):
    with pytest.raises(InputError, match=problem):
        find_parts(row(), objects([0]), **changes)


def test_objects_of_another_image_are_refused():
    mask = np.ones((1, 3, 3), bool)
    with pytest.raises(InputError, match="find them in it"):
        find_parts(row(), Objects(mask, np.ones(1, np.float32), np.ones((3, 3), np.float32)))


def test_a_model_finds_objects_and_their_parts():
    image = np.full((60, 90, 3), 210, np.uint8)
    image[20:45, 30:60] = (40, 60, 160)
    image[20:32, 30:60] = (190, 40, 40)
    model = supercuts.load("compact")
    h = model.segment(image, superpixels=60)
    actual = model.objects(h)
    truth = np.zeros((60, 90), bool)
    truth[20:45, 30:60] = True
    assert (actual.mask & truth).sum() / (actual.mask | truth).sum() > 0.9
    parts = model.parts(h, k=2)
    np.testing.assert_array_equal(parts.labels > 0, actual.mask)
    assert parts.labels[25, 45] != parts.labels[40, 45]
    np.testing.assert_array_equal(model.parts(h, k=2, objects=actual).labels, parts.labels)
    whole = Objects(np.ones((1, 60, 90), bool), np.ones(1, np.float32), np.ones((60, 90), np.float32))
    assert (model.parts(h, k=2, objects=whole).labels > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_pixels_that_a_mask_left_out_are_in_no_part(method):
    h = row(embeddings=np.random.default_rng(0).random((6, 3), dtype=np.float32))
    labels = h.labels.copy()
    labels[0, 3], labels[1, 6] = -1, -1
    holed = replace(h, labels=labels)
    masks = objects([0, 1, 2, 3], [5])  # objects of the whole image: both hold both pixels
    whole, actual = find_parts(h, masks, k=2, method=method), find_parts(holed, masks, k=2, method=method)
    assert (actual.labels[labels < 0] == 0).all()
    assert ((actual.labels > 0) == (masks.mask & (labels >= 0))).all()
    if method == "tree":
        np.testing.assert_array_equal(actual.labels, np.where(labels < 0, 0, whole.labels))
    hidden = Objects(labels[None] < 0, np.ones(1, np.float32), (labels < 0).astype(np.float32))
    with pytest.raises(InputError, match="object 0 lies on masked pixels"):
        find_parts(holed, hidden, method=method)


def described(features):
    features = np.array(features, np.float64).reshape(-1, 1)
    return PartDescriptors(features, np.zeros((len(features), 3)), np.zeros((len(features), 3)))


def test_parts_that_are_alike_share_a_number_in_all_images():
    numbers = share_parts([described([0.0, 5.0]), described([5.1, 0.1, 0.2])], 2)
    assert [number.tolist() for number in numbers] == [[1, 2], [2, 1, 1]]  # 1 is the most frequent


def test_groups_weigh_the_same_whatever_their_units():
    place = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1.0]])
    noise = np.random.default_rng(0).normal(0, 1, (4, 200))
    color = np.zeros((4, 3))
    for unit in (1.0, 1e4):
        (numbers,) = share_parts([PartDescriptors(noise * 0 + unit * (place[:, :1] + 0.01 * noise), color, place)], 2)
        assert numbers[0] == numbers[1] != numbers[2] == numbers[3]


def test_fewer_kinds_than_asked_for():
    (numbers,) = share_parts([described([1.0, 1.0, 3.0])], 5)
    assert numbers.tolist() == [1, 1, 2]


def test_descriptors_are_means_places_and_shares():
    labels = np.array([[0, 0, 1, 1], [2, 2, 1, 1]], np.int32)
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 255
    h = Hierarchy(
        labels,
        np.array([3, 3, 3, 3], np.int32),
        np.array([0, 0, 0, 0.5], np.float32),
        np.array([[1.0], [2.0], [3.0]], np.float32),
        image,
    )
    parts = Parts(np.array([[0, 1, 2, 2], [0, 1, 2, 2]], np.int32), np.zeros(2, np.int32))
    mask = parts.labels > 0
    objects = Objects(mask[None], np.ones(1, np.float32), mask.astype(np.float32))
    actual = describe_parts(h, objects, parts)
    np.testing.assert_allclose(actual.features, [[2.0], [2.0]])
    np.testing.assert_allclose(actual.color[:, 0], [0, 100], atol=0.1)
    np.testing.assert_allclose(actual.place, [[0.25, 0, 1 / 3], [0.25, 0.5, 2 / 3]])
    assert paint_shared(parts, np.array([2, 1], np.int32)).tolist() == [[0, 2, 1, 1]] * 2


def test_no_image_and_no_parts_are_refused():
    with pytest.raises(InputError, match="at least one image"):
        share_parts([], 2)
    with pytest.raises(InputError, match="at least one kind"):
        share_parts([described([1.0])], 0)
