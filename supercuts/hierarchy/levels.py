"""Named granularities: which altitude is scene, object and part.

In   levels {name: altitude}; scores (images, thresholds) measured elsewhere
Out  one altitude
Not  no metric, no tree, no I/O
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError

LEVELS = ("scene", "object", "part")  # coarsest first


def check_levels(levels: Mapping[str, float]) -> dict[str, float]:
    """Return the levels coarsest first, as plain floats; refuse unknown names and altitudes outside 0..1."""
    for name, altitude in levels.items():
        check_choice("level name", name, LEVELS)
        check_in_range(f"levels[{name!r}]", altitude, 0, 1, remedy="A level is an altitude of the tree: recalibrate.")
    return {name: float(levels[name]) for name in LEVELS if name in levels}


def altitude_of_level(levels: Mapping[str, float], level: str) -> float:
    """Return the altitude to cut at: the level's own, raised to that of every finer level so that levels nest.

    >>> altitude_of_level({"scene": 0.6, "object": 0.2, "part": 0.3}, "object")
    0.3
    """
    check_choice("level", level, LEVELS)
    if not levels:
        raise InputError(
            f"level={level!r} needs calibrated levels and this hierarchy has none: cut by regions=, granularity= or "
            "altitude=, or segment with a model that carries levels."
        )
    check_choice("level", level, [name for name in LEVELS if name in levels])
    return max(levels[name] for name in LEVELS[LEVELS.index(level) :] if name in levels)


def best_altitude(
    thresholds: Float[np.ndarray, " thresholds"], scores: Float[np.ndarray, "images thresholds"]
) -> float:
    """Return the threshold whose mean score over the images is highest; the lowest threshold among equals.

    >>> best_altitude(np.array([0.1, 0.5]), np.array([[0.2, 0.6], [0.9, 0.7]]))
    0.5
    """
    if scores.size == 0 or scores.shape[1] != thresholds.size:
        raise InputError(
            f"scores {scores.shape} do not fit {thresholds.size} thresholds: give one row per image (at least "
            "one) and one column per threshold."
        )
    if not np.isfinite(scores).all():
        image, column = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(
            f"scores[{image}, {column}] is {scores[image, column]}: leave out images that were not scored."
        )
    means = scores.mean(axis=0)
    return float(thresholds[means == means.max()].min())
