"""SSN's regular grid of initial cells, its soft k-means on the pixels of the cells, and connected regions.

In   PixelMaps, a Grid
Out  SSN features and the weights of each pixel's nine candidates, one strip of cells after the other; the centres
Not  gradients (kmeans_torch.py), hard labels (cluster.py)

The values equal those of kmeans_torch.pixel_features and soft_kmeans bit for bit. Features of large images are computed
again in each iteration, so that memory holds only a few strips; those of other images are computed once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Int64

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.checks import check_in_range
from supercuts.core.threads import in_threads, thread_count
from supercuts.networks.maps import PixelMaps, is_large
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels._kernels import cluster as _kernels
from supercuts.superpixels._kernels import kmeans as _kmeans

N_CANDIDATES = 9  # a pixel's own cell and its 8 neighbours; candidate o lies at row o // 3 - 1, column o % 3 - 1


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid in which pixel (y, x) belongs to cell (y * rows // height, x * cols // width).

    height, width   image size in pixels
    rows, cols      cells along each axis, 1..height and 1..width
    """

    height: int
    width: int
    rows: int
    cols: int

    def __post_init__(self) -> None:
        remedy = "Ask for at most one cell a pixel along each axis."
        check_in_range("rows", self.rows, 1, self.height, remedy=remedy)
        check_in_range("cols", self.cols, 1, self.width, remedy=remedy)

    @property
    def n_cells(self) -> int:
        """Number of cells, which is the number of superpixels."""
        return self.rows * self.cols

    @property
    def step_px(self) -> float:
        """Side of a square with a mean cell's area, in pixels."""
        return math.sqrt(self.height * self.width / self.n_cells)


def make_grid(height: int, width: int, n_cells: float) -> Grid:
    """Return a grid of nearly square cells whose number is near `n_cells`.

    SSN's grid, floor(sqrt(K * W / H)) and its transpose (Jampani et al. 2018), may have a quarter fewer than K cells.
    This function also tries each side one larger, and balances the error in the number against squareness of cells.
    """
    check_in_range("n_cells", n_cells, 1, height * width, remedy="Ask for between one cell and one cell a pixel.")
    rows, cols = math.sqrt(n_cells * height / width), math.sqrt(n_cells * width / height)
    candidates = {
        (min(max(math.floor(rows) + i, 1), height), min(max(math.floor(cols) + j, 1), width))
        for i in (0, 1)
        for j in (0, 1)
    }
    candidates |= {(r, min(max(round(n_cells / r), 1), width)) for r, _ in candidates}
    candidates |= {(min(max(round(n_cells / c), 1), height), c) for _, c in candidates}

    def badness(sides: tuple[int, int]) -> tuple[float, float, int]:
        r, c = sides
        squareness = abs(math.log((height / r) / (width / c)))
        return abs(math.log(r * c / n_cells)) + 0.1 * squareness, squareness, r

    best = min(candidates, key=badness)
    return Grid(height, width, *best)


def cell_table(length: int, n_cells: int) -> tuple[Int[np.ndarray, "cells pixels"], Bool[np.ndarray, "cells pixels"]]:
    """Return, for one axis, the pixel coordinates of each cell, and a mask that is False on padding.

    Cells shorter than the longest are padded with their own last pixel.
    """
    cell = np.arange(length) * n_cells // length
    first = np.searchsorted(cell, np.arange(n_cells))
    count = np.bincount(cell, minlength=n_cells)
    offsets = np.arange(count.max())
    is_real = offsets[None, :] < count[:, None]
    return first[:, None] + np.minimum(offsets[None, :], count[:, None] - 1), is_real


def cell_labels(grid: Grid) -> Int[np.ndarray, "height width"]:
    """Return the cell id of every pixel, int32, row-major: SSN's initial label map."""
    row = np.arange(grid.height) * grid.rows // grid.height
    col = np.arange(grid.width) * grid.cols // grid.width
    return (row[:, None] * grid.cols + col[None, :]).astype(np.int32)


_ROWS = 256  # rows renumbered at once


def connected(labels: Int32[np.ndarray, "height width"]) -> tuple[Int32[np.ndarray, "height width"], int]:
    """Return the 4-connected pieces of equal label, 0..P-1, and their number; -1 where labels are negative.

    >>> connected(np.array([[4, -1, 4, 4]], np.int32))[0].tolist()
    [[0, -1, 1, 1]]
    """
    pieces, n = _kernels.label_components(labels)
    is_outside = labels < 0
    if not is_outside.any():
        return pieces, n
    is_valid = np.ones(n, np.bool_)
    is_valid[np.unique(pieces[is_outside])] = False
    new = np.where(is_valid, np.cumsum(is_valid) - 1, -1).astype(np.int32)
    for top in range(0, len(pieces), _ROWS):
        pieces[top : top + _ROWS] = new[pieces[top : top + _ROWS]]
    return pieces, int(is_valid.sum())


def connected_pieces(
    labels: Int32[np.ndarray, "height width"], cells: Int32[np.ndarray, "height width"]
) -> Int32[np.ndarray, "height width"]:
    """Return the 4-connected pieces of equal label and equal cell, 0..P-1; labels and cells start at 0, -1 stays.

    >>> connected_pieces(np.array([[0, 0, 0, 1]], np.int32), np.array([[0, 1, 0, 0]], np.int32)).tolist()
    [[0, 1, 2, 3]]
    """
    pairs = labels.astype(np.int64) * (int(cells.max()) + 1) + cells
    numbered = relabel_consecutive(pairs)[0]
    numbered[labels < 0] = -1
    return connected(numbered)[0]


_CELL_ROWS = 4  # maximum rows of cells in a strip, the work of a thread
_STRIP_PIXELS = 1 << 18  # maximum pixels in a strip of several rows, so that its features stay in the cache
_SCRATCH_BYTES = 300_000_000  # bytes of features and weights that all threads hold at once
Strip = tuple[int, int]  # first row of cells, and the row after the last


class Cells:
    """The pixels of an image in the cells of a grid, or every `step_px`-th of their rows and columns, by strips.

    `is_kept` computes the features once and keeps them, except those of large images.

    candidates  (N, 9) cells; N if there is none or it has no valid pixel
    scales      scales of colour, position and bands, and the stride of embeddings, in the order that kernels expect
    """

    def __init__(self, maps: PixelMaps, grid: Grid, ssn: SSNConfig, step_px: int = 1, is_kept: bool = True) -> None:
        self.maps, self.grid, self.looked_up = maps, grid, maps.looked_up()
        self.scales = (
            np.float32(ssn.color_scale),
            np.float32(ssn.position_scale * max(grid.rows / grid.height, grid.cols / grid.width)),
            maps.band_scale,
            maps.embedding_stride,
        )
        self.n_features = maps.n_colors + 2 + len(maps.embeddings)
        self.ys, self.is_y = (table[:, ::step_px] for table in cell_table(grid.height, grid.rows))
        self.xs, self.is_x = (table[:, ::step_px] for table in cell_table(grid.width, grid.cols))
        n_pixels = self.ys.shape[1] * self.xs.shape[1]
        n_rows = min(max(_STRIP_PIXELS // (grid.cols * n_pixels), 1), _CELL_ROWS, grid.rows)
        self.strips = [(r, min(r + n_rows, grid.rows)) for r in range(0, grid.rows, n_rows)]
        self._is_pixel = None if is_large(maps.shape) else {strip: self._find_pixels(strip) for strip in self.strips}
        self.candidates = self._candidates()
        n_bytes = 4 * n_rows * grid.cols * n_pixels * (self.n_features + N_CANDIDATES)
        self.n_threads = max(min(thread_count(), len(self.strips), _SCRATCH_BYTES // n_bytes), 1)
        # weights, and features not kept, are held only for the strip that a thread works on
        of_thread = (self.n_threads, n_rows * grid.cols)
        is_kept = is_kept and not is_large(maps.shape)
        n_kept = (grid.n_cells,) if is_kept else of_thread
        self._features = np.empty((*n_kept, self.n_features, n_pixels), np.float32)
        self._weights = np.empty((*of_thread, N_CANDIDATES, n_pixels), np.float32)
        if is_kept:
            in_threads(lambda _, strip: self._fill(strip, self._features[self.own(strip)]), self.strips)

    def own(self, strip: Strip) -> slice:
        """Return the slice of the cells of a strip."""
        return slice(strip[0] * self.grid.cols, strip[1] * self.grid.cols)

    def span(self, strip: Strip) -> tuple[int, int]:
        """Return the first image row of a strip and the row after its last."""
        return int(self.ys[strip[0], 0]), int(self.ys[strip[1] - 1, -1]) + 1

    def is_pixel(self, strip: Strip) -> Bool[np.ndarray, "cells pixels"]:
        """Return a mask of the entries of the cells that are valid pixels."""
        if self._is_pixel is None:
            return self._find_pixels(strip)
        return self._is_pixel[strip]

    def features(self, strip: Strip, thread: int) -> Float32[np.ndarray, "cells channels pixels"]:
        """Return SSN features as kmeans_torch.pixel_features; the thread's next call may overwrite them."""
        if self._features.ndim == 3:
            return self._features[self.own(strip)]
        cells = self._features[thread, : (strip[1] - strip[0]) * self.grid.cols]
        self._fill(strip, cells)
        return cells

    def weights(self, strip: Strip, thread: int) -> Float32[np.ndarray, "cells candidates pixels"]:
        """Return the thread's buffer for the weights of the pixels; its next strip uses the same memory."""
        return self._weights[thread, : (strip[1] - strip[0]) * self.grid.cols]

    def _fill(self, strip: Strip, cells: np.ndarray) -> None:
        color, first = self.maps.color_rows(*self.span(strip))
        ys = self.ys[slice(*strip)]
        _kernels.fill_cells(color, first, self.looked_up[2], self.scales, ys, self.xs, cells)

    def _find_pixels(self, strip: Strip) -> np.ndarray:
        rows = slice(*strip)
        is_real = self.is_y[rows, None, :, None] & self.is_x[None, :, None, :]
        if self.maps.valid is not None:
            valid = self.maps.valid[self.ys[rows]]  # (grid rows, ph, W)
            is_real = is_real & valid[:, :, self.xs].transpose(0, 2, 1, 3)
        return np.ascontiguousarray(is_real.reshape((strip[1] - strip[0]) * self.grid.cols, -1))

    def _candidates(self) -> np.ndarray:
        candidate_cells = candidates(self.grid)
        if self.maps.valid is not None:
            is_empty = [~self.is_pixel(strip).any(axis=1) for strip in self.strips]
            candidate_cells[np.append(np.concatenate(is_empty), False)[candidate_cells]] = self.grid.n_cells
        return candidate_cells


def assign(
    cells: Cells,
    n_iterations: int,
    tolerance: float,
    use: Callable[[Strip, np.ndarray], None],
    centers: Float32[np.ndarray, "cells channels"] | None = None,
) -> Float32[np.ndarray, "cells channels"]:
    """Run the iterations of assignment and centre update; return the centres.

    They start from `centers`, which are overwritten, or from the mean features of each cell.

    Stops early once centres move by at most `tolerance` on average; 0 disables early stopping. Every iteration that
    may be the last calls use(strip, weights) with weights (S, 9, P), which sum to 1 over candidates, 0 on padding.
    """
    grid = cells.grid
    contributions = np.empty((grid.n_cells, N_CANDIDATES, cells.n_features + 1), np.float32)
    at = np.empty((grid.n_cells, cells.n_features), np.float32) if centers is None else centers

    def start(thread: int, strip: Strip) -> None:
        own_cells = cells.own(strip)
        _kmeans.mean_of_cells(cells.features(strip, thread), cells.is_pixel(strip), at[own_cells])

    def iterate(may_be_last: bool, thread: int, strip: Strip) -> None:
        own_cells, is_pixel = cells.own(strip), cells.is_pixel(strip)
        features, weights = cells.features(strip, thread), cells.weights(strip, thread)
        of_strip, first = contributions[own_cells], own_cells.start
        _kmeans.iterate(features, at, weights, may_be_last, of_strip, cells.candidates, is_pixel, first)
        if may_be_last:
            use(strip, weights)

    if centers is None:
        in_threads(start, cells.strips, cells.n_threads)
    for iteration in range(n_iterations):
        may_be_last = iteration == n_iterations - 1 or tolerance > 0
        in_threads(partial(iterate, may_be_last), cells.strips, cells.n_threads)
        before = at.copy() if tolerance > 0 else at
        _kmeans.update(contributions, cells.candidates, at)
        if tolerance > 0 and float(np.linalg.norm(at - before, axis=1).mean()) <= tolerance:
            break
    return at


def candidates(grid: Grid) -> Int64[np.ndarray, "cells 9"]:
    """Return the nine candidates of each cell; entries without a candidate hold the number of cells."""
    ids = np.arange(grid.n_cells, dtype=np.int64).reshape(grid.rows, grid.cols)
    ids = np.pad(ids, 1, constant_values=grid.n_cells)
    shifted = [ids[i : i + grid.rows, j : j + grid.cols].ravel() for i in range(3) for j in range(3)]
    return np.ascontiguousarray(np.stack(shifted, axis=1))


def cells_along_axes(
    shape: tuple[int, ...], n_cells: float, spacing: tuple[float, float, float]
) -> tuple[tuple[int, ...], float]:
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
