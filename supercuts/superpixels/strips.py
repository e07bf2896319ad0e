"""Superpixels of an image of any size, worked on in strips of rows; pixels that are not valid belong to none.

In   StoredMaps and a number of cells
Out  labels (H, W) of connected superpixels, those of superpixels.cluster and smooth; -1 where a pixel is not valid
Not  no exact count, no network

Memory holds a few numbers a pixel of the whole image; features of all channels are made for one strip after the other.
"""

from functools import partial

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Int64

from supercuts.core.threads import in_threads, in_waves, thread_count
from supercuts.images.color import lab_tables
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels import _kernels, _kernels_assign, _kernels_strips
from supercuts.superpixels.cluster import ClusterConfig
from supercuts.superpixels.compiled_kmeans import candidates, update
from supercuts.superpixels.grid import N_CANDIDATES, Grid, cell_table, make_grid
from supercuts.superpixels.smooth import SmoothConfig, waves
from supercuts.superpixels.stored import StoredMaps

_STRIP_PIXELS = 1 << 18  # whose SSN features stay in the cache; at least one row of cells
_BORDER_ROWS = 64
_SCRATCH_BYTES = 300_000_000  # of the features and weights that threads work on at once
Strip = tuple[int, int]  # first row of cells, and the one after the last
FREE, MASKED = _kernels_strips.FREE, _kernels_strips.MASKED
_NO_CORE = np.iinfo(np.int32).min  # label of a pixel that is not valid, until cores are found


class _Cells:
    """The grid's cells, a strip of grid rows after the other."""

    def __init__(self, maps: StoredMaps, grid: Grid, ssn: SSNConfig) -> None:
        self.maps, self.grid = maps, grid
        self.scales = (
            np.float32(ssn.color_scale),
            np.float32(ssn.position_scale * max(grid.rows / grid.height, grid.cols / grid.width)),
            maps.band_scale,
            maps.embedding_stride,
        )
        self.looked_up = _looked_up(maps)
        self.n_features = maps.n_colors + 2 + len(maps.embeddings)
        self.ys, self.is_y = cell_table(grid.height, grid.rows)
        self.xs, self.is_x = cell_table(grid.width, grid.cols)
        n_pixels = grid.cols * self.ys.shape[1] * self.xs.shape[1]
        n_rows = min(max(_STRIP_PIXELS // n_pixels, 1), grid.rows)
        self.strips = [(r, min(r + n_rows, grid.rows)) for r in range(0, grid.rows, n_rows)]
        self.near = self._near()
        n_bytes = 4 * n_rows * n_pixels * (self.n_features + N_CANDIDATES)
        self.n_threads = max(min(thread_count(), len(self.strips), _SCRATCH_BYTES // n_bytes), 1)
        # all strips of a thread use the same memory
        of_all = (self.n_threads, n_rows * grid.cols)
        self._features = np.empty((*of_all, self.n_features, n_pixels // grid.cols), np.float32)
        self._weights = np.empty((*of_all, N_CANDIDATES, n_pixels // grid.cols), np.float32)

    def _near(self) -> np.ndarray:
        """Return (N, 9) the candidates of each cell, N where there is none or it has no valid pixel."""
        near = candidates(self.grid)
        if self.maps.valid is not None:
            is_empty = [~self.is_pixel(first, end).any(axis=1) for first, end in self.strips]
            near[np.append(np.concatenate(is_empty), False)[near]] = self.grid.n_cells
        return near

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Return the first image row of grid rows first..end-1 and the one after their last."""
        return int(self.ys[first, 0]), int(self.ys[end - 1, -1]) + 1

    def is_pixel(self, first: int, end: int) -> np.ndarray:
        """Return (S, P) which entries of the cells are valid pixels."""
        is_real = self.is_y[first:end, None, :, None] & self.is_x[None, :, None, :]
        if self.maps.valid is not None:
            rows = self.maps.valid[self.ys[first:end]]  # (grid rows, ph, W)
            is_real = is_real & rows[:, :, self.xs].transpose(0, 2, 1, 3)
        return np.ascontiguousarray(is_real.reshape((end - first) * self.grid.cols, -1))

    def features(self, strip: Strip, thread: int) -> Float32[np.ndarray, "cells channels pixels"]:
        """Return the SSN features of the pixels, those of superpixels.ssn.pixel_features, until asked for others."""
        first, end = strip
        top, bottom = self.span(first, end)
        cells = self._features[thread, : (end - first) * self.grid.cols]
        _kernels_strips.fill_cells(
            self.maps.color(top, bottom), self.looked_up, self.scales, top, self.ys[first:end], self.xs, cells
        )
        return cells

    def weights(self, strip: Strip, thread: int) -> Float32[np.ndarray, "cells candidates pixels"]:
        """Return where weights of the pixels go, until asked for others."""
        return self._weights[thread, : (strip[1] - strip[0]) * self.grid.cols]


def cluster_strips(
    maps: StoredMaps, n_cells: int, config: ClusterConfig, ssn: SSNConfig
) -> tuple[Int32[np.ndarray, "height width"], int]:
    """Return superpixels from a grid of about `n_cells` cells (1..H * W), ids in scan order, and their number."""
    height, width = maps.shape
    grid = make_grid(height, width, n_cells)
    cells = _Cells(maps, grid, ssn)
    centers, marked = _assign(cells, config)
    valid = np.zeros((0, 0), np.bool_) if maps.valid is None else maps.valid
    _kernels_strips.keep_cores(marked, valid, _seeds(cells, config.seed_search_px), grid.n_cells)
    _grow(marked, cells, centers, config)
    return connected(marked, grid.n_cells)


def connected(grown: Int32[np.ndarray, "height width"], n_labels: int) -> tuple[Int32[np.ndarray, "height width"], int]:
    """Return the connected pieces of equal label of those below n_labels, and their number; -1 where MASKED.

    FREE pixels, which no core reaches, are pieces of their own.
    """
    if (grown == FREE).any():
        grown[grown == FREE] = n_labels
    components, n = _kernels.label_components(grown)
    is_valid = np.ones(n, np.bool_)
    is_masked = grown == MASKED
    if not is_masked.any():
        return components, n
    is_valid[np.unique(components[is_masked])] = False
    new = np.where(is_valid, np.cumsum(is_valid) - 1, -1).astype(np.int32)
    for top in range(0, len(components), 256):
        components[top : top + 256] = new[components[top : top + 256]]
    return components, int(is_valid.sum())


def smooth_strips(
    labels: Int32[np.ndarray, "height width"],
    maps: StoredMaps,
    color: Float32[np.ndarray, "superpixels bands"],
    embedding: Float32[np.ndarray, "superpixels channels"],
    config: SmoothConfig,
) -> None:
    """Smooth the labels in place, as superpixels.smooth does."""
    is_due = _at_borders(labels)
    due = is_due.view(np.uint64)
    weights = (config.color, config.embedding, config.diagonal, config.boundary_power)
    # colours as they are, and positions that are not compared
    scales = (np.float32(1), np.float32(0), maps.band_scale, maps.embedding_stride)
    looked_up, tables, height = _looked_up(maps), lab_tables(), labels.shape[0]

    def sweep(rows: tuple[int, int]) -> bool:
        if not due[slice(*rows)].any():
            return False
        first = max(rows[0] - 1, 0)
        boundary = maps.boundary_rows(first, min(rows[1] + 1, height))
        n_moved: int = _kernels_strips.smooth_rows(
            labels, is_due, due, rows, boundary, first, looked_up, scales, tables, color, embedding, weights
        )
        return n_moved > 0

    in_waves(sweep, waves(height), config.sweeps)


def _at_borders(labels: Int32[np.ndarray, "height width"]) -> Bool[np.ndarray, "height columns"]:
    """Return which pixels share a side with one of another label, false in columns that fill up the last word of 8."""
    height, width = labels.shape
    is_at = np.zeros((height, -(-width // 8) * 8), np.bool_)
    for top in range(0, height, _BORDER_ROWS):  # differences that stay in the cache
        bottom = min(top + _BORDER_ROWS, height)
        across = labels[top:bottom, 1:] != labels[top:bottom, :-1]
        is_at[top:bottom, 1:width] |= across
        is_at[top:bottom, : width - 1] |= across
        down = labels[top + 1 : bottom + 1] != labels[top : bottom + 1][:-1]
        is_at[top + 1 : bottom + 1, :width] |= down
        is_at[top : bottom + 1, :width][:-1] |= down
    return is_at


def _assign(
    cells: _Cells, config: ClusterConfig
) -> tuple[Float32[np.ndarray, "cells channels"], Int32[np.ndarray, "height width"]]:
    """Return the centres of the soft k-means, and labels where they are beyond doubt, -1 - label elsewhere."""
    grid = cells.grid
    centers = np.empty((grid.n_cells, cells.n_features), np.float32)
    given = np.empty((grid.n_cells, N_CANDIDATES, cells.n_features + 1), np.float32)
    marked = np.empty(cells.maps.shape, np.int32)

    def start(thread: int, strip: Strip) -> None:
        own = slice(strip[0] * grid.cols, strip[1] * grid.cols)
        _kernels_assign.mean_of_cells(cells.features(strip, thread), cells.is_pixel(*strip), centers[own])

    def iterate(may_be_last: bool, thread: int, strip: Strip) -> None:
        weights = _iterate(cells, strip, thread, may_be_last, centers, given)
        if may_be_last:
            _mark(cells, strip, weights, config, marked)

    in_threads(start, cells.strips, cells.n_threads)
    for iteration in range(config.iterations):
        may_be_last = iteration == config.iterations - 1 or config.tolerance > 0
        in_threads(partial(iterate, may_be_last), cells.strips, cells.n_threads)
        if update(centers, given, cells.near, config.tolerance):
            break
    return centers, marked


def _iterate(
    cells: _Cells, strip: Strip, thread: int, is_kept: bool, centers: np.ndarray, given: np.ndarray
) -> np.ndarray:
    """Assign the pixels of some grid rows; return their weights (S, 9, P) if they are kept."""
    first, end = (row * cells.grid.cols for row in strip)
    features, weights = cells.features(strip, thread), cells.weights(strip, thread)
    given, is_pixel = given[first:end], cells.is_pixel(*strip)
    _kernels_assign.iterate(features, centers, weights, is_kept, given, cells.near, is_pixel, first)
    return weights


def _mark(cells: _Cells, strip: Strip, weights: np.ndarray, config: ClusterConfig, marked: np.ndarray) -> None:
    (first, end), (top, bottom), grid = strip, cells.span(*strip), cells.grid
    labels, weight = np.empty((bottom - top, grid.width), np.int32), np.empty((bottom - top, grid.width), np.float32)
    _kernels.hard_labels(
        weights, cells.ys[first:end] - top, cells.is_y[first:end], cells.xs, cells.is_x, first, labels, weight
    )
    is_core = (cells.maps.boundary_rows(top, bottom) <= config.core_boundary) & (weight >= config.core_weight)
    rows = np.where(is_core, labels, -1 - labels)
    if cells.maps.valid is not None:
        rows[~cells.maps.valid[top:bottom]] = _NO_CORE
    marked[top:bottom] = rows


def _seeds(cells: _Cells, search: int) -> Int64[np.ndarray, "cells 2"]:
    maps, grid = cells.maps, cells.grid
    seeds = np.empty((grid.n_cells, 2), np.int64)
    for first, end in cells.strips:
        top, bottom = cells.span(first, end)
        valid = np.zeros((0, 0), np.bool_) if maps.valid is None else maps.valid[top:bottom]
        boundary, shape = maps.boundary_rows(top, bottom), (grid.height, grid.width)
        _kernels_strips.flattest_near_centers(
            boundary, valid, top, shape, (grid.rows, grid.cols), first, search, seeds
        )  # fmt: skip
    return seeds


def _grow(labels: np.ndarray, cells: _Cells, centers: np.ndarray, config: ClusterConfig) -> None:
    maps = cells.maps
    most = int(1 + config.boundary_cost + config.feature_cost * config.max_feature_distance) + 1
    _kernels_strips.grow(
        labels,
        centers,
        cells.looked_up,
        cells.scales,
        lab_tables(),
        (_steps(maps, config), config.feature_cost, config.max_feature_distance, most),
    )


def _looked_up(maps: StoredMaps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what kernels look pixels up in: rgb, bands, the bits of embeddings."""
    return maps.rgb, maps.bands, maps.embedding_bits


def _steps(maps: StoredMaps, config: ClusterConfig) -> Int[np.ndarray, "_ _"]:
    """Return what entering each pixel costs, (1, 1) where that is the same everywhere."""
    is_flat = maps.boundary.shape == (1, 1)
    spans = [(0, 1)] if is_flat else list(maps.strips())
    steps = np.empty(maps.boundary.shape, np.int16 if config.boundary_cost < 2**15 - 1 else np.int32)
    for top, bottom in spans:
        boundary = maps.boundary if is_flat else maps.boundary_rows(top, bottom)
        steps[top:bottom] = np.rint(1 + config.boundary_cost * boundary**config.boundary_power)
    return steps
