import json

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.graph.rag import graph_and_statistics
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
    return labels, *graph_and_statistics(labels, maps, is_connected=False)


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
        priors.read_priors(masks, (2, 3))


HALVES = np.array([[[1, 1, 0, 0]] * 3, [[0, 0, 1, 1]] * 3], bool)
MIDDLE = np.array([[0, 1, 1, 0]] * 3, bool)


def rle(mask):
    """Encode a mask by pycocotools, as SAM does with output_mode="coco_rle"."""
    coding = pytest.importorskip("pycocotools.mask").encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": coding["counts"].decode("ascii")}


def coco(*entries, names=("a.jpg",)):
    images = [{"id": 7 + i, "file_name": f"folder{'/' if i % 2 else chr(92)}{name}"} for i, name in enumerate(names)]
    return {"images": images, "annotations": [{"image_id": 7, **entry} for entry in entries]}


LEFT_BOX = {"bbox": [0, 0, 2, 3]}
RIGHT_POLYGON = {"segmentation": [[2, 0, 4, 0, 4, 3, 2, 3]]}
SOURCES = {
    "arrays": list(HALVES),
    "tensors": list(torch.from_numpy(HALVES)),
    "one tensor": torch.from_numpy(HALVES),
    "label map": np.array([[1, 1, 5, 5]] * 3, np.uint8),
    "boxes as y0, x0, y1, x1": np.array([[0, 0, 3, 2], [0, 2, 3, 4]]),
    "dicts of SAM": [{"segmentation": mask, "area": 6, "bbox": [0, 0, 9, 9]} for mask in HALVES],
    "dicts of FastSAM": [{"segmentation": torch.from_numpy(mask), "score": torch.tensor(0.5)} for mask in HALVES],
    "scores, best first": [
        {"segmentation": HALVES[1], "predicted_iou": 0.8}, {"segmentation": HALVES[0], "predicted_iou": 0.9}
    ],
    "one of them without a score": [{"segmentation": HALVES[0]}, {"segmentation": HALVES[1], "score": 0.9}],
    "box and polygons": [LEFT_BOX, RIGHT_POLYGON],
    "COCO": coco(LEFT_BOX, RIGHT_POLYGON, {**LEFT_BOX, "iscrowd": 1}),
    "COCO of two images": coco(LEFT_BOX, RIGHT_POLYGON, {**LEFT_BOX, "image_id": 8}, names=("a.jpg", "b.jpg")),
    "results of COCO": [{"image_id": 3, "category_id": 1, **LEFT_BOX}, {"image_id": 3, **RIGHT_POLYGON}],
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_masks_of_any_source(source):
    np.testing.assert_array_equal(priors.read_priors(source, (3, 4), name="a.jpg"), HALVES)


def test_one_mask_is_one_prior():
    np.testing.assert_array_equal(priors.read_priors(MIDDLE, (3, 4)), MIDDLE[None])


@pytest.mark.parametrize("suffix", [".json", ".npy", ".npz", ".png"])
def test_files(tmp_path, suffix):
    path, label_map = tmp_path / f"priors{suffix}", np.array([[1, 1, 2, 2]] * 3, np.uint8)
    if suffix == ".json":
        path.write_text(json.dumps([{"segmentation": rle(mask), "predicted_iou": 0.9} for mask in HALVES]))
    elif suffix == ".npy":
        np.save(path, label_map)
    elif suffix == ".npz":
        np.savez(path, HALVES)
    else:
        Image.fromarray(label_map).save(path)
    np.testing.assert_array_equal(priors.read_priors(str(path), (3, 4)), HALVES)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (coco(LEFT_BOX, names=("a.jpg", "a.jpg")), InputError, "priors hold 2 of 2 images named a.jpg"),
        ({"annotations": []}, FileFormatError, "hold no COCO document: expected images with id and file_name"),
        ([{"image_id": 1, **LEFT_BOX}, {"image_id": 2, **LEFT_BOX}], InputError, "priors are of 2 images"),
        ([{"bbox": [1, 2, 3]}], InputError, r"bbox \[1, 2, 3\] of a prior is not x, y, width, height"),
        ([{"segmentation": {"size": [9, 9], "counts": [81]}}], FileFormatError, "its size is"),
        ([{"segmentation": MIDDLE.astype(np.uint8)}], InputError, r"priors\[0\] is uint8 .*mask > 0"),
        (3, InputError, "priors is int; expected masks"),
    ],
)
def test_sources_without_masks_are_refused(source, error, message):
    with pytest.raises(error, match=message):
        priors.read_priors(source, (3, 4), name="a.jpg")


@pytest.mark.parametrize(("name", "message"), [("a.json", "is not a JSON file"), ("a.npy", r"holds float64 \(3, 4\)")])
def test_files_without_masks_are_refused(tmp_path, name, message):
    (tmp_path / "a.json").write_text("{")
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(FileFormatError, match=message):
        priors.read_priors(tmp_path / name, (3, 4))


def crossing_pairs(masks):
    return [
        (i, j)
        for i, a in enumerate(masks)
        for j, b in enumerate(masks[:i])
        if (a & b).any() and (a & ~b).any() and (b & ~a).any()
    ]


def closest_by_trial(mask, family):
    """Return the fewest pixels to change until the mask crosses no set of the family, by trying all sets of pixels."""
    shape, n = mask.shape, mask.size
    sets = ((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1).astype(bool)
    for one in family:
        flat = one.ravel()
        common, outside, missing = (sets & flat).any(1), (sets & ~flat).any(1), (~sets & flat).any(1)
        sets = sets[~(common & outside & missing)]
    return int((sets ^ mask.ravel()).sum(axis=1).min()), shape


@given(seed=st.integers(0, 10_000))
def test_a_crossing_mask_gives_as_few_pixels_as_possible(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 3, 3)) < 0.4
    masks = masks[masks.any(axis=(1, 2))]
    if not len(masks):
        return
    valid = np.ones((3, 3), bool)
    nested, cells = priors.nest_masks(masks, valid, 9)
    assert crossing_pairs(nested) == []
    np.testing.assert_array_equal(cells, priors.cells_of_masks(masks))
    family = np.sort(priors.nested_family(priors.cell_members(masks)[1]))
    np.testing.assert_array_equal(nested[: len(family)], masks[family])
    left = np.setdiff1d(np.arange(len(masks)), family)
    if len(left) == 1:
        _, members = priors.cell_members(masks)
        nearest = priors._nearest_nested(members[left[0]], members[family], np.bincount(cells.ravel()))[cells]
        assert int((nearest ^ masks[left[0]]).sum()) == closest_by_trial(masks[left[0]], masks[family])[0]


def test_crossing_masks_are_left_out_if_all_borders_make_too_many_pieces():
    valid = np.ones((3, 4), bool)
    masks = np.stack([HALVES[0], MIDDLE])
    nested, cells = priors.nest_masks(masks, valid, 3)
    np.testing.assert_array_equal(nested, HALVES[:1])
    np.testing.assert_array_equal(cells, priors.cells_of_masks(HALVES[:1]))


def test_the_report_names_nodes_and_crossing_masks():
    h = Hierarchy(
        np.array([[0, 1, 2, -1]], np.int32), np.array([3, 3, 4, 4, 4], np.int32),
        np.array([0, 0, 0, 0.2, 0.9], np.float32), np.zeros((3, 0), np.float32),
    )  # fmt: skip
    masks = np.array([[[0, 1, 1, 0]], [[1, 1, 0, 1]], [[0, 0, 1, 0]], [[1, 0, 1, 0]]], bool)
    report = priors.report_priors(h, masks)
    assert report.node.tolist() == [4, 3, 2, 4]
    np.testing.assert_allclose(report.iou, [2 / 3, 1, 1, 2 / 3])
    assert report.crosses.tolist() == [1, -1, -1, 1]
    assert report.is_node.tolist() == [False, True, True, False]
    assert priors.report_priors(h, []).node.size == 0
