"""Supervoxels of a volume, exactly as many as requested, and their tree.

In   voxels (Z, H, W) or (Z, H, W, C); optional boundary probabilities and mask of the same size
Out  VolumeHierarchy: one tree over supervoxels that are connected in three dimensions
Not  networks: boundary maps come from the caller, slice by slice

SLIC's k-means over a grid of cells in three axes, its connected pieces, then merging to the exact count and to the tree
as in images.
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
from supercuts.graph.rag import RegionGraph, contract, graph_of_sums
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import to_unit
from supercuts.merging.agglomerative import LinkageConfig, dissimilarity, merge_to_count
from supercuts.merging.mergers import MergingConfig, Regions, merge
from supercuts.superpixels._kernels import pixels as _kernels

_FULL = 100.0  # range of the values that distances compare; that of Lab


class VolumeConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of segment_volume."""

    iterations: PositiveInt = 5  # k-means
    compactness: NonNegativeFloat = 10.0  # distance in values, of 0..100, that equals a distance of one cell
    oversampling: NonNegativeFloat = 2.0  # cells per requested supervoxel
    leaves: LinkageConfig = LinkageConfig(boundary=1.0, color=1.0, small_exponent=0.8, small_area=0.01)
    merging: MergingConfig = MergingConfig()


@dataclass(frozen=True, slots=True, eq=False)
class VolumeHierarchy:
    """The tree of a volume.

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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the hierarchy of the slices to an .npz.

        Parameters
        ----------
        path
            New file; ``VolumeHierarchy(supercuts.read(path), n_slices)`` reads it.

        Examples
        --------
        >>> segment_volume(np.zeros((2, 4, 4), np.uint8), 4).save("volume.npz")
        """
        self.slices.save(path)

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
    n_valid = int(np.count_nonzero(valid))
    n_leaves = min(supervoxels, n_valid)
    labels, n_pieces = _start(values, valid, n_leaves, spacing, config)
    graph = _graph(labels, n_pieces, values, boundary)
    area = config.leaves.small_area * n_valid
    region = merge_to_count(
        graph,
        dissimilarity(graph, config.leaves),
        min(n_leaves, graph.n_nodes),
        small_area_px=area,
        small_exponent=config.leaves.small_exponent,
    )
    graph = contract(graph, region)
    tree = merge(Regions(graph, config.merging))
    leaf = np.append(region, -1).astype(np.int32)[labels]  # the last entry keeps -1
    rows = leaf.reshape(-1, volume.shape[2])
    return VolumeHierarchy(Hierarchy(rows, tree.parents, tree.altitudes, graph.embedding), len(volume))


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
            raise InputError(
                f"{name} {other.shape} does not fit a volume of {volume.shape[:3]}: give one value a voxel."
            )
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
    while True:
        grid, step = _grid(valid.shape, min(n_cells, valid.size), spacing)
        scales = np.array(spacing) * config.compactness / step
        labels = _kernels.cluster_voxels(values, valid, np.array(grid), scales.astype(np.float32), config.iterations)
        labels, n_pieces = _kernels.label_volume(labels)
        if n_pieces >= n_leaves:
            return labels, n_pieces
        if grid == valid.shape:
            voxels = np.full(valid.shape, -1, np.int32)
            voxels[valid] = np.arange(np.count_nonzero(valid))
            return voxels, int(voxels.max()) + 1
        n_cells *= 4


def _grid(shape: tuple[int, ...], n_cells: float, spacing: tuple[float, float, float]) -> tuple[tuple[int, ...], float]:
    """Return the number of cells along each axis, for about `n_cells` cells of equal sides, and the side."""
    sides = np.array(shape) * spacing
    step = float((sides.prod() / n_cells) ** (1 / 3))
    counts = np.clip(np.rint(sides / step), 1, shape).astype(int)
    # axes with one cell, such as of a thin volume, leave their share to the others
    is_thin = counts == 1
    if is_thin.any() and not is_thin.all():
        step = float((sides[~is_thin].prod() / n_cells) ** (1 / np.count_nonzero(~is_thin)))
        counts = np.where(is_thin, 1, np.clip(np.rint(sides / step), 1, shape)).astype(int)
    if n_cells >= np.prod(shape):
        counts = np.array(shape)
    return tuple(counts.tolist()), step


def _graph(labels: np.ndarray, n_nodes: int, values: np.ndarray, boundary: np.ndarray | None) -> RegionGraph:
    """Return the graph of pieces that share faces of voxels; positions and boxes are those in the slices."""
    area, position, box, colors = _kernels.measure_voxels(labels, values, n_nodes)
    parts = [_borders(labels, z, n_nodes, boundary) for z in range(len(labels))]
    keys, place = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    length, total = (
        np.bincount(place, np.concatenate([part[k] for part in parts]), minlength=keys.size) for k in (1, 2)
    )
    empty = np.zeros((n_nodes, 0))
    return graph_of_sums((keys, length, total), (area, position, box), colors, empty, np.zeros(n_nodes))


def _borders(
    labels: np.ndarray, z: int, n_nodes: int, boundary: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keys low * n_nodes + high of pairs that touch in slice z or across to the next; faces, boundary sums."""
    here = np.s_[z, :, :]
    sides = [(np.s_[z, :, :-1], np.s_[z, :, 1:]), (np.s_[z, :-1], np.s_[z, 1:])]
    sides += [(here, np.s_[z + 1, :, :])] if z + 1 < len(labels) else []
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
