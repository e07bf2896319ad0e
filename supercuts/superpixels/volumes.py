"""Supervoxels of a volume, or superpixels of a sequence that keep their ids, exactly as many as requested; their tree.

In   voxels (Z, H, W) or (Z, H, W, C), or as many frames; optional boundary probabilities and mask of the same size
Out  VolumeHierarchy: one tree over supervoxels that are connected in three dimensions, or over the ids of a sequence
Not  networks: boundary maps come from the caller, slice by slice

SLIC's k-means over a grid of cells in three axes, its connected pieces, then merging to the exact count and to the tree
as in images. The superpixels of a frame are moved to the next one, where their borders adapt.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Shaped
from pydantic import BaseModel, NonNegativeFloat, PositiveInt

from supercuts.core.arrays import arrays_repr
from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.core.threads import in_threads
from supercuts.graph.rag import RegionGraph, contract, graph_of_sums
from supercuts.hierarchy._kernels import tree as tree_kernels
from supercuts.hierarchy.cuts import Granularity, paint
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import to_unit
from supercuts.merging.agglomerative import LinkageConfig, dissimilarity, merge_to_count
from supercuts.merging.mergers import MergingConfig, Regions, merge
from supercuts.superpixels._kernels import cluster as _cluster
from supercuts.superpixels._kernels import pixels as _kernels
from supercuts.superpixels.cluster import adapted, moved_labels, shift_between
from supercuts.superpixels.grid import cells_along_axes

_FULL = 100.0  # range of the values that distances compare; that of Lab
_ONE = (1.0, 1.0, 1.0)  # spacing of frames
_MEDIAN_STEP = 0.6745 * 2**0.5  # median difference of two values with normal noise of standard deviation 1
_KEPT_APART = 1e9  # added to dissimilarities of two superpixels that were there before


class VolumeConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of segment_volume."""

    iterations: PositiveInt = 10  # k-means
    denoise: NonNegativeFloat = (
        2.0  # width of a bilateral filter before it, in standard deviations of the noise; 0: none
    )
    compactness: NonNegativeFloat = 10.0  # distance in values, of 0..100, that equals a distance of one cell
    oversampling: NonNegativeFloat = 1.0  # cells per requested supervoxel
    leaves: LinkageConfig = LinkageConfig(boundary=1.0, color=1.0, small_exponent=0.8, small_area=0.01)
    merging: MergingConfig = MergingConfig()


@dataclass(frozen=True, slots=True, eq=False)
class VolumeHierarchy:
    """The tree of a volume or of a sequence, whose slices are frames.

    Parameters
    ----------
    slices
        Hierarchy whose labels are those of the slices, one below the other: (Z * H, W). Its cuts, its table and its
        queries hold for the volume; rows are numbered through all slices.
    n_slices
        Number of slices, Z.

    Examples
    --------
    >>> volume = np.zeros((2, 4, 4), np.uint8)
    >>> volume[:, :, 2:] = 255
    >>> segment_volume(volume, 2).cut(regions=2)[1, 0].tolist()
    [0, 0, 1, 1]
    """

    slices: Hierarchy
    n_slices: int

    __repr__ = arrays_repr

    @property
    def labels(self) -> Int32[np.ndarray, "depth height width"]:
        """(Z, H, W) int32, supervoxel of each voxel, -1 on masked voxels."""
        return self._stack(self.slices.labels)

    def cut(self, **granularity: Any) -> Int32[np.ndarray, "depth height width"]:
        """Return the regions of a cut as a label volume.

        Parameters
        ----------
        **granularity
            As in `Hierarchy.cut`: regions, altitude, granularity or min_area; areas are numbers of voxels.

        Returns
        -------
        int32 (Z, H, W)
            Region of each voxel, from 0; -1 on masked voxels.

        Examples
        --------
        >>> segment_volume(np.zeros((2, 4, 4), np.uint8), 4).cut(regions=3).shape
        (2, 4, 4)
        """
        return self._stack(self.slices.cut(**granularity))

    def in_slice(self, index: int) -> Hierarchy:
        """Return the tree of one slice or frame, over the leaves that it shows.

        Parameters
        ----------
        index
            Number of the slice, from 0.

        Returns
        -------
        Hierarchy
            Its leaf i is the i-th of the ids ``np.unique(labels[index])`` from 0; nodes with one child are left out.

        Raises
        ------
        InputError
            If the volume has no such slice, or the slice no valid voxel.

        Examples
        --------
        >>> segment_sequence(np.zeros((3, 8, 8), np.uint8), 5).in_slice(2)
        Hierarchy(8x8, 5 leaves, no levels)
        """
        check_in_range("index", index, 0, self.n_slices - 1, remedy="Slices count from 0.")
        labels = self._stack(self.slices._labels)[index]
        is_shown = np.zeros(self.slices.n_leaves, bool)
        is_shown[labels[labels >= 0]] = True
        if not is_shown.any():
            raise InputError(f"slice {index} has no valid voxel: choose another one.")
        number = np.cumsum(is_shown, dtype=np.int32) - np.int32(1)
        parents, nodes = tree_kernels.restrict(self.slices._parents, is_shown)
        altitudes, embeddings = self.slices._altitudes[nodes], self.slices._embeddings[is_shown]
        return Hierarchy(paint(number, labels), parents, altitudes, embeddings)

    def export_ome_zarr(
        self,
        path: str | os.PathLike[str],
        volume: Shaped[np.ndarray, "depth height width *channels"],
        spacing: tuple[float, float, float] | None = None,
        *,
        overwrite: bool = False,
        **granularity: Any,
    ) -> None:
        """Write a volume with its supervoxels, or the regions of a cut, as labels to an OME-Zarr 0.5.

        Parameters
        ----------
        path
            Folder to write.
        volume
            Volume that was segmented, or a sequence.
        spacing
            Size of a voxel along z, y and x in micrometres; if None, 1 without a unit.
        overwrite
            Whether to replace an OME-Zarr.
        **granularity
            As in `cut`; if there is none, the supervoxels.

        Raises
        ------
        InputError
            If the volume differs in size or `path` exists.

        Examples
        --------
        >>> volume = np.zeros((2, 4, 4), np.uint8)
        >>> segment_volume(volume, 4).export_ome_zarr("volume.zarr", volume, regions=3)
        """
        from supercuts.export import rasters  # imported on use: export is a higher layer

        shape = self._stack(self.slices._labels).shape
        if volume.shape[:3] != shape:
            raise InputError(f"volume {volume.shape} differs from its labels {shape}: give the same one.")
        how = Granularity(**granularity) if granularity else None
        rasters.write_ome_zarr(path, self.slices, how, spacing, volume=volume, overwrite=overwrite)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the hierarchy of the slices to an .npz.

        Parameters
        ----------
        path
            File to write; ``VolumeHierarchy(supercuts.read(path), n_slices)`` reads it.
        overwrite
            Whether to replace an existing file.

        Raises
        ------
        InputError
            If the file exists, unless ``overwrite=True``.

        Examples
        --------
        >>> segment_volume(np.zeros((2, 4, 4), np.uint8), 4).save("volume.npz")
        """
        self.slices.save(path, overwrite=overwrite)

    def _stack(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(self.n_slices, -1, rows.shape[1])


def segment_volume(
    volume: Shaped[np.ndarray, "depth height width *channels"],
    supervoxels: int,
    *,
    boundary: Float32[np.ndarray, "depth height width"] | None = None,
    mask: Bool[np.ndarray, "depth height width"] | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    config: VolumeConfig | None = None,
) -> VolumeHierarchy:
    """Return the tree of a volume over exactly `supervoxels` supervoxels, each connected through faces of voxels.

    There are fewer only if there are fewer valid voxels, and more only if these form more connected pieces.

    Parameters
    ----------
    volume
        (Z, H, W) or (Z, H, W, C), uint8, uint16 or float in 0..1.
    supervoxels
        Number of leaves, from 1.
    boundary
        (Z, H, W) float32 in 0..1, boundary probability of each voxel, for example of a network slice by slice. If
        None, regions merge by their values alone.
    mask
        (Z, H, W) bool, true on valid voxels.
    spacing
        Size of a voxel along each axis, in any unit; supervoxels are about as deep as they are wide.
    config
        Settings; if None, the defaults.

    Returns
    -------
    VolumeHierarchy
        Labels, tree and cuts.

    Raises
    ------
    InputError
        If arrays differ in size, the count is below 1, or no voxel is valid.

    Examples
    --------
    >>> volume = np.random.default_rng(0).random((6, 20, 20), np.float32)
    >>> h = segment_volume(volume, 12)
    >>> h.labels.shape, int(h.labels.max()) + 1
    ((6, 20, 20), 12)
    """
    config = config or VolumeConfig()
    values, valid = _check(volume, boundary, mask, spacing)
    check_in_range("supervoxels", supervoxels, 1, np.inf, remedy="Ask for at least one supervoxel.")
    labels, graph = _leaves(values, valid, boundary, supervoxels, spacing, config)
    return _hierarchy(labels, graph, config)


def segment_sequence(
    frames: Shaped[np.ndarray, "frames height width *channels"],
    superpixels: int,
    *,
    boundary: Float32[np.ndarray, "frames height width"] | None = None,
    mask: Bool[np.ndarray, "frames height width"] | None = None,
    flow: Float32[np.ndarray, "pairs height width 2"] | None = None,
    config: VolumeConfig | None = None,
) -> VolumeHierarchy:
    """Return one tree of a sequence whose frames all have exactly `superpixels` leaves, with ids that stay.

    A superpixel is moved from each frame to the next, where its borders adapt to the values. An id ends where nothing
    of it is left in view; then the largest superpixel of that frame is divided and its smaller part gets a new id.

    Parameters
    ----------
    frames
        (T, H, W) or (T, H, W, C), uint8, uint16 or float in 0..1.
    superpixels
        Number of leaves in each frame, from 1; there are fewer only in frames of fewer valid pixels, and more only if
        these form more connected pieces.
    boundary, mask
        As in `segment_volume`, for each frame.
    flow
        (T - 1, H, W, 2) float32, offset (y, x) in pixels from each pixel of a frame but the first to its place in the
        frame before, such as skimage.registration.optical_flow_tvl1(frame, before) with its axes last. If None, each
        frame is shifted as a whole, by phase correlation.
    config
        Settings; if None, the defaults.

    Returns
    -------
    VolumeHierarchy
        Its slices are the frames. Each leaf is connected in each frame; `in_slice` returns the tree of a frame.

    Raises
    ------
    InputError
        If arrays differ in size, the count is below 1, or a frame has no valid pixel.

    Examples
    --------
    >>> frame = np.random.default_rng(0).random((20, 30), np.float32)
    >>> h = segment_sequence(np.stack([frame, np.roll(frame, 1, axis=1)]), 12)
    >>> [len(np.unique(labels)) for labels in h.labels]
    [12, 12]
    """
    config = config or VolumeConfig()
    values, valid = _check(frames, boundary, mask, _ONE)
    check_in_range("superpixels", superpixels, 1, np.inf, remedy="Ask for at least one superpixel.")
    if not valid.any(axis=(1, 2)).all():
        raise InputError("a frame has no valid pixel: leave that frame out.")
    if flow is not None and flow.shape != (len(frames) - 1, *frames.shape[1:3], 2):
        raise InputError(f"flow {flow.shape} does not fit {frames.shape}: give one for each frame but the first.")
    labels, n_ids = np.empty(valid.shape, np.int32), 0  # ids of earlier frames are below n_ids
    for t in range(len(frames)):
        now, ridge = np.s_[t : t + 1], None if boundary is None else boundary[t : t + 1]
        scale = config.compactness / float(np.sqrt(np.count_nonzero(valid[t]) / superpixels))
        if t == 0:
            moved = _leaves(values[now], valid[now], ridge, superpixels, _ONE, config)[0][0]
        else:
            offset = shift_between(values[t], values[t - 1]) if flow is None else flow[t - 1]
            moved = moved_labels(labels[t - 1], valid[t], offset)
        # the first frame adapts until little changes, so that later frames change by what they show alone
        moved = adapted(moved, values[t], valid[t], scale, config.iterations * (4 if t == 0 else 1))
        n_ids = max(n_ids, int(moved.max()) + 1)
        labels[now] = _renewed(moved, values[now], ridge, superpixels, n_ids, config)
        n_ids = max(n_ids, int(labels[t].max()) + 1)
    ids, labels[valid] = np.unique(labels[valid], return_inverse=True)
    return _hierarchy(labels, _graph(labels, ids.size, values, boundary, is_linked=False), config)


def _leaves(
    values: np.ndarray,
    valid: np.ndarray,
    boundary: np.ndarray | None,
    n_leaves: int,
    spacing: tuple[float, float, float],
    config: VolumeConfig,
) -> tuple[Int32[np.ndarray, "depth height width"], RegionGraph]:
    """Return exactly `n_leaves` connected leaves of a volume, as far as its valid voxels allow, and their graph."""
    n_leaves = min(n_leaves, int(np.count_nonzero(valid)))
    labels, n_pieces = _start(values, valid, n_leaves, spacing, config)
    graph = _graph(labels, n_pieces, values, boundary)
    region = _merge(graph, dissimilarity(graph, config.leaves), n_leaves, config)
    return np.append(region, -1).astype(np.int32)[labels], contract(graph, region)  # the last entry keeps -1


def _merge(graph: RegionGraph, weights: np.ndarray, n_leaves: int, config: VolumeConfig) -> np.ndarray:
    leaves, area = config.leaves, config.leaves.small_area * float(graph.area.sum())
    n_regions = min(n_leaves, graph.n_nodes)
    return merge_to_count(graph, weights, n_regions, small_area_px=area, small_exponent=leaves.small_exponent)


def _hierarchy(labels: np.ndarray, graph: RegionGraph, config: VolumeConfig) -> VolumeHierarchy:
    tree = merge(Regions(graph, config.merging))
    rows = labels.reshape(-1, labels.shape[2])
    return VolumeHierarchy(Hierarchy(rows, tree.parents, tree.altitudes, graph.embedding), len(labels))


def _renewed(
    labels: np.ndarray, values: np.ndarray, boundary: np.ndarray | None, n_leaves: int, n_ids: int, config: VolumeConfig
) -> Int32[np.ndarray, "frames height width"]:
    """Return exactly `n_leaves` connected leaves of a frame (1, H, W); the largest piece of each id keeps it."""
    n_leaves = min(n_leaves, int(np.count_nonzero(labels >= 0)))
    pieces, n_pieces = _kernels.label_volume(labels[None])
    area = np.bincount(pieces[pieces >= 0], minlength=n_pieces)
    owner = np.full(n_pieces, -1)  # old id of each piece that keeps it
    owner[pieces[pieces >= 0]] = labels[labels >= 0]
    order = np.lexsort((np.arange(n_pieces), -area))
    keepers = order[np.unique(owner[order], return_index=True)[1]]
    is_old = np.isin(np.arange(n_pieces), keepers)
    for new in range(n_pieces, n_leaves):
        halves = _leaves(values, pieces == area.argmax(), boundary, 2, _ONE, config)[0]
        pieces[halves == np.bincount(halves[halves >= 0]).argmin()] = new
        area = np.bincount(pieces[pieces >= 0])
        owner, is_old = np.append(owner, -1), np.append(is_old, False)
    graph = _graph(pieces, area.size, values, boundary)
    weights = dissimilarity(graph, config.leaves) + _KEPT_APART * is_old[graph.edges].all(axis=1)
    region = _merge(graph, weights, n_leaves, config)
    ids = np.full(int(region.max()) + 2, -1, np.int32)
    for piece in order[::-1]:  # the largest last
        if is_old[piece]:
            ids[region[piece]] = owner[piece]
    without = np.flatnonzero(ids[:-1] < 0)
    ids[without] = np.arange(n_ids, n_ids + without.size)
    renewed: np.ndarray = ids[np.append(region, ids.size - 1)[pieces]]
    return renewed


def _check(
    volume: np.ndarray, boundary: np.ndarray | None, mask: np.ndarray | None, spacing: tuple[float, float, float]
) -> tuple[Float32[np.ndarray, "depth height width channels"], Bool[np.ndarray, "depth height width"]]:
    """Return the values in 0..100, and a mask of valid voxels; NaN is not valid."""
    if volume.ndim not in (3, 4) or 0 in volume.shape or volume.dtype.kind not in "uf":
        raise InputError(
            f"volume is {volume.dtype} {volume.shape}; expected uint8, uint16 or float (Z, H, W) or (Z, H, W, C)."
        )
    for name, other in (("boundary", boundary), ("mask", mask)):
        if other is not None and other.shape != volume.shape[:3]:
            raise InputError(f"{name} {other.shape} does not fit {volume.shape[:3]} voxels: give one value a voxel.")
    if len(spacing) != 3 or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise InputError(f"spacing is {spacing}; expected three positive sizes of a voxel, along z, y and x.")
    channels = volume if volume.ndim == 4 else volume[..., None]
    values = to_unit(channels.reshape(-1, *channels.shape[2:])).reshape(channels.shape).astype(np.float32) * _FULL
    valid = np.isfinite(values).all(axis=3)
    if mask is not None:
        valid &= mask
    if not valid.any():
        raise InputError("the volume has no valid voxel: give a mask that is true somewhere, and finite values.")
    return np.where(valid[..., None], values, np.float32(0)), valid


def _start(
    values: np.ndarray, valid: np.ndarray, n_leaves: int, spacing: tuple[float, float, float], config: VolumeConfig
) -> tuple[Int32[np.ndarray, "depth height width"], int]:
    """Return at least `n_leaves` connected pieces of k-means clusters, and their number; voxels if those are fewer."""
    n_cells = config.oversampling * n_leaves * valid.size / np.count_nonzero(valid)
    values = _denoised(values, valid, spacing, config.denoise)
    while True:
        grid, step = cells_along_axes(valid.shape, min(n_cells, valid.size), spacing)
        scales = np.array(spacing) * config.compactness / step
        labels = _cluster.cluster_voxels(values, valid, np.array(grid), scales.astype(np.float32), config.iterations)
        labels, n_pieces = _kernels.label_volume(labels)
        if n_pieces >= n_leaves:
            return labels, n_pieces
        if grid == valid.shape:
            voxels = np.full(valid.shape, -1, np.int32)
            voxels[valid] = np.arange(np.count_nonzero(valid))
            return voxels, int(voxels.max()) + 1
        n_cells *= 4


def _denoised(
    values: np.ndarray, valid: np.ndarray, spacing: tuple[float, float, float], width: float
) -> Float32[np.ndarray, "depth height width channels"]:
    """Return the values after a bilateral filter, `width` standard deviations of the noise wide.

    The noise is measured by the median difference of neighbours along rows: it is 0 where most are equal.
    """
    rows = np.s_[:, :: max(1, values.shape[1] // 64)]
    both = valid[rows][:, :, 1:] & valid[rows][:, :, :-1]
    steps = np.abs(np.diff(values[rows], axis=2)[both])
    noise = float(np.median(steps)) / _MEDIAN_STEP if steps.size else 0.0
    if noise * width == 0:
        return values
    distance = np.linalg.norm((np.indices((3, 3, 3)).T - 1) * spacing, axis=-1).T / min(spacing)
    weights, scale = (
        (1 / np.maximum(distance, 1)).astype(np.float32),
        np.float32(0.5 / values.shape[3] / (noise * width) ** 2),
    )
    denoised = np.empty_like(values)
    in_threads(lambda _, z: _cluster.average_alike(values, valid, weights, scale, z, denoised), range(len(values)))
    return denoised


def _graph(
    labels: np.ndarray, n_nodes: int, values: np.ndarray, boundary: np.ndarray | None, is_linked: bool = True
) -> RegionGraph:
    """Return the graph of pieces that share faces of voxels; positions and boxes are those in the slices.

    is_linked  whether faces between slices count
    """
    area, position, box, colors = _kernels.measure_voxels(labels, values, n_nodes)
    parts = [_borders(labels, z, n_nodes, boundary, is_linked) for z in range(len(labels))]
    keys, place = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    length, total = (
        np.bincount(place, np.concatenate([part[k] for part in parts]), minlength=keys.size) for k in (1, 2)
    )
    empty = np.zeros((n_nodes, 0))
    return graph_of_sums((keys, length, total), (area, position, box), colors, empty, np.zeros(n_nodes))


def _borders(
    labels: np.ndarray, z: int, n_nodes: int, boundary: np.ndarray | None, is_linked: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keys low * n_nodes + high of pairs that touch in slice z or across to the next; faces, boundary sums."""
    here = np.s_[z, :, :]
    sides = [(np.s_[z, :, :-1], np.s_[z, :, 1:]), (np.s_[z, :-1], np.s_[z, 1:])]
    sides += [(here, np.s_[z + 1, :, :])] if is_linked and z + 1 < len(labels) else []
    keys, strengths = [], []
    for first, second in sides:
        a, b = labels[first], labels[second]
        is_border = (a != b) & (a >= 0) & (b >= 0)
        low, high = np.minimum(a, b)[is_border], np.maximum(a, b)[is_border]
        keys.append(low.astype(np.int64) * n_nodes + high)
        if boundary is not None:
            strengths.append((boundary[first][is_border] + boundary[second][is_border]) / 2)
    unique, place, counts = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    if boundary is None:
        return unique, counts, np.zeros(unique.size)
    return unique, counts, np.bincount(place, np.concatenate(strengths), minlength=unique.size)
