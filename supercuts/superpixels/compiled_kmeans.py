"""SSN's soft k-means of one image in compiled kernels: soft_kmeans.py without gradients, batches or torch.

In   colour (C, H, W), embeddings (D, H, W), a Grid
Out  SSN features (H, W, C + 2 + D); CellWeights: the weights of each pixel's nine candidates, and the centres
Not  no gradient, no hard labels

The values are those of ssn.pixel_features and soft_kmeans.soft_kmeans, bit for bit. The channels of a pixel lie side by
side, for what visits pixels here and there.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from supercuts.core.arrays import channels_last
from supercuts.core.threads import in_threads
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels import _kernels, _kernels_assign
from supercuts.superpixels.grid import N_CANDIDATES, Grid, cell_table

_ROWS = 4  # of cells, which a thread takes at once
_IMAGE_ROWS = 64
Strip = tuple[slice, slice]  # of the grid's rows, and of the cells in them


class CellWeights(NamedTuple):
    """Soft superpixels of one image.

    weights  (N, 9, P) float32  of each pixel's candidates: 1 in all, 0 on padding
    centers  (N, C) float32     mean features by these weights
    """

    weights: Float32[np.ndarray, "cells 9 pixels"]
    centers: Float32[np.ndarray, "cells channels"]


def pixel_features(
    color: Float32[np.ndarray, "bands height width"],
    embeddings: Float32[np.ndarray, "learned height width"],
    grid: Grid,
    config: SSNConfig,
) -> Float32[np.ndarray, "height width channels"]:
    """Return the SSN features: scaled colour, scaled (row, column), learned channels."""
    bands, height, width = color.shape
    scale = np.float32(config.position_scale * max(grid.rows / height, grid.cols / width))
    features = np.empty((height, width, bands + 2 + len(embeddings)), np.float32)
    learned, color_scale = channels_last(embeddings), np.float32(config.color_scale)

    def fill(_: int, top: int) -> None:
        rows = (top, min(top + _IMAGE_ROWS, height))
        _kernels.fill_features(color, learned, color_scale, scale, rows, features)

    in_threads(fill, range(0, height, _IMAGE_ROWS))
    return features


def assign(
    features: Float32[np.ndarray, "height width channels"], grid: Grid, n_iterations: int, tolerance: float = 0.0
) -> CellWeights:
    """Run the iterations of assignment and centre update from the mean features of each cell.

    They end early once centres move by no more than the tolerance in the mean, unless that is 0.
    """
    ys, is_y = cell_table(grid.height, grid.rows)
    xs, is_x = cell_table(grid.width, grid.cols)
    is_pixel = (is_y[:, None, :, None] & is_x[None, :, None, :]).reshape(grid.n_cells, -1)
    n, n_channels, n_pixels = grid.n_cells, features.shape[2], is_pixel.shape[1]
    cells = np.empty((n, n_channels, n_pixels), np.float32)
    weights = np.empty((n, N_CANDIDATES, n_pixels), np.float32)
    centers = np.empty((n, n_channels), np.float32)
    given = np.empty((n, N_CANDIDATES, n_channels + 1), np.float32)
    near = candidates(grid)
    strips = strips_of(grid)

    def start(_: int, strip: Strip) -> None:
        rows, own = strip
        _kernels.lay_out(features, ys[rows], xs, cells[own])
        _kernels_assign.mean_of_cells(cells[own], is_pixel[own], centers[own])

    def iterate(is_kept: bool, _: int, strip: Strip) -> None:
        own, first = strip[1], strip[1].start
        _kernels_assign.iterate(
            cells[own], centers, weights[own], is_kept, given[own], near, is_pixel[own], first
        )  # fmt: skip

    in_threads(start, strips)
    for iteration in range(n_iterations):
        may_be_last = iteration == n_iterations - 1 or tolerance > 0
        in_threads(partial(iterate, may_be_last), strips)
        if update(centers, given, near, tolerance):
            break
    return CellWeights(weights, centers)


def strips_of(grid: Grid) -> list[Strip]:
    """Return the parts of a grid that threads take: rows of cells, and the cells in them."""
    return [
        (slice(row, row + _ROWS), slice(row * grid.cols, (row + _ROWS) * grid.cols))
        for row in range(0, grid.rows, _ROWS)
    ]


def update(
    centers: Float32[np.ndarray, "cells channels"],
    given: Float32[np.ndarray, "cells 9 sums"],
    near: Int64[np.ndarray, "cells 9"],
    tolerance: float,
) -> bool:
    """Move the centres to the means of what cells have given; return whether that is no more than the tolerance.

    A tolerance of 0 is none.
    """
    before = centers.copy() if tolerance > 0 else centers
    _kernels_assign.update(given, near, centers)
    return tolerance > 0 and float(np.linalg.norm(centers - before, axis=1).mean()) <= tolerance


def candidates(grid: Grid) -> Int64[np.ndarray, "cells 9"]:
    """Return the nine candidates of each cell; the number of cells where there is none."""
    ids = np.arange(grid.n_cells, dtype=np.int64).reshape(grid.rows, grid.cols)
    ids = np.pad(ids, 1, constant_values=grid.n_cells)
    shifted = [ids[i : i + grid.rows, j : j + grid.cols].ravel() for i in range(3) for j in range(3)]
    return np.ascontiguousarray(np.stack(shifted, axis=1))
