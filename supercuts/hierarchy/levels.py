"""Named granularities: which altitude is scene, object and part.

In   levels {name: altitude}
Out  one altitude
Not  no calibration (training/levels.py), no tree, no I/O
"""

from collections.abc import Mapping

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
