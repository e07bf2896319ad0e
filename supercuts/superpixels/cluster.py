"""SSN superpixels that follow the boundary map: soft k-means, cores, geodesic growth.

In   PixelMaps and a number of cells
Out  Superpixels: at least one for each cell, connected, ids in scan order
Not  no exact count (merging brings it down to one), no network

SSN decides the cores, the pixels that lie inside a superpixel beyond doubt; between cores the label arrives by the
cheapest path, where crossing a boundary is dear. So the last pixels are decided by the boundary map, and a superpixel
keeps SSN's size and place.
"""

import numpy as np
from jaxtyping import Float32, Int32
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from supercuts.core.threads import in_threads
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels import _kernels
from supercuts.superpixels.compiled_kmeans import CellWeights, Strip, assign, pixel_features, strips_of
from supercuts.superpixels.grid import Grid, cell_table, make_grid
from supercuts.superpixels.result import PixelMaps, Superpixels


class ClusterConfig(BaseModel, frozen=True, extra="forbid"):
    """How SSN's soft assignment becomes hard superpixels; costs are in steps over a flat pixel."""

    iterations: PositiveInt = 5  # of the soft k-means, at most
    tolerance: NonNegativeFloat = 0.0  # they end once centres move no farther in the mean; 0: never early
    core_boundary: float = Field(default=0.85, ge=0, le=1)  # a core pixel's boundary probability is at most this
    core_weight: float = Field(default=0.7, ge=0, le=1)  # and its weight in its superpixel is at least this
    boundary_cost: NonNegativeFloat = 32.0  # of entering a pixel of boundary probability 1
    boundary_power: PositiveFloat = 3.0  # to which the probability is raised first: dear on the ridge, cheap beside it
    feature_cost: NonNegativeFloat = 0.5  # of entering a pixel, times its squared SSN feature distance to the centre
    max_feature_distance: NonNegativeFloat = 32.0  # that squared distance is capped: an outlier pixel must not block
    seed_search_px: NonNegativeInt = 2  # a superpixel without a core starts at the flattest pixel this near its centre


def cluster(maps: PixelMaps, n_cells: int, config: ClusterConfig, ssn: SSNConfig) -> Superpixels:
    """Return superpixels from a grid of about `n_cells` cells (1..H * W)."""
    grid = make_grid(*maps.shape, n_cells)
    features = pixel_features(maps.color, maps.embeddings, grid, ssn)
    soft = assign(features, grid, config.iterations, config.tolerance)
    labels, weight = _harden(soft, grid)
    is_core = (maps.boundary <= config.core_boundary) & (weight >= config.core_weight)
    # inside its own cell, so distinct for every cell: no superpixel is lost
    seeds = _kernels.flattest_near_centers(maps.boundary, grid.rows, grid.cols, config.seed_search_px)
    cores = _kernels.keep_cores(labels, is_core, seeds, grid.n_cells)
    step_cost = np.rint(1 + config.boundary_cost * maps.boundary**config.boundary_power).astype(np.int32)
    most = int(1 + config.boundary_cost + config.feature_cost * config.max_feature_distance) + 1
    grown = _kernels.grow(
        cores,
        step_cost,
        features,
        soft.centers,
        config.feature_cost,
        config.max_feature_distance,
        most,
    )
    components, n = _kernels.label_components(grown)
    return Superpixels(labels=components, n=n)


def _harden(
    soft: CellWeights, grid: Grid
) -> tuple[Int32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Return the cell id of each pixel's heaviest candidate and that candidate's weight."""
    ys, is_y = cell_table(grid.height, grid.rows)
    xs, is_x = cell_table(grid.width, grid.cols)
    labels, weight = np.empty((grid.height, grid.width), np.int32), np.empty((grid.height, grid.width), np.float32)

    def harden(_: int, strip: Strip) -> None:
        rows, own = strip
        _kernels.hard_labels(soft.weights[own], ys[rows], is_y[rows], xs, is_x, rows.start, labels, weight)

    in_threads(harden, strips_of(grid))
    return labels, weight
