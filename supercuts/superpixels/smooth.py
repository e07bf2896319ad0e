"""Smooth the borders of superpixels where no boundary holds them.

In   labels (H, W) of connected superpixels, PixelMaps, the superpixels' mean colours and embeddings
Out  labels of as many connected superpixels, with shorter borders
Not  no new superpixels, no counts; nothing is random

Growth along cheapest paths leaves ragged borders where the image is flat. Here each border pixel weighs how well it
fits the colour and embedding of the superpixels it touches against the length of the border: iterated conditional modes
(Besag, 1986) on a Potts energy, with moves that keep every superpixel connected.
"""

import numpy as np
from jaxtyping import Float32, Int32
from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt

from supercuts.core.arrays import channels_last
from supercuts.core.errors import InputError
from supercuts.core.threads import in_waves
from supercuts.superpixels import _kernels_smooth
from supercuts.superpixels.result import PixelMaps

_ROWS = 64  # of a part that a sweep goes through


class SmoothConfig(BaseModel, frozen=True, extra="forbid"):
    """What a border pixel weighs; a neighbour of another superpixel costs 1 where the boundary probability is 0."""

    sweeps: NonNegativeInt = 10  # at most; 0 leaves superpixels as they are
    color: NonNegativeFloat = 0.0012  # cost of a squared colour distance of 1 to the superpixel's mean
    embedding: NonNegativeFloat = 0.04  # cost of a squared embedding distance of 1 to the superpixel's mean
    boundary_power: NonNegativeFloat = 1.0  # neighbours cost (1 - boundary probability) to this power
    diagonal: NonNegativeFloat = 0.7  # cost of a diagonal neighbour, of that of a side neighbour


def smooth(
    labels: Int32[np.ndarray, "height width"],
    maps: PixelMaps,
    color: Float32[np.ndarray, "superpixels bands"],
    embedding: Float32[np.ndarray, "superpixels channels"],
    config: SmoothConfig,
) -> Int32[np.ndarray, "height width"]:
    """Return the labels after smoothing; every superpixel of 4-connected pixels stays, and stays 4-connected."""
    if labels.shape != maps.shape:
        raise InputError(f"labels {labels.shape} and maps {maps.shape} differ in size: give maps of one image.")
    if labels.min() < 0 or labels.max() >= len(color):
        raise InputError(
            f"labels {labels.min()}..{labels.max()} with means of {len(color)} superpixels: expected a colour and an "
            "embedding for every label 0..N-1."
        )
    smoothed, is_due = labels.copy(), np.ones(labels.shape, np.bool_)
    pull = (1 - maps.boundary) ** np.float32(config.boundary_power)
    embeddings, weights = channels_last(maps.embeddings), (config.color, config.embedding, config.diagonal)

    def sweep(rows: tuple[int, int]) -> bool:
        n_moved: int = _kernels_smooth.smooth_rows(
            smoothed, is_due, rows, pull, maps.color, embeddings, color, embedding, weights
        )
        return n_moved > 0

    in_waves(sweep, waves(len(labels)), config.sweeps)
    return smoothed


def waves(height: int) -> list[tuple[int, int]]:
    """Return the first row and the one after the last of the parts that sweeps go through."""
    return [(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS)]
