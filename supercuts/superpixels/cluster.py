"""SSN superpixels that follow the boundary map: soft k-means, cores, geodesic growth.

In   PixelMaps and a number of cells
Out  Superpixels: at least one for each cell with a valid pixel, connected, ids in scan order
Not  an exact count (merging reduces to it), networks

SSN determines the cores, the pixels that clearly lie inside a superpixel. Between cores, pixels take the label that
reaches them by the cheapest path; crossing a boundary is expensive. The boundary map thus decides the remaining
pixels, and each superpixel keeps SSN's size and place.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int32
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from supercuts.core.arrays import arrays_repr
from supercuts.images.convert import lab_tables
from supercuts.networks.maps import PixelMaps
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels._kernels import cluster as _kernels
from supercuts.superpixels.grid import connected, make_grid
from supercuts.superpixels.kmeans import Cells, Strip, assign


@dataclass(frozen=True, slots=True, eq=False)
class Superpixels:
    """A partition of an image into connected superpixels.

    Parameters
    ----------
    labels
        (H, W) int32, ids 0..N-1 in scan order, each one 4-connected component; -1 for invalid pixels.
    n
        Number of superpixels, N.

    Examples
    --------
    >>> Superpixels(np.array([[0, 0, 1]], np.int32), n=2).n
    2
    """

    labels: Int32[np.ndarray, "height width"]
    n: int

    __repr__ = arrays_repr


class ClusterConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings that turn SSN's soft assignment into hard superpixels; the unit of cost is a step onto a flat pixel."""

    iterations: PositiveInt = 5  # maximum number of soft k-means iterations
    tolerance: NonNegativeFloat = 0.0  # stops early once centres move at most this far on average; 0: never
    core_boundary: float = Field(default=0.85, ge=0, le=1)  # maximum boundary probability of a core pixel
    core_weight: float = Field(default=0.7, ge=0, le=1)  # minimum weight of a core pixel in its superpixel
    boundary_cost: NonNegativeFloat = 32.0  # cost of entering a pixel of boundary probability 1
    boundary_power: PositiveFloat = 3.0  # exponent of the probability: expensive on the ridge, cheap next to it
    feature_cost: NonNegativeFloat = 0.5  # cost of entering a pixel per squared SSN feature distance to the centre
    max_feature_distance: NonNegativeFloat = 32.0  # cap of that squared distance, so that outlier pixels do not block
    seed_search_px: NonNegativeInt = 2  # a superpixel without a core starts at the flattest pixel this near its centre


def cluster(maps: PixelMaps, n_cells: int, config: ClusterConfig, ssn: SSNConfig) -> Superpixels:
    """Return superpixels from a grid of about `n_cells` cells (1..H * W) over the whole image."""
    grid = make_grid(*maps.shape, n_cells)
    cells = Cells(maps, grid, ssn)
    valid = np.zeros((0, 0), np.bool_) if maps.valid is None else maps.valid
    labels, seeds = np.empty(maps.shape, np.int32), np.empty((grid.n_cells, 2), np.int64)
    limits = np.float32(config.core_boundary), np.float32(config.core_weight)

    def mark(strip: Strip, weights: np.ndarray) -> None:
        rows, boundary = slice(*strip), maps.boundary_rows(*cells.span(strip))
        _kernels.mark_cores(
            weights, cells.ys[rows], cells.is_y[rows], cells.xs, cells.is_x, strip[0], *boundary, valid, limits, labels
        )

    centers = assign(cells, config.iterations, config.tolerance, mark)
    for strip in cells.strips:
        boundary, first = maps.boundary_rows(*cells.span(strip))
        # each seed lies in its own cell, so seeds are distinct and no superpixel is lost
        _kernels.flattest_near_centers(
            boundary, first, valid, maps.shape, (grid.rows, grid.cols), strip, config.seed_search_px, seeds
        )
    _kernels.keep_cores(labels, valid, seeds, grid.n_cells)
    n_buckets = int(1 + config.boundary_cost + config.feature_cost * config.max_feature_distance) + 1
    costs = _steps(maps, config), config.feature_cost, config.max_feature_distance, n_buckets
    _kernels.grow(labels, centers, cells.looked_up, cells.scales, lab_tables(), costs)
    if maps.valid is not None:  # pixels that no core reaches
        labels[labels == _kernels.FREE] = grid.n_cells
        labels[~maps.valid] = -1
    return Superpixels(*connected(labels))


def _steps(maps: PixelMaps, config: ClusterConfig) -> Int[np.ndarray, "_ _"]:
    """Return the cost of entering each pixel; (1, 1) if it is the same everywhere."""
    is_flat = maps.boundary.shape == (1, 1)
    steps = np.empty(maps.boundary.shape, np.int16 if config.boundary_cost < 2**15 - 1 else np.int32)
    for top, bottom in [(0, 1)] if is_flat else maps.strips():
        boundary = maps.boundary[top:bottom].astype(np.float32, copy=False)
        steps[top:bottom] = np.rint(1 + config.boundary_cost * boundary**config.boundary_power)
    return steps
