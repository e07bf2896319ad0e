"""Compiled loops, imported when one of them is used: numba takes longer to import than to cut a hierarchy takes."""

import importlib
from typing import Any

FROZEN, FREE, FORCED = 0, 1, 2  # ranks of nodes under edits


def __getattr__(name: str) -> Any:
    if name not in ("queries", "tree"):
        raise AttributeError(f"{__name__} has no {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
