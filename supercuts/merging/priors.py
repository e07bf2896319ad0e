"""Merge so that masks from another tool are regions of the tree."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.annotation_tools import entries_of_tool, read_annotation_file
from supercuts.graph.rag import RegionGraph, contract, contract_statistics
from supercuts.hierarchy._kernels import tree as _tree
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.formats.array_files import read_variables
from supercuts.images.formats.arrays import is_tensor
from supercuts.merging._kernels import agglomerative as _kernels
from supercuts.merging.agglomerative import MergeTree
from supercuts.merging.mergers import Regions, merge

Masks = Bool[np.ndarray, "masks height width"]
Cells = Int32[np.ndarray, "height width"]


def read_priors(
    priors: object,
    shape: tuple[int, int],
    valid: Bool[np.ndarray, "height width"] | None = None,
    name: str | None = None,
) -> Masks:
    """Return the valid pixels of the masks of any source that Model.segment accepts, as one array (K, H, W).

    Masks with scores are ordered by them, best first; others keep their order. `name` is the file name of the image.
    Raise InputError if a mask is not boolean, has another size, or has no valid pixel, and FileFormatError if a file
    holds no masks.
    """
    entries = _entries(priors, shape, name)
    scores = [_score(entry) for entry in entries]
    if None not in scores:
        entries = [entries[k] for k in np.argsort([-float(score or 0) for score in scores], kind="stable")]
    masks = [_to_mask(entry, shape) for entry in entries]
    for i, mask in enumerate(masks):
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != shape:
            got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise InputError(
                f"priors[{i}] is {got}; expected bool {shape}, the height and width of the image: resize it to the "
                "image and compare it with its threshold (mask > 0)."
            )
        if not mask.any():
            raise InputError(f"priors[{i}] has no pixel: leave it out.")
        if valid is not None and not (mask & valid).any():
            raise InputError(f"priors[{i}] has no valid pixel: leave it out.")
    stacked = np.array(masks, np.bool_).reshape(-1, *shape)
    return stacked if valid is None else stacked & valid


def _entries(priors: Any, shape: tuple[int, int], name: str | None) -> list[Any]:
    """Return one entry per mask: an array, or a dict with a segmentation or a bbox."""
    if isinstance(priors, str | os.PathLike):
        priors = _read_file(Path(priors))
    if (entries := entries_of_tool(priors, shape, name)) is not None:
        return entries
    if isinstance(priors, dict):
        return _entries_of_image(priors, name)
    priors = _to_array(priors)
    if isinstance(priors, np.ndarray) and (priors.dtype != np.bool_ or priors.shape == shape):
        if priors.shape == shape and priors.dtype.kind in "biu":
            return [priors == label for label in np.unique(priors) if label > 0]
        if priors.ndim == 2 and priors.shape[1] == 4:
            return [{"bbox": (x0, y0, x1 - x0, y1 - y0)} for y0, x0, y1, x1 in priors.tolist()]
    if not isinstance(priors, Iterable):
        raise InputError(f"priors is {type(priors).__name__}; expected masks (H, W), a label map or a file of them.")
    entries = list(priors)
    images = {entry["image_id"] for entry in entries if isinstance(entry, dict) and "image_id" in entry}
    if len(images) > 1:
        raise InputError(
            f"priors are of {len(images)} images: give the entries of one, or a COCO file with file names."
        )
    return entries


def _entries_of_image(document: dict[str, Any], name: str | None) -> list[Any]:
    """Return the annotations of one image of a COCO document, found by its file name if there are several."""
    try:
        # folders are of the system that wrote the file
        images = {
            image["id"]: {kind(image["file_name"]).name for kind in (Path, PureWindowsPath)}
            for image in document["images"]
        }
        of_name = [key for key, names in images.items() if len(images) == 1 or name in names]
        if len(of_name) != 1:
            raise InputError(f"priors hold {len(of_name)} of {len(images)} images named {name}. Give the file of one.")
        annotations = [entry for entry in document["annotations"] if entry["image_id"] == of_name[0]]
        return [entry for entry in annotations if not entry.get("iscrowd")]
    except (KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(
            "priors hold no COCO document: expected images with id and file_name, and annotations with image_id."
        ) from error


def _read_file(path: Path) -> Any:
    """Return the content of a .json or .xml, or the array in another file."""
    if path.suffix.lower() not in (".json", ".xml"):
        variables = list(read_variables(path).values())
        if len(variables) != 1 or variables[0].ndim not in (2, 3) or variables[0].dtype.kind not in "biu":
            shapes = ", ".join(f"{values.dtype} {values.shape}" for values in variables)
            raise FileFormatError(f"{path} holds {shapes}; expected one array of masks, or a label map (H, W).")
        return variables[0]
    return read_annotation_file(path)


def _to_array(value: Any) -> Any:
    return value.cpu().numpy() if is_tensor(value) else value


def _score(entry: Any) -> float | None:
    values = [entry.get(key) for key in ("predicted_iou", "score")] if isinstance(entry, dict) else []
    return next((float(value) for value in values if isinstance(value, int | float)), None)


def _to_mask(entry: Any, shape: tuple[int, int]) -> Any:
    """Return the mask of a dict in the format of COCO or SAM; boxes are filled. Arrays stay unchanged."""
    from supercuts.datasets.coco import decode_segmentation

    if not isinstance(entry, dict):
        return _to_array(entry)
    segmentation = _to_array(entry.get("segmentation"))
    if isinstance(segmentation, np.ndarray):
        return segmentation
    if not segmentation and "bbox" in entry:
        try:
            x, y, width, height = (float(value) for value in entry["bbox"])
        except (TypeError, ValueError):
            raise InputError(f"bbox {str(entry['bbox'])[:80]} of a prior is not x, y, width, height.") from None
        segmentation = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    return decode_segmentation(segmentation, *shape)


@dataclass(frozen=True, slots=True, eq=False)
class PriorReport:
    """The closest node to each mask of the priors; masks that are no node had to give.

    Parameters
    ----------
    node
        (K,) int64, tree node with the highest IoU with the mask.
    iou
        (K,) float64, this IoU; 1 if the mask is a node.
    crosses
        (K,) int64, the first mask that is a node and crosses this one, -1 if there is none. Two masks cross if they
        overlap and neither contains the other.

    Examples
    --------
    >>> report = PriorReport(np.array([7, 5]), np.array([1.0, 0.8]), np.array([-1, 0]))
    >>> report.is_node.tolist()
    [True, False]
    """

    node: Int64[np.ndarray, " masks"]
    iou: Float64[np.ndarray, " masks"]
    crosses: Int64[np.ndarray, " masks"]

    @property
    def is_node(self) -> Bool[np.ndarray, " masks"]:
        """(K,) bool, whether each mask is exactly a node of the tree."""
        is_equal: np.ndarray = self.iou == 1
        return is_equal

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns as lists, as for pandas.DataFrame.

        Returns
        -------
        dict
            Columns node, iou and crosses.

        Examples
        --------
        >>> PriorReport(np.array([7]), np.array([1.0]), np.array([-1])).to_dict()
        {'node': [7], 'iou': [1.0], 'crosses': [-1]}
        """
        return {name: getattr(self, name).tolist() for name in ("node", "iou", "crosses")}


def report_priors(hierarchy: Hierarchy, priors: object) -> PriorReport:
    """Return which masks are nodes of a tree, and the closest node to each of the others.

    Parameters
    ----------
    hierarchy
        Tree of `Model.segment`, or any other.
    priors
        Masks as for `Model.segment`. If each has a score, the report lists them from the highest score to the lowest.

    Returns
    -------
    PriorReport
        Closest node, its IoU and the crossing mask, for each mask.

    Raises
    ------
    InputError, FileFormatError
        As in `Model.segment`.

    Examples
    --------
    >>> labels, parents = np.array([[0, 1, 2]], np.int32), np.array([3, 3, 4, 4, 4], np.int32)
    >>> h = Hierarchy(labels, parents, np.array([0, 0, 0, 0.2, 0.9], np.float32), np.zeros((3, 0), np.float32))
    >>> report = report_priors(h, [h.labels < 2, h.labels > 0])
    >>> report.node.tolist(), report.iou.round(2).tolist(), report.crosses.tolist()
    ([3, 4], [1.0, 0.67], [-1, 0])
    """
    valid = hierarchy._labels >= 0
    masks = read_priors(priors, hierarchy.shape, valid, hierarchy.source_name)
    areas = hierarchy.areas()
    nodes, ious = np.zeros(len(masks), np.int64), np.zeros(len(masks))
    for k, mask in enumerate(masks):
        inside = np.bincount(hierarchy._labels[mask], minlength=hierarchy.n_leaves)
        common = _tree.sum_to_root(hierarchy._parents, inside)
        iou = common / (areas + np.count_nonzero(mask) - common)
        nodes[k] = np.argmax(iou)
        ious[k] = iou[nodes[k]]
    is_crossing = _crossings(cell_members(masks)[1]) & (ious == 1)
    crosses = np.where(is_crossing.any(axis=1), is_crossing.argmax(axis=1), -1) if len(masks) else nodes
    return PriorReport(nodes, ious, crosses)


_LEAST_IOU = 0.5  # a region of lower IoU is not taken for the mask


def nest_masks(
    masks: Masks, valid: Bool[np.ndarray, "height width"], max_pieces: int
) -> tuple[Bool[np.ndarray, "nested height width"], Cells]:
    """Return masks that nest or are disjoint, and the cells whose borders no superpixel may cross.

    A mask that crosses an earlier chosen one is replaced by the most similar region that crosses none, and the cells
    follow the borders of all masks. If these cut the valid pixels into more than `max_pieces` connected pieces,
    crossing masks are left out.
    """
    cells, members = cell_members(masks)
    family = nested_family(members)
    chosen = masks[np.sort(family)]
    if len(family) == len(masks):
        return chosen, cells
    if _n_pieces(cells, valid) > max_pieces:
        return chosen, cells_of_masks(chosen)
    area = np.bincount(cells[valid], minlength=members.shape[1])
    sets = [members[k] for k in np.sort(family)]
    for k in np.setdiff1d(np.arange(len(masks)), family):
        nearest = _nearest_nested(members[k], np.array(sets), area)
        iou = area[nearest & members[k]].sum() / area[nearest | members[k]].sum()
        if iou >= _LEAST_IOU and not any(np.array_equal(nearest, chosen_set) for chosen_set in sets):
            sets.append(nearest)
    return np.array([chosen_set[cells] & valid for chosen_set in sets]), cells


def _nearest_nested(mask: np.ndarray, family: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the set of cells that crosses no set of the family and differs from the mask in the fewest pixels.

    It lies in one set S of the family (or the image) and, for each largest set inside S, contains all or nothing.
    """
    family = np.unique(np.concatenate([family, np.ones((1, family.shape[1]), bool)]), axis=0)
    family = family[np.argsort(family.sum(axis=1), kind="stable")]
    sizes, inside = family @ area, (family & mask) @ area
    common = family.astype(np.float64) @ family.T.astype(np.float64)
    is_below = common == family.sum(axis=1)[:, None]  # [i, j]: set i lies in set j
    np.fill_diagonal(is_below, val=False)
    parent = np.argmax(is_below, axis=1)  # the smallest set around each, because sets ascend in size
    is_kept = 2 * inside > sizes
    changed = np.minimum(inside, sizes - inside)[:-1]
    costs = mask @ area - inside + np.bincount(parent[:-1], changed, minlength=len(family))
    best = int(np.argmin(costs))
    nearest: np.ndarray = mask & family[best]
    for child in np.flatnonzero(parent[:-1] == best):
        nearest = (nearest | family[child]) if is_kept[child] else (nearest & ~family[child])
    return nearest


def _n_pieces(cells: Cells, valid: Bool[np.ndarray, "height width"]) -> int:
    from skimage.measure import label  # slow to import

    return int(label(np.where(valid, cells + 1, 0), background=0, connectivity=1, return_num=True)[1])


def cell_members(masks: Masks) -> tuple[Cells, Bool[np.ndarray, "masks cells"]]:
    """Return the cells of masks, and the cells in each mask."""
    cells = cells_of_masks(masks)
    return cells, members_of_masks(masks, cells, int(cells.max()) + 1)


def cells_of_masks(masks: Masks) -> Int32[np.ndarray, "height width"]:
    """Return the cell id of each pixel, from 0; two pixels share a cell exactly if they lie in the same masks.

    >>> cells_of_masks(np.array([[[True, True, False, False]], [[False, True, True, False]]])).tolist()
    [[1, 3, 2, 0]]
    """
    cells = np.zeros(masks.shape[1:], np.int32)
    n_cells = 1
    for mask in masks:
        inside = cells[mask]
        is_hit = np.zeros(n_cells, bool)
        is_hit[inside] = True
        renamed = n_cells - 1 + np.cumsum(is_hit, dtype=np.int32)  # each cell that meets the mask yields a new cell
        cells[mask] = renamed[inside]
        n_cells += int(is_hit.sum())
    return relabel_consecutive(cells)[0]


def within_cells(graph: RegionGraph, cell: Int32[np.ndarray, " nodes"], n_regions: int) -> RegionGraph:
    """Return the graph without edges between different cells, so that merged regions stay in their cell.

    Raise InputError if the cells have more connected pieces than `n_regions`.
    """
    inside = _keep_edges(graph, cell[graph.edges[:, 0]] == cell[graph.edges[:, 1]])
    n_pieces = _n_parts(inside)
    if n_pieces > n_regions:
        raise InputError(
            f"superpixels={n_regions} are too few: the priors cut the image into {n_pieces} connected pieces. Ask for "
            "at least as many, or smooth the masks."
        )
    return inside


def members_of_masks(
    masks: Masks, labels: Int32[np.ndarray, "height width"], n_leaves: int
) -> Bool[np.ndarray, "masks leaves"]:
    """Return the leaves of each mask, (K, N) bool; no leaf crosses the border of a mask."""
    members = np.zeros((len(masks), n_leaves), bool)
    for k, mask in enumerate(masks):
        members[k, labels[mask]] = True
    return members


def nested_family(members: Bool[np.ndarray, "masks leaves"]) -> Int64[np.ndarray, " family"]:
    """Return the masks to make nodes of one tree, smallest first; skip masks that cross an earlier chosen one.

    Two sets of leaves cross if they overlap and neither contains the other.
    """
    is_crossing = _crossings(members)
    family: list[int] = []
    for k in range(len(members)):
        if not is_crossing[k, family].any():
            family.append(k)
    chosen = np.array(family, np.int64)
    return chosen[np.argsort(members[chosen].sum(axis=1), kind="stable")]


def _crossings(members: Bool[np.ndarray, "masks leaves"]) -> Bool[np.ndarray, "masks masks"]:
    """Return which pairs of sets overlap without one containing the other."""
    sizes = members.sum(axis=1)
    common = members.astype(np.float64) @ members.T.astype(np.float64)
    is_crossing: np.ndarray = (common > 0) & (common < np.minimum(sizes[:, None], sizes))
    return is_crossing


def merge_with_priors(regions: Regions, members: Bool[np.ndarray, "masks leaves"]) -> MergeTree:
    """Return the tree with every mask of nested_family as a node; elsewhere the merging method decides as usual.

    Masks are merged to one region each, innermost first, and then act as one region in the enclosing mask or image. A
    mask with several connected pieces joins them last. If a mask merges with its surroundings at a lower altitude than
    its own parts did, the altitudes of its parts are lowered to it, so that the mask is complete first.
    """
    graph, statistics = regions.graph, regions.statistics
    n_leaves = graph.n_nodes
    parents = np.arange(2 * n_leaves - 1, dtype=np.int32)
    altitudes = np.zeros(2 * n_leaves - 1, np.float32)
    region_of_leaf = np.arange(n_leaves, dtype=np.int32)
    node_of_region = np.arange(n_leaves)
    n_made = n_leaves
    for is_member in [*members[nested_family(members)], np.ones(n_leaves, bool)]:
        inside = np.unique(region_of_leaf[is_member])
        if inside.size == 1:
            continue
        merges, heights = _merge_inside(replace(regions, graph=graph, statistics=statistics), inside)
        nodes = np.concatenate([node_of_region[inside], n_made + np.arange(inside.size - 1)])
        parents[nodes[merges]] = nodes[inside.size :, None]
        altitudes[nodes[inside.size :]] = heights
        n_made += inside.size - 1
        node_of_region[inside[0]] = nodes[-1]
        joined = np.arange(graph.n_nodes)
        joined[inside] = inside[0]
        pieces, index = np.unique(joined, return_inverse=True)
        node_of_region, region = node_of_region[pieces], index.astype(np.int32)
        region_of_leaf = region[region_of_leaf]
        if statistics is not None:
            statistics = contract_statistics(statistics, graph, region)
        graph = contract(graph, region)
    _kernels.cap_at_parents(parents, altitudes)
    return MergeTree(parents, altitudes)


def _merge_inside(regions: Regions, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the merges (m - 1, 2) of m regions into one (merge k creates node m + k), and their altitudes."""
    n_inside, n_nodes = inside.size, regions.graph.n_nodes
    # all other nodes form one region that never merges, so that areas still sum to the image
    region = np.full(n_nodes, n_inside, np.int32)
    region[inside] = np.arange(n_inside)
    graph, statistics = contract(regions.graph, region), regions.statistics
    if statistics is not None:
        statistics = contract_statistics(statistics, regions.graph, region)
    is_inside = graph.edges[:, 1] < n_inside
    graph = _keep_edges(graph, is_inside)
    if statistics is not None:
        statistics = replace(statistics, edges=statistics.edges[is_inside])
    n_merges = graph.n_nodes - _n_parts(graph)
    pairs, heights = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    if n_merges:
        tree = merge(replace(regions, graph=graph, statistics=statistics))
        new_nodes = np.arange(graph.n_nodes, graph.n_nodes + n_merges)
        below = np.flatnonzero(tree.parents[: new_nodes[-1]] <= new_nodes[-1])
        pairs = below[np.argsort(tree.parents[below], kind="stable")].reshape(-1, 2)
        pairs[pairs >= graph.n_nodes] -= graph.n_nodes - n_inside
        heights = tree.altitudes[new_nodes]
    tops = np.setdiff1d(np.arange(n_inside + n_merges), pairs)
    # join pieces that do not touch: the first two, their union with the third, and so on
    firsts = [tops[0], *range(n_inside + n_merges, 2 * n_inside - 2)][: tops.size - 1]
    joins = list(zip(firsts, tops[1:], strict=True))
    pairs = np.concatenate([pairs, np.array(joins, np.int64).reshape(-1, 2)])
    return pairs, np.concatenate([heights, np.ones(len(joins), np.float32)])


def _keep_edges(graph: RegionGraph, keep: np.ndarray) -> RegionGraph:
    names = ("edges", "border_length", "boundary", "color_distance", "embedding_distance")
    return replace(graph, **{name: getattr(graph, name)[keep] for name in names})


def _n_parts(graph: RegionGraph) -> int:
    import scipy.sparse.csgraph  # imported here: it changes the warning filters

    ends, n = (graph.edges[:, 0], graph.edges[:, 1]), graph.n_nodes
    matrix = scipy.sparse.coo_array((np.ones(graph.n_edges), ends), shape=(n, n))
    return int(scipy.sparse.csgraph.connected_components(matrix, directed=False)[0])
