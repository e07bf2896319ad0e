import json

import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.export.sam import SuperCutsMaskGenerator, masks

KEYS = {"segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}


class Fixed:
    """Gives the same hierarchy for any image."""

    def __init__(self, hierarchy):
        self.hierarchy = hierarchy

    def segment(self, image):
        return self.hierarchy


def show_largest_first(anns, shape):
    """Paint masks as the notebooks of automatic mask generators do."""
    painted = np.zeros(shape, int)
    for number, ann in enumerate(sorted(anns, key=lambda x: x["area"], reverse=True), start=1):
        painted[ann["segmentation"]] = number
    return painted


def test_masks_of_each_level_are_disjoint_and_cover_the_image(ragged):
    listed = SuperCutsMaskGenerator(Fixed(ragged)).generate(ragged.image)
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
        assert 0 <= mask["stability_score"] <= mask["predicted_iou"] <= 1
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
