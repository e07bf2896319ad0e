"""Measure and traverse the nodes of a merge tree."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, Shaped

from supercuts.core.checks import check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.hierarchy import _kernels
from supercuts.hierarchy.cuts import LEVELS, altitude_of_level


class RegionTable(dict[str, Shaped[np.ndarray, " nodes"]]):
    """Columns of the tree's nodes, leaves first, root last; pandas.DataFrame(table) has one row per node.

    The columns are node, parent, area, bbox-0 to bbox-3, centroid-0, centroid-1, altitude and level; area, bbox and
    centroid are named as in scikit-image's regionprops_table. The parameters are also attributes.

    Parameters
    ----------
    node
        (M,) int32, 0..M-1.
    parent
        (M,) int32; the root is its own.
    area
        (M,) int64, pixels.
    bbox_yxyx
        (M, 4) int64, y0 x0 y1 x1, ends exclusive.
    centroid_yx
        (M, 2) float64, mean pixel coordinates.
    altitude
        (M,) float32, 0..1.
    level
        (M,) str, coarsest level with this node as a region of its cut, or ''.

    Examples
    --------
    >>> parents, altitudes = np.array([2, 2, 2], np.int32), np.array([0, 0, 0.5], np.float32)
    >>> table = region_table(np.array([[0, 1, 1]], np.int32), parents, altitudes, 2, {})
    >>> table.area.tolist(), table.centroid_yx.tolist()
    ([1, 2, 3], [[0.0, 0.0], [0.0, 1.5], [0.0, 1.0]])
    """

    def __init__(
        self,
        node: Int32[np.ndarray, " nodes"],
        parent: Int32[np.ndarray, " nodes"],
        area: Int64[np.ndarray, " nodes"],
        bbox_yxyx: Int64[np.ndarray, "nodes 4"],
        centroid_yx: Float64[np.ndarray, "nodes 2"],
        altitude: Float32[np.ndarray, " nodes"],
        level: Shaped[np.ndarray, " nodes"],
    ) -> None:
        self.node, self.parent, self.area, self.altitude, self.level = node, parent, area, altitude, level
        self.bbox_yxyx, self.centroid_yx = bbox_yxyx, centroid_yx
        boxes = {f"bbox-{i}": bbox_yxyx[:, i] for i in range(4)}
        centroids = {f"centroid-{i}": centroid_yx[:, i] for i in range(2)}
        first = {"node": node, "parent": parent, "area": area}
        super().__init__({**first, **boxes, **centroids, "altitude": altitude, "level": level})

    def __repr__(self) -> str:
        """Return the number of rows and the names of the columns."""
        return f"RegionTable({self.node.size} nodes: {', '.join(self)})"

    def to_dict(self) -> dict[str, list[object]]:
        """Return the attributes as lists that json.dumps accepts.

        Returns
        -------
        dict
            List of M values by name of the attribute.

        Examples
        --------
        >>> table.to_dict()["parent"]
        [2, 2, 2]
        """
        names = ("node", "parent", "area", "bbox_yxyx", "centroid_yx", "altitude", "level")
        return {name: getattr(self, name).tolist() for name in names}


def region_table(
    labels: Int32[np.ndarray, "height width"],
    parents: Int32[np.ndarray, " nodes"],
    altitudes: Float32[np.ndarray, " nodes"],
    n_leaves: int,
    levels: Mapping[str, float],
) -> RegionTable:
    """Return the table of all nodes."""
    area, bbox, total = _kernels.tree.measure(labels, parents, n_leaves)
    return RegionTable(
        node=np.arange(parents.size, dtype=np.int32),
        parent=parents.copy(),  # a hierarchy's own arrays are read-only
        area=area,
        bbox_yxyx=bbox,
        centroid_yx=total / area[:, None],
        altitude=altitudes.copy(),
        level=level_of_nodes(parents, altitudes, levels),
    )


def level_of_nodes(
    parents: Int32[np.ndarray, " nodes"], altitudes: Float32[np.ndarray, " nodes"], levels: Mapping[str, float]
) -> Shaped[np.ndarray, " nodes"]:
    """Return for each node the coarsest level with this node as a region of its cut, or '' if there is none."""
    names = np.zeros(parents.size, dtype=f"U{max(map(len, LEVELS))}")
    above = altitudes[parents]
    above[-1] = np.inf  # nothing lies above the root
    for level in reversed([name for name in LEVELS if name in levels]):  # finest first: coarser ones overwrite it
        altitude = np.float32(altitude_of_level(levels, level))
        names[(altitudes <= altitude) & (above > altitude)] = level
    return names


def check_node(n_nodes: int, node: int) -> None:
    """Raise InputError unless the tree has a node with this id."""
    remedy = "Leaves come first; the root is the last node."
    check_whole("node", str(node) if isinstance(node, bool) else node, remedy=remedy)  # numba takes no bool as an index
    check_in_range("node", node, 0, n_nodes - 1, remedy=remedy)


def image_area(labels: Int32[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Return the mask of the image area: all pixels or, with a mask, the pixels of leaves and the holes among them.

    The outline of this area is the image frame, so a masked hole inside a region is not part of the frame.

    >>> image_area(np.array([[-1, 0, 0, 0], [-1, 0, -1, 0], [-1, 0, 0, 0]], np.int32)).astype(int).tolist()
    [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    """
    if labels.min() >= 0:
        return np.ones(labels.shape, np.bool_)
    from scipy import ndimage  # slow to import

    area: np.ndarray = ndimage.binary_fill_holes(labels >= 0)
    return area


def frame_contact(labels: Int32[np.ndarray, "height width"], n_leaves: int) -> Int64[np.ndarray, " leaves"]:
    """Return the number of pixel sides of each leaf that lie on the image frame; a corner pixel has two."""
    if labels.min() >= 0:
        sides = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    else:
        padded = np.pad(image_area(labels), 1)
        is_in = padded[1:-1, 1:-1]
        shifted = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        sides = [labels[is_in & ~neighbour] for neighbour in shifted]
    return np.bincount(np.concatenate(sides), minlength=n_leaves)


def children(parents: Int32[np.ndarray, " nodes"], node: int) -> Int32[np.ndarray, " children"]:
    """Return the children of a node, ascending; empty for a leaf."""
    check_node(parents.size, node)
    return np.flatnonzero(parents[:-1] == node).astype(np.int32)


def ancestors(parents: Int32[np.ndarray, " nodes"], node: int) -> Int32[np.ndarray, " ancestors"]:
    """Return the ancestors of a node, nearest first, root last; empty for the root."""
    check_node(parents.size, node)
    path: np.ndarray = _kernels.tree.climb(parents, node)
    return path


def leaves_of(parents: Int32[np.ndarray, " nodes"], n_leaves: int, node: int) -> Int32[np.ndarray, " below"]:
    """Return the leaves below a node, ascending; for a leaf, the leaf itself."""
    check_node(parents.size, node)
    return np.flatnonzero(_kernels.tree.mark_descendants(parents, np.array([node]))[:n_leaves]).astype(np.int32)


def check_leaf_labels(labels: Int32[np.ndarray, "height width"], n_leaves: int) -> None:
    """Raise InputError unless labels are -1 or a leaf, and every leaf occurs."""
    for label in (int(labels.min(initial=-1)), int(labels.max(initial=-1))):
        if not -1 <= label < n_leaves:
            raise InputError(
                f"labels hold {label}, outside the leaves 0..{n_leaves - 1} (-1: none): number them with "
                "relabel_consecutive and give one row of embeddings per leaf."
            )
    is_present = np.zeros(n_leaves + 1, bool)
    for step in (4, 1):  # most leaves are found among a sixteenth of the pixels
        if not is_present[:n_leaves].all():
            for pixels in np.array_split(labels[::step, ::step], 1 + labels.size // 2**20):  # indices become int64
                is_present[pixels] = True  # -1 is the last entry
    if not is_present[:n_leaves].all():
        raise InputError(
            f"leaf {is_present.argmin()} has no pixel: labels must hold every id 0..{n_leaves - 1}: use "
            "relabel_consecutive."
        )


def check_merge_tree(
    parents: Int32[np.ndarray, " nodes"], altitudes: Float32[np.ndarray, " nodes"], n_leaves: int
) -> None:
    """Raise InputError unless parents and altitudes are a valid tree."""
    nodes = np.arange(parents.size)

    def check(is_valid: Bool[np.ndarray, " nodes"], fault: str) -> None:
        if not is_valid.all():
            node = is_valid.argmin()
            raise InputError(
                f"node {node} (parent {parents[node]}, altitude {altitudes[node]:.6g}) is not valid: "
                + fault.format(above=altitudes[min(max(parents[node], 0), nodes[-1])])
                + ". Number the nodes leaves first, root last, and make altitudes rise to the root."
            )

    is_root, is_leaf = nodes == nodes[-1], nodes < n_leaves
    check(~is_root | (parents == nodes), "the last node is the root and must be its own parent")
    check(
        is_root | ((parents > nodes) & (parents < nodes.size)),
        f"a parent's id must be higher than its child's and below {nodes.size}",
    )
    check(is_root | (parents >= n_leaves), f"a parent must be an inner node, {n_leaves} or higher")
    n_children = np.bincount(parents[:-1], minlength=nodes.size)
    check(is_leaf | (n_children >= 2), "an inner node must have at least two children")
    check(~(altitudes > altitudes[parents]), "an altitude must not exceed its parent's, {above}")
    check((altitudes >= 0) & (altitudes <= 1), "an altitude must lie in 0..1")  # NaN fails too
    check(~is_leaf | (altitudes == 0), "a leaf's altitude must be 0")


# each names 1 of 100 photographs of BSDS500 val (docs/results/textures.md)
_LEAST_VARIANCE = 12.0
_LEAST_REGIONS, _CLEAR_ALTITUDE = 80, 0.03
# trees of fewer leaves, or of smaller ones on average, are not judged
_JUDGED_LEAVES, _JUDGED_LEAF_PX = 400, 4


def is_unlike_photographs(
    embeddings: Float32[np.ndarray, "leaves channels"],
    altitudes: Float32[np.ndarray, " nodes"],
    areas: Int64[np.ndarray, " nodes"],
    levels: Mapping[str, float],
) -> bool:
    """Return whether a tree of the compact model has too few clear boundaries, or embeddings that hardly vary.

    Without levels, as in images of many bands, altitudes are those of hand-made distances, and only embeddings count.

    >>> flat, areas = np.zeros((400, 2), np.float32), np.append(np.full(400, 90), 36000)
    >>> is_unlike_photographs(flat, np.zeros(401, np.float32), areas, {"object": 0.4})
    True
    """
    if len(embeddings) < _JUDGED_LEAVES or areas[-1] < _JUDGED_LEAF_PX * len(embeddings):
        return False
    weights = areas[: len(embeddings)] / areas[-1]
    variance = weights @ ((embeddings - weights @ embeddings) ** 2).sum(axis=1)
    n_clear = np.count_nonzero(altitudes > _CLEAR_ALTITUDE) + 1
    return bool(variance < _LEAST_VARIANCE or (levels and n_clear < _LEAST_REGIONS))
