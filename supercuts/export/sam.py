"""Export masks in the format of Segment Anything's automatic mask generator.

Masks are listed from the coarsest level to the finest; the masks of a level are disjoint and cover the image.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from supercuts.core.checks import check_choice
from supercuts.core.files import atomic_path
from supercuts.export.coco import altitude_spans, node_rles, xywh
from supercuts.export.rasters import SUPERPIXELS, partitions
from supercuts.hierarchy.cuts import LEVELS, Granularity
from supercuts.hierarchy.tree import Hierarchy

MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


@runtime_checkable
class ImageSegmenter(Protocol):
    """A model as returned by supercuts.load, or any object that segments images into hierarchies."""

    def segment(self, image: Any) -> Hierarchy:
        """Return the hierarchy of an RGB image (H, W, 3) uint8."""


class SuperCutsMaskGenerator:
    """Replacement for an automatic mask generator: generate(image) returns a list of dicts, see `masks`.

    >>> import supercuts
    >>> generator = SuperCutsMaskGenerator(supercuts.load("compact"), levels=("object", "part"))
    >>> masks = generator.generate(np.zeros((32, 48, 3), np.uint8))
    >>> sum(mask["area"] for mask in masks if mask["level"] == "part") == 32 * 48
    True
    """

    def __init__(
        self,
        model: ImageSegmenter,
        levels: Sequence[str] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        """Store the model and the options, which are those of `masks`."""
        check_choice("output_mode", output_mode, MODES)
        self.model = model
        self.levels = levels
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode

    def generate(self, image: UInt8[np.ndarray, "height width 3"]) -> list[dict[str, Any]]:
        """Return the masks of an RGB image."""
        hierarchy = self.model.segment(image)
        return masks(hierarchy, self.levels, self.min_mask_region_area, self.output_mode)


def write_sam(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the masks of every level and the superpixels to a .json file, as pycocotools run lengths."""
    check_choice("suffix of a list of masks", Path(path).suffix.lower(), (".json",))
    listed = masks(hierarchy, [*hierarchy.levels, SUPERPIXELS], output_mode="coco_rle")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(listed) + "\n", encoding="utf-8")


def masks(
    hierarchy: Hierarchy,
    levels: Sequence[str] | None = None,
    min_mask_region_area: int = 0,
    output_mode: str = "binary_mask",
) -> list[dict[str, Any]]:
    """Return one dict per region of each requested level, coarsest level first.

    levels                scene, object, part, superpixels; if None, the calibrated levels, or superpixels without any
    min_mask_region_area  in pixels; smaller regions stay merged in a larger one, so that masks still cover the image
    output_mode           binary_mask: (H, W) bool; coco_rle: pycocotools run lengths; uncompressed_rle: lists

    segmentation, area, bbox (x, y, width, height), point_coords (one pixel [x, y] of the mask) and crop_box are as
    in Segment Anything. predicted_iou is the altitude at which the region joins another: the probability that
    annotators draw its border. stability_score is the share of the altitudes 0..1 over which it is a region. level
    and node (in the tree) identify it; parent is the list index of the mask of the next coarser level that contains
    it (None at the coarsest).
    """
    check_choice("output_mode", output_mode, MODES)
    wanted = list(levels) if levels is not None else list(hierarchy.levels) or [SUPERPIXELS]
    for level in wanted:
        check_choice("level", level, (*LEVELS, SUPERPIXELS))
    rles = node_rles(hierarchy) if output_mode == "coco_rle" else []
    listed: list[dict[str, Any]] = []
    coarser: np.ndarray | None = None  # list index of each pixel's mask at the next coarser level
    for level in sorted(wanted, key=(*LEVELS, SUPERPIXELS).index):
        labels, nodes = _cut(hierarchy, level, min_mask_region_area)
        start = len(listed)
        listed += _level(hierarchy, level, labels, nodes, coarser, output_mode, rles)
        coarser = labels + start
    return listed


def _cut(hierarchy: Hierarchy, level: str, min_area: int) -> tuple[np.ndarray, np.ndarray]:
    if level == SUPERPIXELS and not min_area:
        part = partitions(hierarchy)[-1]
    else:
        finest = Granularity(regions=hierarchy.n_leaves, min_area=min_area or None)
        how = finest if level == SUPERPIXELS else Granularity(level=level, min_area=min_area or None)
        (part,) = partitions(hierarchy, how)
    return part.labels, part.nodes


def _level(
    hierarchy: Hierarchy,
    level: str,
    labels: np.ndarray,
    nodes: np.ndarray,
    coarser: np.ndarray | None,
    output_mode: str,
    rles: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    table, lifetime = hierarchy.region_table(), altitude_spans(hierarchy)
    (height, width), flat = labels.shape, labels.ravel()
    ids, first = np.unique(flat, return_index=True)
    first = first[ids >= 0]
    listed = []
    for region, (node, pixel) in enumerate(zip(nodes.tolist(), first.tolist(), strict=True)):
        mask = labels == region if output_mode != "coco_rle" else None
        listed.append(
            {
                "segmentation": rles[node] if mask is None else mask if output_mode == "binary_mask" else _runs(mask),
                "area": int(table.area[node]),
                "bbox": xywh(table.bbox_yxyx[node]),
                "predicted_iou": float(table.altitude[node] + lifetime[node]),
                "point_coords": [[pixel % width, pixel // width]],
                "stability_score": float(lifetime[node]),
                "crop_box": [0, 0, width, height],
                "level": level,
                "node": node,
                "parent": None if coarser is None else int(coarser.flat[pixel]),
            }
        )
    return listed


def _runs(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return {"size": list(mask.shape), "counts": np.diff(changes, prepend=0, append=flat.size).tolist()}
