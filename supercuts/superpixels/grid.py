"""SSN's regular grid of initial cells, the cell-major layout of pixels, and connected regions."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int32

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.checks import check_in_range
from supercuts.superpixels._kernels import cluster as _kernels

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
