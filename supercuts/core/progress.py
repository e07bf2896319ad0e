"""Type of progress callbacks."""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # progress(done, total), in steps
