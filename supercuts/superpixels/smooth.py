"""Smooth the borders of superpixels where no image boundary supports them.

In   labels (H, W) of connected superpixels, PixelMaps, the superpixels' mean colours and embeddings
Out  labels of the same number of connected superpixels, with shorter borders
Not  new superpixels, changes of their number, randomness

Growth along cheapest paths leaves ragged borders where the image is flat. Smoothing balances, for each border pixel,
the fit to colour and embedding of the adjacent superpixels against the length of the border: iterated conditional modes
(Besag, 1986) on a Potts energy, with moves that keep every superpixel connected.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int32
from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt

from supercuts.core.errors import InputError
from supercuts.core.threads import in_waves
from supercuts.images.convert import lab_tables
from supercuts.networks.maps import PixelMaps
from supercuts.superpixels._kernels import pixels as _kernels

_ROWS = 64  # rows processed at once; their differences stay in the cache


class SmoothConfig(BaseModel, frozen=True, extra="forbid"):
    """Weights of the energy; a neighbour in another superpixel costs 1 where the boundary probability is 0."""

    sweeps: NonNegativeInt = 10  # maximum number of sweeps; 0 disables smoothing
    color: NonNegativeFloat = 0.0012  # cost of a squared colour distance of 1 to the superpixel's mean
    embedding: NonNegativeFloat = 0.02  # cost of a squared embedding distance of 1 to the superpixel's mean
    boundary_power: NonNegativeFloat = 1.0  # exponent: neighbours cost (1 - boundary probability) to this power
    diagonal: NonNegativeFloat = 0.7  # cost of a diagonal neighbour relative to a side neighbour


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
    due, height = is_due.view(np.uint64), len(labels)
    weights = (config.color, config.embedding, config.diagonal, config.boundary_power)
    # scale 1 for colour, 0 for position, which is not compared
    scales = (np.float32(1), np.float32(0), maps.band_scale, maps.embedding_stride)
    looked_up, tables = maps.looked_up(), lab_tables()

    def sweep(rows: tuple[int, int]) -> bool:
        if not due[slice(*rows)].any():
            return False
        boundary, first = maps.boundary_rows(max(rows[0] - 1, 0), min(rows[1] + 1, height))
        n_moved: int = _kernels.smooth_rows(
            smoothed, is_due, due, rows, boundary, first, looked_up, scales, tables, color, embedding, weights
        )
        return n_moved > 0

    parts = [(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS)]
    in_waves(sweep, parts, config.sweeps)
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
