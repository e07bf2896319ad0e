"""SSN superpixels that follow the boundary map: soft k-means, cores, geodesic growth, smooth borders.

In   PixelMaps and a number of cells
Out  Superpixels: at least one for each cell with a valid pixel, connected, ids in scan order
Not  an exact count (merging reduces to it), networks

SSN determines the cores, the pixels that clearly lie inside a superpixel. Between cores, pixels take the label that
reaches them by the cheapest path; crossing a boundary is expensive. The boundary map thus decides the remaining
pixels, and each superpixel keeps SSN's size and place.

Growth leaves ragged borders where the image is flat. Smoothing balances, for each border pixel, the fit to colour and
embedding of the adjacent superpixels against the length of the border: iterated conditional modes (Besag, 1986) on a
Potts energy, with moves that keep every superpixel connected.

In a sequence, the labels of a frame are moved to the next one and adapt to it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from supercuts.core.arrays import arrays_repr
from supercuts.core.errors import InputError
from supercuts.core.threads import in_waves
from supercuts.images.convert import lab_tables
from supercuts.networks.maps import PixelMaps
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels._kernels import cluster as _kernels
from supercuts.superpixels._kernels import pixels as _pixels
from supercuts.superpixels.grid import Cells, Strip, assign, connected, make_grid

_LEAST_STEP = 4.0  # pixels between centres


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

    iterations: PositiveInt = 4  # maximum number of soft k-means iterations
    coarse_iterations: NonNegativeInt = 3  # first iterations on a quarter of the pixels; the last one sees all of them
    tolerance: NonNegativeFloat = 0.0  # stops early once centres move at most this far on average; 0: never
    core_boundary: float = Field(default=0.9, ge=0, le=1)  # maximum boundary probability of a core pixel
    core_weight: float = Field(default=0.5, ge=0, le=1)  # minimum weight of a core pixel in its superpixel
    boundary_cost: NonNegativeFloat = 32.0  # cost of entering a pixel of boundary probability 1
    boundary_power: PositiveFloat = 3.0  # exponent of the probability: expensive on the ridge, cheap next to it
    feature_cost: NonNegativeFloat = 0.5  # cost of entering a pixel per squared SSN feature distance to the centre
    max_feature_distance: NonNegativeFloat = 32.0  # cap of that squared distance, so that outlier pixels do not block
    seed_search_px: NonNegativeInt = 2  # a superpixel without a core starts at the flattest pixel this near its centre


def cluster(maps: PixelMaps, n_cells: int, config: ClusterConfig, ssn: SSNConfig) -> Superpixels:
    """Return superpixels from a grid of about `n_cells` cells (1..H * W) over the whole image."""
    grid = make_grid(*maps.shape, n_cells)
    # the first iterations see every second row and column, if every cell then still has pixels enough
    is_fine = maps.valid is None and grid.step_px >= _LEAST_STEP
    n_coarse = min(config.coarse_iterations, config.iterations - 1) if is_fine else 0
    cells = Cells(maps, grid, ssn, is_kept=config.iterations - n_coarse > 1)
    valid = np.zeros((0, 0), np.bool_) if maps.valid is None else maps.valid
    labels, seeds = np.empty(maps.shape, np.int32), np.empty((grid.n_cells, 2), np.int64)
    limits = np.float32(config.core_boundary), np.float32(config.core_weight)

    def mark(strip: Strip, weights: np.ndarray) -> None:
        rows, boundary = slice(*strip), maps.boundary_rows(*cells.span(strip))
        _kernels.mark_cores(
            weights, cells.ys[rows], cells.is_y[rows], cells.xs, cells.is_x, strip[0], *boundary, valid, limits, labels
        )

    centers = assign(Cells(maps, grid, ssn, 2), n_coarse, config.tolerance, lambda *_: None) if n_coarse else None
    centers = assign(cells, config.iterations - n_coarse, config.tolerance, mark, centers)
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


_ROWS = 64  # rows processed at once; their differences stay in the cache
_MOST_PIECES = 8  # pieces of these rows in the first sweep


class SmoothConfig(BaseModel, frozen=True, extra="forbid"):
    """Weights of the energy; a neighbour in another superpixel costs 1 where the boundary probability is 0."""

    sweeps: NonNegativeInt = 10  # maximum number of sweeps; 0 disables smoothing
    color: NonNegativeFloat = 0.0024  # cost of a squared colour distance of 1 to the superpixel's mean
    embedding: NonNegativeFloat = 0.025  # cost of a squared embedding distance of 1 to the superpixel's mean
    boundary_power: NonNegativeFloat = 1.5  # exponent: neighbours cost (1 - boundary probability) to this power
    diagonal: NonNegativeFloat = 0.5  # cost of a diagonal neighbour relative to a side neighbour


def smooth(
    labels: Int32[np.ndarray, "height width"],
    maps: PixelMaps,
    color: Float32[np.ndarray, "superpixels bands"],
    embedding: Float32[np.ndarray, "superpixels channels"],
    config: SmoothConfig,
    *,
    in_place: bool = False,
) -> Int32[np.ndarray, "height width"]:
    """Return smoothed labels; every 4-connected superpixel is kept and stays 4-connected.

    Invalid pixels keep -1. If `in_place`, `labels` is overwritten.
    """
    if labels.shape != maps.shape:
        raise InputError(f"labels {labels.shape} and maps {maps.shape} differ in size: give maps of one image.")
    low, high = labels.min(), labels.max()
    if low < (0 if maps.valid is None else -1) or high >= len(color):
        raise InputError(
            f"labels {low}..{high} with means of {len(color)} superpixels: expected a colour and an embedding for "
            "every label 0..N-1."
        )
    smoothed = labels if in_place else labels.copy()
    is_due = _at_borders(labels)
    due, (height, width) = is_due.view(np.uint64), labels.shape
    weights = (config.color, config.embedding, config.diagonal, config.boundary_power)
    # scale 1 for colour, 0 for position, which is not compared
    scales = (np.float32(1), np.float32(0), maps.band_scale, maps.embedding_stride)
    looked_up, tables = maps.looked_up(), lab_tables()

    def sweep(rows: tuple[int, int], columns: tuple[int, int] = (0, width + _ROWS)) -> bool:
        if not due[slice(*rows)].any():
            return False
        if rows not in kept:  # converted once for all pieces of the rows
            kept[rows] = maps.boundary_rows(max(rows[0] - 1, 0), min(rows[1] + 1, height))
        boundary, first = kept[rows] if columns[1] < width else kept.pop(rows)
        n_moved: int = _pixels.smooth_rows(
            smoothed, is_due, due, rows, columns, boundary, first, looked_up, scales, tables, color, embedding, weights
        )
        return n_moved > 0

    kept: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
    parts = [(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS)]
    n_pieces = min(max(width // (_ROWS + 2), 1), _MOST_PIECES)
    ends = [*np.linspace(0, width, n_pieces + 1, dtype=int)[:-1].tolist(), width + _ROWS]
    in_waves(sweep, parts, config.sweeps, None, n_pieces, lambda rows, k: sweep(rows, (ends[k], ends[k + 1])))
    return smoothed


def _at_borders(labels: Int32[np.ndarray, "height width"]) -> Bool[np.ndarray, "height columns"]:
    """Return a mask of pixels that share a side with another label; rows are padded with False to words of 8 pixels."""
    height, width = labels.shape
    is_at = np.zeros((height, -(-width // 8) * 8), np.bool_)
    for top in range(0, height, _ROWS):  # few rows at a time, so that differences stay in the cache
        bottom = min(top + _ROWS, height)
        across = labels[top:bottom, 1:] != labels[top:bottom, :-1]
        is_at[top:bottom, 1:width] |= across
        is_at[top:bottom, : width - 1] |= across
        down = labels[top + 1 : bottom + 1] != labels[top : bottom + 1][:-1]
        is_at[top + 1 : bottom + 1, :width] |= down
        is_at[top : bottom + 1, :width][:-1] |= down
    return is_at


def shift_between(
    values: Float32[np.ndarray, "height width channels"], before: Float32[np.ndarray, "height width channels"]
) -> Int[np.ndarray, "2"]:
    """Return the offset (y, x) from a frame to the one before, in whole pixels; 0 unless it makes both more similar."""
    now, past = values.mean(axis=2), before.mean(axis=2)
    height, width = now.shape
    spectrum = np.fft.rfft2(past) * np.fft.rfft2(now).conj()  # phase correlation
    match = np.fft.irfft2(spectrum / np.maximum(np.abs(spectrum), 1e-12), now.shape)
    y, x = np.unravel_index(int(match.argmax()), now.shape)
    y, x = int(y) - height * (2 * y > height), int(x) - width * (2 * x > width)
    here = np.s_[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    there = np.s_[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)]
    is_better = np.abs(now[here] - past[there]).mean() < np.abs(now - past).mean()
    return np.array([y, x] if is_better else [0, 0])


def moved_labels(
    before: Int32[np.ndarray, "height width"], valid: Bool[np.ndarray, "height width"], offset: np.ndarray
) -> Int32[np.ndarray, "height width"]:
    """Return the labels of the frame before at the places of this frame; -1 outside of them or of the mask.

    offset  from each pixel to its place in the frame before: (2,) for all pixels or (H, W, 2)
    """
    places = np.rint(np.moveaxis(np.indices(valid.shape), 0, -1) + offset).astype(int)
    is_inside = valid & (places >= 0).all(axis=2) & (places < valid.shape).all(axis=2)
    y, x = np.moveaxis(np.where(is_inside[..., None], places, 0), -1, 0)
    return np.where(is_inside, before[y, x], np.int32(-1))


def adapted(
    labels: Int32[np.ndarray, "height width"],
    values: Float32[np.ndarray, "height width channels"],
    valid: Bool[np.ndarray, "height width"],
    scale: float,
    iterations: int,
) -> Int32[np.ndarray, "height width"]:
    """Return labels of all valid pixels: the nearest ones, then k-means whose pixels join adjacent superpixels.

    scale  difference of values that equals a distance of one pixel
    """
    from scipy.ndimage import distance_transform_edt  # changes the filters of warnings

    if not (labels >= 0).any():
        return valid.astype(np.int32) - 1
    nearest = distance_transform_edt(labels < 0, return_distances=False, return_indices=True)
    labels = np.where(valid, labels[tuple(nearest)], np.int32(-1))
    places = np.moveaxis(np.indices(valid.shape), 0, -1) * scale
    features = np.concatenate([values, places], axis=2)[valid]
    for _ in range(iterations):
        own = labels[valid]
        ids, column = np.unique(own, return_inverse=True)
        sums = np.stack([np.bincount(column, channel) for channel in features.T], axis=1)
        centers = np.zeros((ids[-1] + 1, features.shape[1]))
        centers[ids] = sums / np.bincount(column)[:, None]
        least, best, padded = ((features - centers[own]) ** 2).sum(axis=1), own.copy(), np.pad(labels, 1, "edge")
        for side in (np.s_[:-2, 1:-1], np.s_[2:, 1:-1], np.s_[1:-1, :-2], np.s_[1:-1, 2:]):
            other = padded[side][valid]
            at = np.flatnonzero((other >= 0) & (other != own))
            distance = ((features[at] - centers[other[at]]) ** 2).sum(axis=1)
            is_closer = distance < least[at]
            best[at[is_closer]], least[at[is_closer]] = other[at[is_closer]], distance[is_closer]
        labels[valid] = best
    return labels
