"""Argument checks that raise on entry, before any work."""

import importlib.util
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from supercuts.core.errors import InputError, MissingDependencyError


def check_in_range(name: str, value: Any, low: float, high: float, *, remedy: str) -> None:
    """Raise InputError unless a number is in the closed range low..high; NaN is outside every range."""
    try:
        is_inside = bool(low <= value <= high)
    except (TypeError, ValueError):  # text, None, an array
        raise InputError(f"{name}={shown(value)} is not a number. {remedy}") from None
    if not is_inside:
        raise InputError(f"{name}={value} is outside {low}..{high}. {remedy}")


def check_whole(name: str, value: object, *, remedy: str) -> None:
    """Raise InputError unless `value` is an integer. Floats, even 2.0, are rejected, so that 2.7 is never truncated."""
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{name}={value!r} is not a whole number. {remedy}") from None


def shown(value: object) -> str:
    """Return a value for a message: one line, at most 80 characters."""
    return " ".join(repr(value).split())[:80]


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise InputError unless `value` is one of the choices."""
    choices = list(choices)
    if value not in choices:
        raise InputError(f"{name}={value!r} is unknown. Choose one of: {', '.join(map(str, choices))}.")


def check_exactly_one(subject: str, given: Mapping[str, object]) -> str:
    """Return the name of the only keyword that is not None; raise InputError if there are none or several."""
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        got = ", ".join(f"{name}={given[name]!r}" for name in named) or "nothing"
        raise InputError(f"{subject} takes exactly one of {', '.join(given)}; got {got}.")
    return named[0]


def check_installed(packages: Iterable[str], extra: str) -> None:
    """Raise MissingDependencyError if an optional package is not installed."""
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise MissingDependencyError(
            f'{", ".join(missing)} not installed, needed for this: pip install "supercuts[{extra}]"'
        )
