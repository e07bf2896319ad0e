"""Write every node of the tree as an annotation of a COCO file."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from supercuts.core.checks import check_choice, check_installed
from supercuts.core.files import atomic_path
from supercuts.hierarchy.tree import Hierarchy


def node_rles(hierarchy: Hierarchy) -> list[dict[str, Any]]:
    """Return the compressed run lengths of each of the M nodes; those of inner nodes merge their children's."""
    check_installed(("pycocotools",), extra="export")
    from pycocotools import mask

    height, width = hierarchy.shape
    rles = mask.frPyObjects(_leaf_counts(hierarchy), height, width)
    children: list[list[int]] = [[] for _ in range(hierarchy.n_nodes)]
    for node, parent in enumerate(hierarchy.parents[:-1].tolist()):
        children[parent].append(node)
    for node in range(hierarchy.n_leaves, hierarchy.n_nodes):  # children come before their parent
        rles.append(mask.merge([rles[child] for child in children[node]]))
    return [{"size": [height, width], "counts": rle["counts"].decode("ascii")} for rle in rles]


def _leaf_counts(hierarchy: Hierarchy) -> list[dict[str, Any]]:
    """Return the uncompressed run lengths of each leaf, column by column: pixels outside, inside, outside, ...."""
    flat = hierarchy.labels.ravel(order="F")
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
    altitudes = hierarchy.altitudes.astype(np.float64)
    above = altitudes[hierarchy.parents]
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
