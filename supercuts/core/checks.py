"""Argument checks that raise on entry, before any work."""

import importlib.util
import operator
from collections.abc import Iterable, Mapping

from supercuts.core.errors import InputError, MissingDependencyError


def check_in_range(name: str, value: float, low: float, high: float, *, remedy: str) -> None:
    """Refuse a number outside the closed range low..high (NaN is outside every range)."""
    if not low <= value <= high:
        raise InputError(f"{name}={value} is outside {low}..{high}. {remedy}")


def check_whole(name: str, value: object, *, remedy: str) -> None:
    """Refuse what is no integer of Python or numpy; 2.0 is none either, lest 2.7 be cut to 2 elsewhere."""
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{name}={value!r} is not a whole number. {remedy}") from None


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a value that is not one of the choices."""
    choices = list(choices)
    if value not in choices:
        raise InputError(f"{name}={value!r} is unknown. Choose one of: {', '.join(map(str, choices))}.")


def check_exactly_one(what: str, given: Mapping[str, object]) -> str:
    """Return the name of the one keyword that is not None; refuse none or several."""
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        got = ", ".join(f"{name}={given[name]!r}" for name in named) or "nothing"
        raise InputError(f"{what} takes exactly one of {', '.join(given)}; got {got}.")
    return named[0]


def check_installed(packages: Iterable[str], extra: str) -> None:
    """Refuse to start when an optional package is not installed."""
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise MissingDependencyError(
            f'{", ".join(missing)} not installed, needed for this: pip install "supercuts[{extra}]"'
        )
