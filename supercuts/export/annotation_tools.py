"""Write files of annotation tools: COCO (every node of the tree), labelme, CVAT and Label Studio (regions of cuts)."""

import base64
import io
import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int
from PIL import Image

from supercuts.core.checks import check_choice, check_installed
from supercuts.core.files import atomic_path
from supercuts.export.rasters import partitions
from supercuts.export.vectors import Polygon, outlines
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy


def node_rles(hierarchy: Hierarchy) -> list[dict[str, Any]]:
    """Return the compressed run lengths of each of the M nodes; those of inner nodes merge their children's."""
    check_installed(("pycocotools",), extra="export")
    from pycocotools import mask

    height, width = hierarchy.shape
    rles = mask.frPyObjects(_leaf_counts(hierarchy), height, width)
    children: list[list[int]] = [[] for _ in range(hierarchy.n_nodes)]
    for node, parent in enumerate(hierarchy._parents[:-1].tolist()):
        children[parent].append(node)
    for node in range(hierarchy.n_leaves, hierarchy.n_nodes):  # children come before their parent
        rles.append(mask.merge([rles[child] for child in children[node]]))
    return [{"size": [height, width], "counts": rle["counts"].decode("ascii")} for rle in rles]


def _leaf_counts(hierarchy: Hierarchy) -> list[dict[str, Any]]:
    """Return the uncompressed run lengths of each leaf, column by column: pixels outside, inside, outside, ...."""
    flat = hierarchy._labels.ravel(order="F")
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    ends = np.concatenate([starts[1:], [flat.size]])
    starts, ends = starts[flat[starts] >= 0], ends[flat[starts] >= 0]
    by_leaf = np.argsort(flat[starts], kind="stable")
    borders = np.stack([starts, ends], axis=1)[by_leaf]
    n_runs = np.cumsum(np.bincount(flat[starts], minlength=hierarchy.n_leaves))[:-1]
    size = list(hierarchy.shape)
    return [
        {"size": size, "counts": np.diff(runs.ravel(), prepend=0, append=flat.size).tolist()}
        for runs in np.split(borders, n_runs)
    ]


def write_coco(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write one annotation per node, leaves first, root last; the root's parent_id is None."""
    check_choice("suffix of a COCO file", Path(path).suffix.lower(), (".json",))
    height, width = hierarchy.shape
    name = hierarchy.source_name or Path(path).stem
    document = {
        "info": {"description": "tree of regions, by SuperCuts"},
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "categories": [{"id": 1, "name": "region", "supercategory": "region"}],
        "annotations": _annotations(hierarchy),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _annotations(hierarchy: Hierarchy) -> list[dict[str, object]]:
    table, score = hierarchy.region_table(), altitude_spans(hierarchy)
    return [
        {
            "id": node + 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": rle,
            "area": int(table.area[node]),
            "bbox": xywh(table.bbox_yxyx[node]),
            "iscrowd": 0,
            "parent_id": None if node == hierarchy.root else int(table.parent[node]) + 1,
            "level": str(table.level[node]),
            "altitude": float(table.altitude[node]),
            "score": float(score[node]),
        }
        for node, rle in enumerate(node_rles(hierarchy))
    ]


def altitude_spans(hierarchy: Hierarchy) -> Float64[np.ndarray, " nodes"]:
    """Return each node's parent's altitude minus its own: the share of 0..1 where cut(altitude=) has it as a region."""
    altitudes = hierarchy._altitudes.astype(np.float64)
    above = altitudes[hierarchy._parents]
    above[-1] = 1
    lifetime: np.ndarray = above - altitudes
    return lifetime


def xywh(box_yxyx: np.ndarray) -> list[int]:
    """Return the box in COCO's order: left, top, width, height.

    >>> xywh(np.array([1, 2, 4, 8]))
    [2, 1, 6, 3]
    """
    y0, x0, y1, x1 = box_yxyx.tolist()
    return [x0, y0, x1 - x0, y1 - y0]


@dataclass(frozen=True, slots=True, eq=False)
class MarkedRegion:
    """A region of a cut.

    node, parent  tree node, and the node of the smallest listed region around it, or -1
    label         name of the cut: a level, "superpixels" or "cut"
    layer         number of the cut; later ones are finer
    altitude      of the node
    corner_yx     upper left pixel of the mask in the image
    mask          (h, w) bool, pixels of the region in its box
    polygons      as in Outline
    """

    node: int
    parent: int
    label: str
    layer: int
    altitude: float
    corner_yx: tuple[int, int]
    mask: Bool[np.ndarray, "h w"]
    polygons: list[Polygon]


def marked_regions(hierarchy: Hierarchy, how: Granularity | None) -> Iterator[MarkedRegion]:
    """Yield the regions of one cut; if None, of every level and the superpixels, each node once, coarsest first."""
    from scipy.ndimage import find_objects  # slow to import

    is_listed = np.zeros(hierarchy.n_nodes, bool)
    for layer, part in enumerate(parts := partitions(hierarchy, how)):
        is_new = ~is_listed[part.nodes]
        is_listed[part.nodes] = True
        above = _listed_above(hierarchy, part.nodes, parts[layer - 1].nodes if layer else part.nodes[:0])
        boxes = find_objects(part.labels + 1)
        for region, outline in zip(
            np.flatnonzero(is_new).tolist(), outlines(hierarchy, part.nodes[is_new]), strict=True
        ):
            rows, columns = boxes[region]
            yield MarkedRegion(
                outline.node,
                int(above[region]),
                part.name,
                layer,
                float(hierarchy._altitudes[outline.node]),
                (rows.start, columns.start),
                part.labels[rows, columns] == region,
                outline.polygons,
            )


def _listed_above(
    hierarchy: Hierarchy, nodes: Int[np.ndarray, " regions"], coarser: Int[np.ndarray, " coarser"]
) -> Int[np.ndarray, " regions"]:
    """Return for each node the node of a coarser cut that contains it, -1 if there is none."""
    is_coarser = np.zeros(hierarchy.n_nodes, bool)
    is_coarser[coarser] = True
    above = nodes.copy()
    while (is_open := ~is_coarser[above] & (above != hierarchy.root)).any():  # one step for each generation
        above[is_open] = hierarchy._parents[above[is_open]]
    above[~is_coarser[above]] = -1
    return above


def _image_name(path: Path, hierarchy: Hierarchy) -> str:
    return hierarchy.source_name or path.stem


def _write_text(path: str | os.PathLike[str], suffix: str, text: str) -> None:
    check_choice("suffix of this format", Path(path).suffix.lower(), (suffix,))
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_labelme(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write regions as labelme's shapes: polygons, or masks where a region has holes or several pieces.

    Without the name of its image, the file holds the picture.
    """
    picture = None
    if hierarchy.source_name is None and hierarchy._image is not None:
        picture = _png_text(hierarchy._image)
    document: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [_labelme_shape(region) for region in marked_regions(hierarchy, how)],
        "imagePath": _image_name(Path(path), hierarchy),
        "imageData": picture,
        "imageHeight": hierarchy.shape[0],
        "imageWidth": hierarchy.shape[1],
    }
    _write_text(path, ".json", json.dumps(document))


def _labelme_shape(region: MarkedRegion) -> dict[str, Any]:
    (y, x), (height, width) = region.corner_yx, region.mask.shape
    is_simple = len(region.polygons) == len(region.polygons[0]) == 1
    return {
        "label": region.label,
        "points": region.polygons[0][0].tolist() if is_simple else [[x, y], [x + width - 1, y + height - 1]],
        "group_id": None,
        "description": "",
        "shape_type": "polygon" if is_simple else "mask",
        "flags": {},
        "mask": None if is_simple else _png_text(region.mask),
        "node": region.node,
        "parent": region.parent,
        "altitude": region.altitude,
    }


def _png_text(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_cvat(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write regions as masks of "CVAT for images 1.1", with node, parent and altitude as attributes."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    name = _NOT_IN_XML.sub("\ufffd", _image_name(Path(path), hierarchy))
    size = {"width": str(hierarchy.shape[1]), "height": str(hierarchy.shape[0])}
    image = ET.SubElement(root, "image", {"id": "0", "name": name, **size})
    for region in marked_regions(hierarchy, how):
        if all(label.findtext("name") != region.label for label in labels):
            _add_cvat_label(labels, region.label)
        _add_cvat_mask(image, region)
    ET.indent(root)
    _write_text(path, ".xml", '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode"))


_CVAT_ATTRIBUTES = ("node", "parent", "altitude")


def _add_cvat_label(labels: ET.Element, name: str) -> None:
    label = ET.SubElement(labels, "label")
    ET.SubElement(label, "name").text = name
    ET.SubElement(label, "type").text = "mask"
    attributes = ET.SubElement(label, "attributes")
    for key in _CVAT_ATTRIBUTES:
        attribute = ET.SubElement(attributes, "attribute")
        parts = {"name": key, "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
        for tag, text in parts.items():
            ET.SubElement(attribute, tag).text = text


def _add_cvat_mask(image: ET.Element, region: MarkedRegion) -> None:
    (y, x), (height, width) = region.corner_yx, region.mask.shape
    lengths = _runs(region.mask.ravel())[1].tolist()
    lengths = [0, *lengths] if region.mask[0, 0] else lengths  # runs begin with pixels outside
    place = {"left": str(x), "top": str(y), "width": str(width), "height": str(height), "z_order": str(region.layer)}
    runs = {"rle": ", ".join(map(str, lengths)), **place}
    mask = ET.SubElement(image, "mask", {"label": region.label, "source": "file", "occluded": "0", **runs})
    for key in _CVAT_ATTRIBUTES:
        ET.SubElement(mask, "attribute", {"name": key}).text = str(getattr(region, key))


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the value and the length of each run of equal values."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return values[starts], np.diff(starts, append=values.size)


def write_label_studio(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write a Label Studio task that predicts regions as brush masks; parentID is the region around each."""
    shape = hierarchy.shape
    results = [
        brush_result(full_mask(region, shape), region.label, str(region.node))
        | {"meta": {"altitude": region.altitude}}
        | ({} if region.parent < 0 else {"parentID": str(region.parent)})
        for region in marked_regions(hierarchy, how)
    ]
    _write_text(path, ".json", json.dumps([_task(Path(path), hierarchy, results)]))


def write_label_studio_polygons(
    path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None
) -> None:
    """Write a Label Studio task that predicts a polygon for each connected piece of a region; holes are filled."""
    height, width = hierarchy.shape
    results = [
        {
            "id": f"{region.node}-{piece}",
            "type": "polygonlabels",
            "value": {
                "points": (rings[0] / [width / 100, height / 100]).tolist(),
                "closed": True,
                "polygonlabels": [region.label],
            },
            **_on_image("polygon", hierarchy.shape),
            "meta": {"altitude": region.altitude},
            **({} if region.parent < 0 else {"parentID": f"{region.parent}-0"}),
        }
        for region in marked_regions(hierarchy, how)
        for piece, rings in enumerate(region.polygons)
    ]
    _write_text(path, ".json", json.dumps([_task(Path(path), hierarchy, results)]))


def full_mask(region: MarkedRegion, shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Return the mask of a region on the grid of the image."""
    (y, x), (height, width) = region.corner_yx, region.mask.shape
    mask = np.zeros(shape, bool)
    mask[y : y + height, x : x + width] = region.mask
    return mask


def _task(path: Path, hierarchy: Hierarchy, results: list[dict[str, Any]]) -> dict[str, Any]:
    prediction = {"model_version": "SuperCuts", "result": results}
    return {"data": {"image": _image_name(path, hierarchy)}, "predictions": [prediction]}


def _on_image(name: str, shape: tuple[int, int]) -> dict[str, Any]:
    size = {"original_width": shape[1], "original_height": shape[0], "image_rotation": 0}
    return {"from_name": name, "to_name": "image", **size}


def brush_result(mask: Bool[np.ndarray, "height width"], label: str, name: str) -> dict[str, Any]:
    """Return a mask as a result of Label Studio's BrushLabels tag; `name` is its id."""
    value = {"format": "rle", "rle": brush_rle(mask), "brushlabels": [label]}
    return {"id": name, "type": "brushlabels", "value": value, **_on_image("brush", mask.shape)}


_RUN_BITS = (3, 4, 8, 16)  # sizes of the numbers that hold the lengths of runs, minus 1
_LONGEST = 2 ** _RUN_BITS[-1]


def brush_rle(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Return the bytes of Label Studio's run lengths: four values for each pixel, 255 in the mask.

    Bits: number of values (32), bits of a value minus 1 (5), sizes of run lengths minus 1 (4 each); then for each run
    1, index of the size (2), length minus 1, value (8).

    >>> brush_rle(np.array([[True, False]]))
    [0, 0, 0, 8, 57, 27, 252, 127, 241, 128, 0]
    """
    values, lengths = _runs(mask.ravel())
    lengths = 4 * lengths
    n_parts = -(-lengths // _LONGEST)
    parts = np.full(n_parts.sum(), _LONGEST)
    parts[np.cumsum(n_parts) - 1] = lengths - (n_parts - 1) * _LONGEST
    values = 255 * np.repeat(values, n_parts).astype(np.int64)
    size = np.searchsorted([2**bits for bits in _RUN_BITS], parts)
    n_bits = np.array(_RUN_BITS)[size]
    codes = (((4 + size) << n_bits) + parts - 1 << 8) + values
    head = [(4 * mask.size, 32), (7, 5), *((bits - 1, 4) for bits in _RUN_BITS)]
    bits = [_bits(np.array([code]), np.array([width])) for code, width in head] + [_bits(codes, 11 + n_bits)]
    packed: list[int] = np.packbits(np.concatenate(bits)).tolist()
    return packed


def _bits(codes: np.ndarray, widths: np.ndarray) -> Bool[np.ndarray, " bits"]:
    """Return the lowest `widths` bits of the codes, highest first, one code after the other."""
    ends = np.cumsum(widths)
    place = np.repeat(ends, widths) - 1 - np.arange(ends[-1])
    bits: np.ndarray = (np.repeat(codes, widths) >> place & 1).astype(bool)
    return bits
