"""Use SuperCuts in place of Segment Anything's automatic mask generator; write its lists of masks.

Masks are listed from the coarsest level to the finest; the masks of a level are disjoint and cover the image.
"""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int64, UInt8

from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.files import atomic_path
from supercuts.export.annotation_tools import altitude_spans, node_rles, xywh
from supercuts.export.rasters import SUPERPIXELS, partitions
from supercuts.hierarchy.cuts import LEVELS, Granularity
from supercuts.hierarchy.tree import Hierarchy

MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
_ANNOTATORS = 5  # average number that drew each image of BSDS500
_LEAST_ALTITUDE = 0.002  # altitudes are clipped to this and 1 minus this: 0 and 1 have no finite logit


@runtime_checkable
class ImageSegmenter(Protocol):
    """A model as returned by supercuts.load, or any object that segments images into hierarchies."""

    def segment(self, image: Any) -> Hierarchy:
        """Return the hierarchy of an RGB image (H, W, 3) uint8."""


class SuperCutsMaskGenerator:
    """Use in place of SamAutomaticMaskGenerator: generate(image) returns the same list of dicts.

    Parameters
    ----------
    model
        Model of `supercuts.load`, or any object whose ``segment(image)`` returns a hierarchy.
    levels, min_mask_region_area, output_mode
        As in `masks`.
    superpixels
        Number of superpixels; if None, that of the model.
    pred_iou_thresh, stability_score_thresh
        Masks with a lower predicted_iou or stability_score are left out, 0..1. Those of Segment Anything, 0.88 and
        0.95, keep about a third of the masks: most scenes, few parts.
    stability_score_offset
        As in `masks`.
    box_nms_thresh
        Of two masks with a higher intersection over union, only that with the higher predicted_iou is listed.
    points_per_side, points_per_batch, crop_n_layers, crop_nms_thresh, crop_overlap_ratio
        Accepted because Segment Anything has them. They have no effect; one warning lists those that are given.
    crop_n_points_downscale_factor, point_grids
        As `points_per_side`.

    Raises
    ------
    InputError
        If `output_mode` is unknown or a threshold is outside 0..1.

    Examples
    --------
    >>> import supercuts
    >>> generator = SuperCutsMaskGenerator(supercuts.load("compact"), levels="object", superpixels=20)
    """

    def __init__(
        self,
        model: ImageSegmenter,
        levels: str | Sequence[str] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        *,
        superpixels: int | None = None,
        pred_iou_thresh: float = 0.0,
        stability_score_thresh: float = 0.0,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.95,
        points_per_side: int | None = None,
        points_per_batch: int | None = None,
        crop_n_layers: int | None = None,
        crop_nms_thresh: float | None = None,
        crop_overlap_ratio: float | None = None,
        crop_n_points_downscale_factor: int | None = None,
        point_grids: list[np.ndarray] | None = None,
    ) -> None:
        without_effect = {
            "points_per_side": points_per_side,
            "points_per_batch": points_per_batch,
            "crop_n_layers": crop_n_layers,
            "crop_nms_thresh": crop_nms_thresh,
            "crop_overlap_ratio": crop_overlap_ratio,
            "crop_n_points_downscale_factor": crop_n_points_downscale_factor,
            "point_grids": point_grids,
        }
        if ignored := [name for name, value in without_effect.items() if value is not None]:
            message = (
                f"{', '.join(ignored)} have no effect: masks are regions of a tree, found without points and crops."
            )
            warnings.warn(message, stacklevel=2)
        check_choice("output_mode", output_mode, MODES)
        limits = {
            "pred_iou_thresh": pred_iou_thresh,
            "stability_score_thresh": stability_score_thresh,
            "box_nms_thresh": box_nms_thresh,
        }
        for name, value in limits.items():
            check_in_range(name, value, 0, 1, remedy="It is compared with scores of masks.")
        self.model = model
        self.levels = levels
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.superpixels = superpixels
        self.pred_iou_thresh, self.stability_score_thresh = pred_iou_thresh, stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh

    def generate(self, image: UInt8[np.ndarray, "height width 3"]) -> list[dict[str, Any]]:
        """Return the masks of an image, each region once.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB.

        Returns
        -------
        list of dict
            Keys as in `masks`, and ``levels``, all levels of the mask, of which ``level`` is the coarsest. ``parent``
            is the list index of the smallest mask of a coarser level that contains it, or None.

        Raises
        ------
        InputError
            If a level is unknown or not calibrated.

        Examples
        --------
        >>> found = generator.generate(np.zeros((32, 48, 3), np.uint8))
        >>> sum(mask["area"] for mask in found) == 32 * 48
        True
        """
        hierarchy = segmented(self.model, image, self.superpixels)
        listed = masks(hierarchy, self.levels, self.min_mask_region_area, self.output_mode, self.stability_score_offset)
        levels: dict[int, list[str]] = {}
        for mask in listed:
            levels.setdefault(mask["node"], []).append(mask["level"])
        good = [
            index
            for index, mask in enumerate(listed)
            if mask["predicted_iou"] >= self.pred_iou_thresh and mask["stability_score"] >= self.stability_score_thresh
        ]
        kept = _unlike(listed, good, hierarchy._parents, self.box_nms_thresh)
        place = {index: number for number, index in enumerate(kept)}
        for index in kept:
            above = listed[index]["parent"]
            while above is not None and above not in place:
                above = listed[above]["parent"]
            listed[index] |= {"levels": levels[listed[index]["node"]], "parent": above}
        return [mask | {"parent": place.get(mask["parent"])} for mask in (listed[index] for index in kept)]


def segmented(model: ImageSegmenter, image: Any, superpixels: int | None) -> Hierarchy:
    """Return the hierarchy of an image; if superpixels is None, with as many as the model chooses."""
    return model.segment(image, **({} if superpixels is None else {"superpixels": superpixels}))


def _unlike(listed: list[dict[str, Any]], chosen: list[int], parents: np.ndarray, most_iou: float) -> list[int]:
    """Return the chosen indices, ascending, without masks whose IoU with one of a higher score exceeds most_iou.

    Two regions of a tree overlap only if one contains the other, so their IoU is a ratio of areas.
    """
    kept: list[int] = []
    area_at: dict[int, int] = {}  # area of the kept mask at a node
    largest_below: dict[int, int] = {}  # area of the largest kept mask at or below a node
    for index in sorted(chosen, key=lambda i: (-listed[i]["predicted_iou"], i)):
        area, node = listed[index]["area"], listed[index]["node"]
        path = [node]
        while parents[path[-1]] != path[-1]:
            path.append(int(parents[path[-1]]))
        above = min((area_at[at] for at in path if at in area_at), default=None)
        ious = [largest_below.get(node, 0) / area, 0 if above is None else area / above]
        if node in area_at or max(ious) > most_iou:
            continue
        kept.append(index)
        area_at[node] = area
        for at in path:
            largest_below[at] = max(area, largest_below.get(at, 0))
    return sorted(kept)


def write_sam(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the masks of every level and the superpixels to a .json file, as pycocotools run lengths."""
    check_choice("suffix of a list of masks", Path(path).suffix.lower(), (".json",))
    listed = masks(hierarchy, [*hierarchy.levels, SUPERPIXELS], output_mode="coco_rle")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(listed) + "\n", encoding="utf-8")


def masks(
    hierarchy: Hierarchy,
    levels: str | Sequence[str] | None = None,
    min_mask_region_area: int = 0,
    output_mode: str = "binary_mask",
    stability_score_offset: float = 1.0,
) -> list[dict[str, Any]]:
    """Return one dict per region of each requested level, coarsest level first.

    Parameters
    ----------
    hierarchy
        Hierarchy of one image.
    levels
        One or more of "scene", "object", "part" and "superpixels"; if None, the calibrated levels, or superpixels
        without any.
    min_mask_region_area
        Pixels; smaller regions stay merged in a larger one, so that masks still cover the image.
    output_mode
        "binary_mask": (H, W) bool; "coco_rle": pycocotools run lengths; "uncompressed_rle": lists.
    stability_score_offset
        Range of altitudes, in logits from 0, over which stability_score compares a region with itself.

    Returns
    -------
    list of dict
        Keys segmentation, area, bbox (x, y, width, height), point_coords (the innermost pixel [x, y] of the mask) and
        crop_box are as in Segment Anything [1]_. predicted_iou is the probability that one of five annotators draws
        the border at which the region joins another: 1 - (1 - altitude)^5. stability_score is the intersection over
        union of the regions at this place in two cuts whose altitudes differ by `stability_score_offset`. level and
        node (in the tree) identify the mask; parent is the list index of the mask of the next coarser level that
        contains it, or None.

    Raises
    ------
    InputError
        If a level or `output_mode` is unknown, a level is not calibrated, or the offset is negative.
    MissingDependencyError
        If `output_mode` is "coco_rle" and pycocotools is not installed.

    References
    ----------
    .. [1] Kirillov et al., "Segment anything", ICCV 2023.

    Examples
    --------
    >>> labels, parents = np.array([[0, 1, 1]], np.int32), np.array([2, 2, 2], np.int32)
    >>> h = Hierarchy(labels, parents, np.array([0, 0, 0.5], np.float32), np.zeros((2, 0), np.float32))
    >>> [(mask["bbox"], mask["predicted_iou"]) for mask in masks(h)]
    [([0, 0, 1, 1], 0.96875), ([1, 0, 2, 1], 0.96875)]
    """
    check_choice("output_mode", output_mode, MODES)
    names = [levels] if isinstance(levels, str) else list(hierarchy.levels if levels is None else levels)
    names = names or [SUPERPIXELS]
    for level in names:
        check_choice("level", level, (*LEVELS, SUPERPIXELS))
    rles = node_rles(hierarchy) if output_mode == "coco_rle" else []
    listed: list[dict[str, Any]] = []
    coarser: np.ndarray | None = None  # list index of each pixel's mask at the next coarser level
    for level in sorted(set(names), key=(*LEVELS, SUPERPIXELS).index):
        labels, nodes = _cut(hierarchy, level, min_mask_region_area)
        start = len(listed)
        listed += _level(hierarchy, level, labels, nodes, coarser, output_mode, rles)
        coarser = labels + start
    stability = stability_scores(hierarchy, [mask["node"] for mask in listed], stability_score_offset)
    return [mask | {"stability_score": score} for mask, score in zip(listed, stability, strict=True)]


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
    height, width = labels.shape
    listed = []
    for region, node in enumerate(nodes.tolist()):
        mask = labels == region if output_mode != "coco_rle" else None
        y, x = inner_pixel(labels, region, table.bbox_yxyx[node])
        joins_at = float(table.altitude[node] + lifetime[node])
        listed.append(
            {
                "segmentation": rles[node] if mask is None else mask if output_mode == "binary_mask" else _runs(mask),
                "area": int(table.area[node]),
                "bbox": xywh(table.bbox_yxyx[node]),
                "predicted_iou": 1 - (1 - joins_at) ** _ANNOTATORS,
                "point_coords": [[x, y]],
                "crop_box": [0, 0, width, height],
                "level": level,
                "node": node,
                "parent": None if coarser is None else int(coarser[y, x]),
            }
        )
    return listed


def inner_pixel(labels: Int[np.ndarray, "height width"], region: int, box: Int64[np.ndarray, "4"]) -> tuple[int, int]:
    """Return the pixel (y, x) of a region that is farthest from its border; `box` is its y0 x0 y1 x1.

    >>> inner_pixel(np.pad(np.ones((5, 3), np.int32), 2), 1, np.array([2, 2, 7, 5]))
    (3, 3)
    """
    from scipy import ndimage  # slow to import

    y0, x0, y1, x1 = box.tolist()
    is_in = np.pad(labels[y0:y1, x0:x1] == region, 1)
    depth = ndimage.distance_transform_cdt(is_in, metric="taxicab")  # int32: takes the least memory
    y, x = divmod(int(depth.argmax()), is_in.shape[1])
    return y0 + y - 1, x0 + x - 1


def stability_scores(hierarchy: Hierarchy, nodes: Sequence[int], offset: float = 1.0) -> list[float]:
    """Return how little each node's region changes, 0..1, when the altitude of a cut varies by `offset` logits.

    The altitudes are centred in the span over which the node is a region. The score is the area of the largest region
    inside it at the lower altitude, divided by the area of the region around it at the higher one.
    """
    check_in_range("stability_score_offset", offset, 0, np.inf, remedy="It is a difference of logits.")
    areas, parents, n_leaves = hierarchy.areas(), hierarchy._parents, hierarchy.n_leaves
    altitude = hierarchy._altitudes.astype(np.float64).clip(_LEAST_ALTITUDE, 1 - _LEAST_ALTITUDE)
    logit = np.log(altitude / (1 - altitude))
    heir = np.arange(hierarchy.n_nodes)  # the largest child of each node
    by_area = np.argsort(areas[:-1], kind="stable")
    heir[parents[by_area]] = by_area  # the last of several values for one place stays
    middle = (logit + logit[parents]) / 2
    scores = []
    for node in nodes:
        top = bottom = node
        while top != hierarchy.root and logit[parents[top]] <= middle[node] + offset / 2:
            top = int(parents[top])
        while bottom >= n_leaves and logit[bottom] > middle[node] - offset / 2:
            bottom = int(heir[bottom])
        scores.append(float(areas[bottom] / areas[top]))
    return scores


def _runs(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return {"size": list(mask.shape), "counts": np.diff(changes, prepend=0, append=flat.size).tolist()}
