"""Hierarchy: the merge tree over superpixels that every segmentation returns.

In   labels (H, W), parents (M,), altitudes (M,), embeddings (N, D), validated once
Out  Hierarchy; its methods forward to cuts.py, selection.py, contours.py, regions.py and, for files, to export/
Not  no merging, no torch; computes on demand and caches nothing
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

from supercuts.core.arrays import frozen, is_frozen
from supercuts.core.checks import check_exactly_one, check_installed
from supercuts.core.errors import InputError
from supercuts.core.files import check_replaceable
from supercuts.hierarchy import contours, cuts, regions, selection
from supercuts.hierarchy.cuts import check_levels
from supercuts.hierarchy.edits import Edit, Edits, Tree, advance, describe_edit
from supercuts.hierarchy.regions import RegionTable
from supercuts.hierarchy.selection import object_at_clicks
from supercuts.images.georeference import Georeference

_ARRAYS = {
    "labels": ("int32", 2),
    "parents": ("int32", 1),
    "altitudes": ("float32", 1),
    "embeddings": ("float32", 2),
    "image": ("uint8", 3),
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)  # eq=False: == on arrays is ambiguous
class Hierarchy:
    """A merge tree whose leaves are superpixels; node ids run leaves first, root last.

    Reading an attribute that is an array returns a new copy: writing into it changes no hierarchy. Read it once before
    a loop. The examples of the methods continue the one below.

    Parameters
    ----------
    labels
        (H, W) int32, leaf of each pixel, 0..N-1, every id present; -1 on masked pixels.
    parents
        (M,) int32, parents[i] > i; the root is its own; inner nodes have 2 or more children, so M <= 2N-1.
    altitudes
        (M,) float32, 0..1, 0 at the leaves, never above the parent's: an ultrametric.
    embeddings
        (N, D) float32, one row per leaf; (N, 0) without embeddings.
    image
        (H, W, 3) uint8 RGB, or None; only needed to draw pictures.
    levels
        Altitude per level name (scene, object, part), coarsest first; may be empty.
    edits
        History of `merge`, `split` and `lock`, or None.
    georeference
        Geographic position of the pixels, or None.
    source_name
        Name of the segmented file without its folder, or None.

    Raises
    ------
    InputError
        If an argument is not as described above.

    Examples
    --------
    >>> h = Hierarchy(
    ...     labels=np.array([[0, 1, 2, 3]], dtype=np.int32),
    ...     parents=np.array([4, 4, 5, 5, 6, 6, 6], dtype=np.int32),
    ...     altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], dtype=np.float32),
    ...     embeddings=np.zeros((4, 0), dtype=np.float32),
    ...     levels={"object": 0.5},
    ... )
    >>> h
    Hierarchy(1x4, 4 leaves, levels object 0.50)
    """

    labels: Int32[np.ndarray, "height width"]
    parents: Int32[np.ndarray, " nodes"]
    altitudes: Float32[np.ndarray, " nodes"]
    embeddings: Float32[np.ndarray, "leaves dims"]
    image: UInt8[np.ndarray, "height width 3"] | None = None
    levels: dict[str, float] = field(default_factory=dict)
    edits: Edits | None = None
    georeference: Georeference | None = None
    source_name: str | None = None

    # the stored arrays, read-only, which the package uses without a copy
    _labels: ClassVar[Int32[np.ndarray, "height width"]]
    _parents: ClassVar[Int32[np.ndarray, " nodes"]]
    _altitudes: ClassVar[Float32[np.ndarray, " nodes"]]
    _embeddings: ClassVar[Float32[np.ndarray, "leaves dims"]]
    _image: ClassVar[UInt8[np.ndarray, "height width 3"] | None]

    def __post_init__(self) -> None:
        """Validate the arrays and store them where no caller can write; the kernels do not check bounds."""
        _check_arrays(self)
        for name in _ARRAYS:
            if (array := getattr(self, f"_{name}")) is not None:
                object.__setattr__(self, name, _private(array))
        object.__setattr__(self, "levels", check_levels(self.levels))
        if not (self.source_name is None or (isinstance(self.source_name, str) and self.source_name)):
            raise InputError(f"source_name={self.source_name!r} is not a file name: give the name of a file, or None.")
        regions.check_leaf_labels(self._labels, self.n_leaves)
        regions.check_merge_tree(self._parents, self._altitudes, self.n_leaves)

    def __reduce__(self) -> tuple[type["Hierarchy"], tuple[Any, ...]]:
        """Return the arguments of the constructor, so that pickled hierarchies are validated and stored like others."""
        return type(self), tuple(self._arguments().values())

    def __repr__(self) -> str:
        """Return the image size, the number of leaves and the levels on one line."""
        levels = ", ".join(f"{name} {altitude:.2f}" for name, altitude in self.levels.items())
        height, width = self.shape
        return f"Hierarchy({height}x{width}, {self.n_leaves} leaves, {f'levels {levels}' if levels else 'no levels'})"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        height, width = self._labels.shape
        return height, width

    @property
    def is_masked(self) -> bool:
        """Whether some pixels belong to no leaf; these pixels are -1 in the labels of every cut."""
        return bool(self._labels.min() < 0)

    @property
    def n_leaves(self) -> int:
        """Number of superpixels, N."""
        return int(self._embeddings.shape[0])

    @property
    def n_nodes(self) -> int:
        """Number of tree nodes, M."""
        return int(self._parents.size)

    @property
    def root(self) -> int:
        """Id of the root, M - 1."""
        return self.n_nodes - 1

    def cut(
        self,
        *,
        regions: int | None = None,
        level: str | None = None,
        altitude: float | None = None,
        granularity: float | None = None,
        min_area: int | None = None,
        focus: Bool[np.ndarray, "height width"] | selection.Point | None = None,
        budget: float = 0.7,
    ) -> Int32[np.ndarray, "height width"]:
        """Return the region labels 0..R-1 of one cut.

        Give exactly one of `regions`, `level`, `altitude` and `granularity`; `min_area` may be added to each of them.
        Regions are numbered in the order of their lowest leaf. Cuts of one tree are nested, also across keywords, if
        they have the same `min_area`, `focus` and `budget`. A cut with `min_area` is nested in the cut without it.

        Parameters
        ----------
        regions
            Number of regions, 1..N; if a non-binary tree cannot give it, the nearest smaller number.
        level
            "scene", "object" or "part"; must be one of the calibrated `levels`.
        altitude
            0..1; regions are the largest nodes merged at or below this altitude.
        granularity
            0 (one region) to 1 (all leaves); the number of regions grows on a log scale.
        min_area
            Pixels; a merge with a smaller child is kept, and so are all merges below it, so the cut may have fewer
            regions.
        focus
            (H, W) bool, or a point (y, x) for the mask that ``select(point=)`` returns. A region lies inside it if more
            than half of its pixels do. Needs `regions` or `granularity`.
        budget
            Share of the regions to place inside `focus`, 0..1. It is missed only at the first few splits, or once one
            side has only leaves.

        Returns
        -------
        int32 (H, W)
            Region of each pixel, -1 on masked pixels.

        Raises
        ------
        InputError
            If not exactly one granularity is given, or if a value is out of range or not calibrated.
        ConstraintError
            If the edits of the hierarchy make this number of `regions` impossible.

        See Also
        --------
        cut_nodes : Return the tree nodes of the same regions.

        Examples
        --------
        >>> h.cut(regions=3).tolist(), h.cut(level="object").tolist()
        ([[0, 0, 1, 2]], [[0, 0, 1, 1]])
        """
        how = cuts.Granularity(regions, level, altitude, granularity, min_area)
        return cuts.paint(self._cut(how, self._focus(focus, budget)).region_of_leaf, self._labels)

    def cut_nodes(
        self,
        *,
        regions: int | None = None,
        level: str | None = None,
        altitude: float | None = None,
        granularity: float | None = None,
        min_area: int | None = None,
        focus: Bool[np.ndarray, "height width"] | selection.Point | None = None,
        budget: float = 0.7,
    ) -> Int32[np.ndarray, " regions"]:
        """Return the tree node of each region of a cut.

        Parameters
        ----------
        regions, level, altitude, granularity, min_area, focus, budget
            As in `cut`.

        Returns
        -------
        int32 (R,)
            Node of regions 0..R-1 of `cut` with the same keywords.

        Raises
        ------
        InputError, ConstraintError
            As in `cut`.

        Examples
        --------
        >>> h.cut_nodes(regions=3).tolist()
        [4, 2, 3]
        """
        how = cuts.Granularity(regions, level, altitude, granularity, min_area)
        return self._cut(how, self._focus(focus, budget)).nodes

    def select(
        self,
        *,
        point: selection.Point | None = None,
        points: selection.Points | None = None,
        scribbles: selection.Strokes | None = None,
        box: selection.Box | None = None,
        grow: int = 0,
        shrink: int = 0,
        max_nodes: int = 1,
        level: str | None = None,
        regions: int | None = None,
        altitude: float | None = None,
        granularity: float | None = None,
    ) -> Bool[np.ndarray, "height width"]:
        """Return the mask selected by exactly one of a point, clicks, scribbles and a box.

        Pixel centres are at whole numbers. Fractional coordinates are rounded.

        Parameters
        ----------
        point
            (y, x); selects the region that contains it, at the granularity of `regions`, `level`, `altitude` or
            `granularity`. Without one: level "object", or granularity 0.5 if that level is not calibrated.
        points
            {1: [(y, x), ...], 2: [...]}; selects the object from clicks on it (1) and next to it (2).
        scribbles
            As in `segment_scribbles`; selects the pixels that it labels 1.
        box
            (y0, x0, y1, x1), ends exclusive; selects the tree node with the highest overlap (IoU), or the best union of
            at most `max_nodes` nodes.
        grow
            Number of steps to climb from the region at `point`, each to a larger node; ends at the root.
        shrink
            Number of steps to descend from the region at `point` towards its leaf.
        max_nodes
            Largest number of nodes that may make up a box's selection, from 1.
        level, regions, altitude, granularity
            As in `cut`, for `point` only.

        Returns
        -------
        bool (H, W)
            True on selected pixels; False on masked pixels.

        Raises
        ------
        InputError
            If not exactly one mark is given, if it lies outside the image or on masked pixels only, if a keyword
            has no effect on it, or as in `cut`.

        Examples
        --------
        >>> h.select(point=(0, 3)).tolist(), h.select(box=(0, 1, 1, 4), max_nodes=2).tolist()
        ([[False, False, True, True]], [[False, True, True, True]])
        """
        marks: dict[str, object] = {"point": point, "points": points, "scribbles": scribbles, "box": box}
        mark = check_exactly_one("A selection", {name: _brief(value) for name, value in marks.items()})
        how = cuts.Granularity(regions, level, altitude, granularity)
        selection.check_selection_options(mark, grow, shrink, max_nodes, how != cuts.Granularity())
        if scribbles is not None:
            return np.asarray(self.segment_scribbles(scribbles) == 1)
        if points is not None:
            clicked = selection.clicked_leaves(self._labels, self.n_leaves, points)
            chosen = object_at_clicks(self._labels, self._parents, self._altitudes, self.n_leaves, clicked)
            return cuts.paint(chosen, self._labels)
        if box is not None:
            nodes = selection.nodes_of_box(self._labels, self._parents, self.n_leaves, box, max_nodes)
        else:
            assert point is not None  # check_exactly_one above
            if how == cuts.Granularity():
                how = cuts.Granularity(level="object") if "object" in self.levels else cuts.Granularity(granularity=0.5)
            node = selection.node_at_point(self._labels, self._parents, self._cut(how), point, grow - shrink)
            nodes = np.array([node], np.int32)
        return selection.mask_of_nodes(self._labels, self._parents, self.n_leaves, nodes)

    def segment_scribbles(self, scribbles: selection.Strokes) -> Int32[np.ndarray, "height width"]:
        """Spread scribbles over the image along the tree; every pixel gets one of the labels.

        A leaf with scribbles gets the label of most of its scribbled pixels. Any other leaf gets the label of its
        lowest ancestor with scribbles; if that has several labels, the one that covers most of its pixels wins.

        Parameters
        ----------
        scribbles
            (H, W) integers, 0 = unlabelled, 1 = foreground, 2 = background or more labels; or {1: strokes, 2: strokes},
            each a list of points (y, x) or several such lists, drawn as lines of one pixel.

        Returns
        -------
        int32 (H, W)
            Label of each pixel, -1 on masked pixels.

        Raises
        ------
        InputError
            If scribbles are of another type or size, negative, outside the image, or mark no valid pixel.

        Examples
        --------
        >>> h.segment_scribbles({1: [(0, 0)], 2: [(0, 3)]}).tolist()
        [[1, 1, 2, 2]]
        """
        return selection.segment_scribbles(self._labels, self._parents, self.n_leaves, scribbles)

    def merge(self, a: int, b: int) -> "Hierarchy":
        """Return a hierarchy where two nodes form one region once each is whole.

        The edit holds at every granularity and is saved in files. Leaves keep their ids; other nodes are renumbered.

        Parameters
        ----------
        a, b
            Node ids, 0..M-1, without common leaves; `b` moves next to `a`.

        Returns
        -------
        Hierarchy
            The edited hierarchy.

        Raises
        ------
        InputError
            If the tree has no such node.
        ConstraintError
            If one node contains the other, or if the edit contradicts an earlier one.

        Examples
        --------
        >>> h.merge(1, 2).cut(regions=3).tolist()
        [[0, 1, 1, 2]]
        """
        return self._edit("merge", (a, b))

    def split(self, node: int) -> "Hierarchy":
        """Return a hierarchy where no region holds two children of a node.

        All children but the largest move to the root. The edit holds and is saved as in `merge`.

        Parameters
        ----------
        node
            Id of an inner node, N..M-1.

        Returns
        -------
        Hierarchy
            The edited hierarchy.

        Raises
        ------
        InputError
            If the tree has no such node.
        ConstraintError
            If the node is a leaf, or if the edit contradicts an earlier one.

        Examples
        --------
        >>> h.split(4).cut(regions=2).tolist()
        [[0, 1, 0, 0]]
        """
        return self._edit("split", (node,))

    def lock(self, node: int) -> "Hierarchy":
        """Return a hierarchy where a node is a region of every cut.

        It is never divided or merged with another region. The edit holds and is saved as in `merge`.

        Parameters
        ----------
        node
            Node id, 0..M-1.

        Returns
        -------
        Hierarchy
            The edited hierarchy.

        Raises
        ------
        InputError
            If the tree has no such node.
        ConstraintError
            If the edit contradicts an earlier one.

        Examples
        --------
        >>> h.lock(5).cut(altitude=0.0).tolist()
        [[0, 1, 2, 2]]
        """
        return self._edit("lock", (node,))

    def apply_session(self, path: str | os.PathLike[str]) -> "Hierarchy":
        """Return a hierarchy where each region selected in the viewer is a region of every cut.

        Each is one `lock`, so the edits hold and are saved as in `merge`.

        Parameters
        ----------
        path
            The session (.json) that the viewer of this hierarchy saved.

        Returns
        -------
        Hierarchy
            The edited hierarchy; the same one if no region is selected.

        Raises
        ------
        InputError
            If the session is of another hierarchy.
        FileFormatError
            If the file is not a session.
        ConstraintError
            If a selected region contradicts an earlier edit.

        Examples
        --------
        >>> edited = h.apply_session("photo_session.json")  # doctest: +SKIP
        >>> edited.save("photo_edited.npz")  # doctest: +SKIP
        """
        from supercuts.export.html_viewer import selected_nodes

        nodes = selected_nodes(path, self)
        return self._edit("lock", *([node] for node in nodes)) if nodes else self

    def undo(self) -> "Hierarchy":
        """Return the hierarchy before the last `merge`, `split` or `lock`.

        Returns
        -------
        Hierarchy
            The hierarchy without the last edit.

        Raises
        ------
        InputError
            If there is no edit.

        Examples
        --------
        >>> h.lock(5).undo().edits is None
        True
        """
        if self.edits is None:
            raise InputError("this hierarchy has no edit to undo: merge, split and lock make one.")
        return self._with_edits(self.edits.before, self.edits.before, self.edits.steps[:-1])

    def ucm(self) -> Float32[np.ndarray, "rows columns"]:
        """Return the ultrametric contour map, whose threshold at a gives the regions of ``cut(altitude=a)``.

        Pixel (y, x) lies at [2y+1, 2x+1] and holds 0. An element between two pixels holds the altitude at which they
        join, 0 within a leaf; at masked pixels it is 1.

        Returns
        -------
        float32 (2H+1, 2W+1)
            Contour strengths, 0..1, laid out as the ``ucm2`` of the BSDS500 benchmark.

        References
        ----------
        .. [1] Arbelaez et al., "Contour detection and hierarchical image segmentation", PAMI 2011.

        Examples
        --------
        >>> h.ucm()[1].tolist()
        [0.0, 0.0, 0.25, 0.0, 0.75, 0.0, 0.5, 0.0, 0.0]
        """
        return contours.contour_map(self._labels, self._parents, self._altitudes)

    def children(self, node: int) -> Int32[np.ndarray, " children"]:
        """Return the children of a node.

        Parameters
        ----------
        node
            Node id, 0..M-1.

        Returns
        -------
        int32 (C,)
            Node ids, ascending; empty for a leaf.

        Raises
        ------
        InputError
            If the tree has no such node.

        Examples
        --------
        >>> h.children(6).tolist()
        [4, 5]
        """
        return regions.children(self._parents, node)

    def parent(self, node: int) -> int:
        """Return the parent of a node.

        Parameters
        ----------
        node
            As in `children`.

        Returns
        -------
        int
            Node id; the root is its own parent.

        Raises
        ------
        InputError
            As in `children`.

        Examples
        --------
        >>> h.parent(0)
        4
        """
        regions.check_node(self.n_nodes, node)
        return int(self._parents[node])

    def ancestors(self, node: int) -> Int32[np.ndarray, " ancestors"]:
        """Return the ancestors of a node.

        Parameters
        ----------
        node
            As in `children`.

        Returns
        -------
        int32 (A,)
            Node ids, nearest first, root last; empty for the root.

        Raises
        ------
        InputError
            As in `children`.

        Examples
        --------
        >>> h.ancestors(0).tolist()
        [4, 6]
        """
        return regions.ancestors(self._parents, node)

    def leaves_of(self, node: int) -> Int32[np.ndarray, " below"]:
        """Return the leaves below a node.

        Parameters
        ----------
        node
            As in `children`.

        Returns
        -------
        int32 (L,)
            Leaf ids, ascending; for a leaf, the leaf itself.

        Raises
        ------
        InputError
            As in `children`.

        Examples
        --------
        >>> h.leaves_of(5).tolist()
        [2, 3]
        """
        return regions.leaves_of(self._parents, self.n_leaves, node)

    def areas(self) -> Int64[np.ndarray, " nodes"]:
        """Return the area of every node.

        Returns
        -------
        int64 (M,)
            Areas in pixels.

        Examples
        --------
        >>> h.areas().tolist()
        [1, 1, 1, 1, 2, 2, 4]
        """
        return cuts.node_areas(self._labels, self._parents, self.n_leaves)

    def region_table(self) -> RegionTable:
        """Return the area, box, centroid, altitude, level and parent of every node.

        Returns
        -------
        RegionTable
            One row per node.

        Examples
        --------
        >>> h.region_table().level.tolist()
        ['', '', '', '', 'object', 'object', '']
        """
        return regions.region_table(self._labels, self._parents, self._altitudes, self.n_leaves, self.levels)

    def save(self, path: str | os.PathLike[str], image: bool = True, *, overwrite: bool = False) -> None:
        """Write the hierarchy to an .npz file, atomically.

        Parameters
        ----------
        path
            File to write.
        image
            Whether to store the image.
        overwrite
            Whether to replace an existing file.

        Raises
        ------
        InputError
            If the file exists, unless ``overwrite=True``.

        See Also
        --------
        supercuts.read : Read the file.

        Examples
        --------
        >>> h.save("row.npz")
        """
        from supercuts.export import npz  # imported on use: export is a higher layer

        check_replaceable(path, overwrite)
        npz.write_npz(path, self, image=image)

    def export(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        regions: int | None = None,
        level: str | None = None,
        altitude: float | None = None,
        granularity: float | None = None,
        like: str | os.PathLike[str] | None = None,
        every_node: bool = False,
        start: int | None = None,
        pixel_size: float | None = None,
        overwrite: bool = False,
        force: bool = False,
    ) -> None:
        """Write the hierarchy in the format of another program.

        Parameters
        ----------
        path
            File or folder to write.
        format
            Name of a format in docs/exports.md, such as "geojson", "geotiff", "coco" or "html". If None, the format
            that the ending of `path` names, such as ``.geojson`` or ``_coco.json``.
        regions, level, altitude, granularity
            One cut, as in `cut`, for formats that hold regions; if None, all levels and the superpixels.
        like
            GeoTIFF to copy the coordinates from; if None, those of the segmented image.
        every_node
            Whether to write all regions of the tree, for formats that hold polygons.
        start
            Id of the first region in label maps, 0 or 1; with 1, pixels of no region are 0. If None, 1 for labels-tiff
            and 0 for other formats.
        pixel_size
            Side of a pixel in micrometres, for ome-zarr and qupath.
        overwrite
            Whether to replace what is at `path`.
        force
            Former name of `overwrite`.

        Raises
        ------
        InputError
            If the format is unknown or not named by the ending of `path`, cannot hold this hierarchy or does not take
            an option, if `path` exists, unless ``overwrite=True``, or if `like` is of another size or has no
            georeference.
        FileFormatError
            If `like` cannot be read.
        MissingDependencyError
            If a package that the format needs is not installed.

        Examples
        --------
        >>> h.export("row.png", "labels", regions=2)
        """
        from supercuts.export import export_formats  # imported on use: export is a higher layer

        if force:
            warnings.warn("force= is now overwrite=: use that name.", DeprecationWarning, stacklevel=2)
        how = cuts.Granularity(regions, level, altitude, granularity)
        cut = None if how == cuts.Granularity() else how
        replaces = overwrite or force
        export_formats.export(path, self, format, cut, like, every_node, replaces, start, pixel_size)

    def to_xarray(self, like: Any = None, **cut: Any) -> Any:
        """Return the superpixels, or the regions of a cut, as an xarray.DataArray.

        Parameters
        ----------
        like
            DataArray that was segmented, whose axes and coordinates are copied; if None, the axes are y and x.
        **cut
            Keywords of `cut` except `focus` and `budget`; if there are none, the superpixels.

        Returns
        -------
        xarray.DataArray
            Labels (H, W) int32.

        Raises
        ------
        InputError
            If `like` has another size, or as in `cut`.
        MissingDependencyError
            If xarray is not installed.

        Examples
        --------
        >>> h.to_xarray(regions=2).dims
        ('y', 'x')
        """
        from supercuts.export import rasters  # imported on use: export is a higher layer

        return rasters.to_data_array(self, cuts.Granularity(**cut) if cut else None, like)

    def overlay(
        self, labels: Any = None, *, color: tuple[int, int, int] | None = None, width: int = 2, **cut: Any
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Draw the boundaries of a cut, or of any label map, on the image.

        Parameters
        ----------
        labels
            (H, W) label map; if None, the cut that the keywords define, or the superpixels without keywords.
        color
            Red, green and blue, 0..255; if None, the colour that ``supercuts segment`` gives the level, else white.
        width
            Width of the lines in pixels, 1 or 2.
        **cut
            Keywords of `cut`.

        Returns
        -------
        array
            (H, W, 3) uint8 picture.

        Raises
        ------
        InputError
            If the hierarchy holds no image, or if both labels and a cut are given.

        Examples
        --------
        >>> from dataclasses import replace
        >>> photo = replace(h, image=np.zeros((1, 4, 3), np.uint8))
        >>> photo.overlay(level="object", width=1).shape
        (1, 4, 3)
        """
        from supercuts.images.draw import COLORS, draw_boundaries  # imported on use, as few callers draw

        if self._image is None:
            raise InputError("the hierarchy holds no image to draw on. Save it with image=True, or segment again.")
        if labels is None:
            labels = self.cut(**cut) if cut else self._labels
        elif cut:
            raise InputError(f"labels= and {', '.join(cut)}= are two label maps: give one of them.")
        return draw_boundaries(self._image, labels, color or COLORS.get(cut.get("level", ""), (255, 255, 255)), width)

    def plot(self, ax: Any = None, **overlay: Any) -> Any:
        """Draw the result of `overlay` into matplotlib axes.

        Parameters
        ----------
        ax
            Axes to draw into; if None, new ones.
        **overlay
            Keywords of `overlay` and `cut`.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Examples
        --------
        >>> from dataclasses import replace
        >>> axes = replace(h, image=np.zeros((1, 4, 3), np.uint8)).plot(level="object")
        """
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        ax.imshow(self.overlay(**overlay))
        ax.set_axis_off()
        return ax

    def widget(self) -> Any:
        """Return the viewer as a notebook widget that gives selection, cut and strokes back.

        Returns
        -------
        HierarchyWidget
            The widget; `export.notebook_widget` lists its attributes.

        Raises
        ------
        InputError
            If the image has more than 32 million pixels.
        MissingDependencyError
            If anywidget is not installed.

        Examples
        --------
        >>> widget = h.widget()
        >>> widget.cut = {"level": "object"}
        """
        check_installed(("anywidget",), extra="notebook")
        from supercuts.export.notebook_widget import HierarchyWidget  # imported on use: export is a higher layer

        return HierarchyWidget(self)

    def show(self) -> Path | None:
        """Open the interactive viewer in the browser; in a notebook, display it below the cell.

        Returns
        -------
        pathlib.Path or None
            The temporary page, which is not deleted; None in a notebook.

        Raises
        ------
        InputError
            If the image has more than 32 million pixels.
        """
        from supercuts.export import html_viewer  # imported on use: export is a higher layer

        return html_viewer.show(self)

    def _repr_html_(self) -> str:
        """Return the interactive viewer as HTML for notebooks."""
        from supercuts.export import html_viewer  # imported on use: export is a higher layer

        return html_viewer.frame(self)

    def _edit(self, kind: str, *groups: Sequence[int]) -> "Hierarchy":
        steps = [describe_edit(self._parents, self.n_leaves, kind, nodes) for nodes in groups]
        if self.edits is None:
            before = Tree(self._parents, self._altitudes)
            return self._with_edits(before, before, tuple(steps))
        tree = Tree(self._parents, self._altitudes, self.edits.limits)
        return self._with_edits(self.edits.before, tree, (*self.edits.steps, *steps), len(self.edits.steps))

    def _with_edits(self, before: Tree, tree: Tree, steps: tuple[Edit, ...], n_done: int = 0) -> "Hierarchy":
        tree = advance(tree, self.n_leaves, steps, n_done)
        edits = Edits(before, steps, tree.limits) if steps else None
        return self._with(parents=tree.parents, altitudes=tree.altitudes, edits=edits)

    def _with(self, **changes: Any) -> "Hierarchy":
        """Return what ``dataclasses.replace(self, **changes)`` returns, without copies of the other arrays."""
        return type(self)(**self._arguments() | changes)

    def _arguments(self) -> dict[str, Any]:
        return {f.name: getattr(self, f"_{f.name}" if f.name in _ARRAYS else f.name) for f in fields(self)}

    def _cut(self, how: cuts.Granularity, focus: cuts.Focus | None = None) -> cuts.Cut:
        limits = self.edits.limits if self.edits else None
        return cuts.cut_tree(
            self._parents, self._altitudes, self._labels, self.n_leaves, self.levels, how, limits, focus
        )

    def _focus(self, focus: Any, budget: float) -> cuts.Focus | None:
        if focus is None:
            return None
        is_mask = isinstance(focus, np.ndarray) and focus.shape != (2,)
        return cuts.Focus(focus if is_mask else self.select(point=focus), budget)


def _brief(value: object) -> object:
    return f"array {value.shape}" if isinstance(value, np.ndarray) else value


class _Copied:
    """Attribute that stores an array of a hierarchy and returns a copy of it."""

    def __init__(self, slot: Any) -> None:
        self.slot = slot

    def __get__(self, h: Hierarchy | None, kind: type | None = None) -> Any:
        """Return a copy of the array, which may be None."""
        if h is None:
            return self
        array = self.slot.__get__(h)
        return array.copy() if isinstance(array, np.ndarray) else array

    def __set__(self, h: Hierarchy, value: Any) -> None:
        """Store a value; only the constructor comes here, as hierarchies are frozen."""
        self.slot.__set__(h, value)


for _name in _ARRAYS:
    _slot = vars(Hierarchy)[_name]
    setattr(Hierarchy, f"_{_name}", _slot)
    setattr(Hierarchy, _name, _Copied(_slot))


def _private(array: np.ndarray) -> np.ndarray:
    """Return the array in C order and read-only: itself if it is both, like the arrays it is a view of, else a copy."""
    if not array.flags.c_contiguous or not is_frozen(array):
        array = frozen(np.array(array, order="C"))
    return array


def _check_arrays(h: Hierarchy) -> None:
    for name, (dtype, ndim) in _ARRAYS.items():
        array = getattr(h, f"_{name}")
        if name == "image" and array is None:
            continue
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
            got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(
                f"{name} is {got}; expected a numpy array of {dtype} with {ndim} axes: convert it with "
                f"np.asarray({name}, dtype=np.{dtype})."
            )
    n_leaves, n_nodes = h._embeddings.shape[0], h._parents.size
    if h._altitudes.size != n_nodes or not max(1, n_leaves) <= n_nodes <= 2 * n_leaves - 1:
        raise InputError(
            f"{n_leaves} embeddings, {n_nodes} parents and {h._altitudes.size} altitudes do not make a tree: give one "
            "embedding per leaf ((N, 0) for none), and a parent and an altitude for each of the N..2N-1 nodes."
        )
    if h._image is not None and h._image.shape != (*h._labels.shape, 3):
        raise InputError(
            f"image {h._image.shape} does not fit labels {h._labels.shape}: give the RGB image that was segmented."
        )
