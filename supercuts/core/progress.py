"""Type of progress callbacks."""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # called with the steps done, and all
