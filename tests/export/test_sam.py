import json
import warnings
from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage

from supercuts.core.errors import InputError
from supercuts.export.sam import SuperCutsMaskGenerator, inner_pixel, masks, stability_scores

KEYS = {"segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}


class Fixed:
    """Returns the same hierarchy for any image."""

    def __init__(self, hierarchy):
        self.hierarchy = hierarchy

    def segment(self, image, superpixels=None):
        self.superpixels = superpixels
        return self.hierarchy


def show_largest_first(anns, shape):
    """Paint masks like the notebooks of automatic mask generators."""
    painted = np.zeros(shape, int)
    for number, ann in enumerate(sorted(anns, key=lambda x: x["area"], reverse=True), start=1):
        painted[ann["segmentation"]] = number
    return painted


def test_masks_of_each_level_are_disjoint_and_cover_the_image(ragged):
    listed = masks(ragged)
    for level in ("scene", "object", "part"):
        chosen = [mask for mask in listed if mask["level"] == level]
        assert (sum(mask["segmentation"].astype(int) for mask in chosen) == 1).all()
        labels = ragged.cut(level=level)
        for region, mask in enumerate(chosen):
            np.testing.assert_array_equal(mask["segmentation"], labels == region)
    assert len({mask["level"] for mask in listed}) == 3
    assert (show_largest_first(listed, ragged.shape) > 0).all()


def test_each_dict_has_the_keys_of_other_generators_and_their_meaning(ragged):
    listed = masks(ragged)
    for mask in listed:
        assert KEYS | {"level", "node", "parent"} == mask.keys()
        rows, columns = np.nonzero(mask["segmentation"])
        x, y, width, height = mask["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        ((x, y),) = mask["point_coords"]
        assert mask["segmentation"][y, x]
        assert mask["area"] == rows.size
        assert 0 < mask["stability_score"] <= 1
        assert 0 <= mask["predicted_iou"] <= 1
        if mask["parent"] is not None:
            assert listed[mask["parent"]]["segmentation"][mask["segmentation"]].all()
    assert {mask["level"] for mask in listed if mask["parent"] is None} == {"scene"}


def test_small_regions_stay_in_larger_ones(ragged):
    listed = masks(ragged, ["superpixels", "object"], min_mask_region_area=30)
    assert min(mask["area"] for mask in listed) >= min(30, ragged.labels.size)
    assert sum(mask["area"] for mask in listed) == 2 * ragged.labels.size
    assert [mask["level"] for mask in listed] == sorted(mask["level"] for mask in listed)


def test_run_lengths_are_those_of_pycocotools(ragged):
    coco = pytest.importorskip("pycocotools.mask")
    plain, runs, packed = (masks(ragged, output_mode=m) for m in ("binary_mask", "uncompressed_rle", "coco_rle"))
    for mask, run, rle in zip(plain, runs, packed, strict=True):
        np.testing.assert_array_equal(coco.decode(rle["segmentation"]), mask["segmentation"])
        unpacked = coco.frPyObjects(run["segmentation"], *ragged.shape)
        np.testing.assert_array_equal(coco.decode(unpacked), mask["segmentation"])


def test_the_file_lists_every_level_and_the_superpixels(ragged, tmp_path):
    coco = pytest.importorskip("pycocotools.mask")
    ragged.export(tmp_path / "a.json", "sam")
    listed = json.loads((tmp_path / "a.json").read_text())
    finest = [coco.decode(mask["segmentation"]) for mask in listed if mask["level"] == "superpixels"]
    np.testing.assert_array_equal(np.argmax(finest, axis=0), ragged.labels)


def test_refusals(small):
    with pytest.raises(InputError, match=r"output_mode='png' is unknown. Choose one of: binary_mask"):
        SuperCutsMaskGenerator(Fixed(small), output_mode="png")
    with pytest.raises(InputError, match=r"level='leaf' is unknown. Choose one of: scene, object, part, superpixels"):
        masks(small, ["leaf"])


def test_without_levels_the_superpixels(small):
    bare = type(small)(small.labels, small.parents, small.altitudes, small.embeddings)
    assert [mask["level"] for mask in masks(bare)] == ["superpixels"] * 3


# every argument of SamAutomaticMaskGenerator besides the model, with its default
SAM = {
    "points_per_side": 32,
    "points_per_batch": 64,
    "pred_iou_thresh": 0.88,
    "stability_score_thresh": 0.95,
    "stability_score_offset": 1.0,
    "box_nms_thresh": 0.7,
    "crop_n_layers": 0,
    "crop_nms_thresh": 0.7,
    "crop_overlap_ratio": 512 / 1500,
    "crop_n_points_downscale_factor": 1,
    "point_grids": [np.zeros((1, 2))],
    "min_mask_region_area": 0,
    "output_mode": "binary_mask",
}


def test_every_argument_of_sam_is_taken_and_one_warning_lists_those_without_effect(ragged):
    with pytest.warns(UserWarning, match="have no effect") as caught:
        generator = SuperCutsMaskGenerator(Fixed(ragged), **SAM)
    (warning,) = caught
    for name in SAM:
        has_effect = name in (
            "pred_iou_thresh",
            "stability_score_thresh",
            "stability_score_offset",
            "box_nms_thresh",
            "min_mask_region_area",
            "output_mode",
        )
        assert (name in str(warning.message)) != has_effect
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SuperCutsMaskGenerator(Fixed(ragged), pred_iou_thresh=0.88)
    for mask in generator.generate(ragged.image):
        assert mask["predicted_iou"] >= 0.88
        assert mask["stability_score"] >= 0.95


@pytest.mark.parametrize("most_iou", [0.5, 0.95])
def test_no_two_masks_are_alike(ragged, most_iou):
    listed = SuperCutsMaskGenerator(Fixed(ragged), box_nms_thresh=most_iou).generate(ragged.image)
    for first, second in combinations([mask["segmentation"] for mask in listed], 2):
        assert (first & second).sum() <= most_iou * (first | second).sum()
    all_masks = masks(ragged)
    for dropped in all_masks:  # none is dropped without one that is alike and scores at least as high
        ious = [
            (dropped["segmentation"] & kept["segmentation"]).sum()
            / (dropped["segmentation"] | kept["segmentation"]).sum()
            for kept in listed
            if kept["predicted_iou"] >= dropped["predicted_iou"]
        ]
        assert dropped["node"] in {kept["node"] for kept in listed} or max(ious) > most_iou


def test_a_region_of_several_levels_is_listed_once_with_all_of_them(ragged):
    listed = SuperCutsMaskGenerator(Fixed(ragged)).generate(ragged.image)
    nodes = [mask["node"] for mask in listed]
    assert len(nodes) == len(set(nodes))
    for mask in listed:
        for level in ("scene", "object", "part"):
            assert (level in mask["levels"]) == (mask["node"] in ragged.cut_nodes(level=level))
        assert mask["level"] == mask["levels"][0]
        if mask["parent"] is not None:
            assert listed[mask["parent"]]["segmentation"][mask["segmentation"]].all()


def test_the_point_of_a_mask_is_its_innermost_pixel(voronoi):
    h = voronoi()
    for mask in masks(h, "part"):
        ((x, y),) = mask["point_coords"]
        depth = ndimage.distance_transform_cdt(np.pad(mask["segmentation"], 1), metric="taxicab")[1:-1, 1:-1]
        assert depth[y, x] == depth.max()
    labels = np.array([[0, 0, 1], [1, 1, 1]], np.int32)
    assert inner_pixel(labels, 0, np.array([0, 0, 1, 2])) == (0, 0)


def test_stability_compares_the_regions_at_two_altitudes(small):
    # node 3 = {0, 1} at .25 under the root at .75: in the middle of its span, logits -1.1 to 1.1, is 0
    assert stability_scores(small, [3], offset=2) == [1.0]
    assert stability_scores(small, [3], offset=2.3) == [2 / 6]  # leaf 0 below, the root above
    assert stability_scores(small, [4], offset=0) == [1.0]


def test_predicted_iou_is_the_chance_that_one_of_five_annotators_draws_the_border(small):
    scores = {mask["node"]: mask["predicted_iou"] for mask in masks(small, ["superpixels", "part"])}
    assert scores == pytest.approx({0: 1 - 0.75**5, 1: 1 - 0.75**5, 2: 1 - 0.25**5})


def test_one_level_by_name_and_the_number_of_superpixels(small):
    model = Fixed(small)
    listed = SuperCutsMaskGenerator(model, levels="object", superpixels=3).generate(small.image)
    assert {mask["level"] for mask in listed} == {"object"}
    assert model.superpixels == 3


def test_thresholds_are_checked(small):
    with pytest.raises(InputError, match=r"pred_iou_thresh=88 is outside 0..1"):
        SuperCutsMaskGenerator(Fixed(small), pred_iou_thresh=88)
