"""Scores as JSON and back, so that a run can go on where it stopped.

In   dataclasses of numbers, arrays and further dataclasses
Out  plain dicts and lists, and from them the same dataclasses; floats keep every bit
Not  no files
"""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

_Record = TypeVar("_Record")


def to_plain(value: object) -> Any:
    """Return dataclasses as dicts and arrays as lists with their dtype; numbers, text and None as they are."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "shape": value.shape, "values": value.ravel().tolist()}
    return value.item() if isinstance(value, np.generic) else value


def from_plain(kind: type[_Record], plain: Any) -> _Record:
    """Return a dataclass of that kind from what to_plain made of one.

    >>> from supercuts.metrics.region import RegionSummary
    >>> summary = RegionSummary(*(float(i) for i in range(10)))
    >>> from_plain(RegionSummary, to_plain(summary)) == summary
    True
    """
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], entry) for name, entry in plain.items()})


def _value(hint: Any, plain: Any) -> Any:
    if get_origin(hint) is UnionType:
        if plain is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    numbers: dict[Any, Any] = {float: (int, float), int: int, str: str, bool: bool}
    if hint in numbers and (not isinstance(plain, numbers[hint]) or (isinstance(plain, bool) and hint is not bool)):
        raise TypeError(f"{plain!r:.40} is no {hint.__name__}")
    if is_dataclass(hint):
        return from_plain(hint, plain) if isinstance(hint, type) else plain
    if isinstance(plain, dict):
        return np.array(plain["values"], plain["dtype"]).reshape(plain["shape"])
    return tuple(plain) if get_origin(hint) is tuple else plain
