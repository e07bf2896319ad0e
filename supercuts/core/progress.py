"""How long work tells what it has done.

In   nothing
Out  Progress, a type
Not  no bars: cli/common.py draws them
"""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # called with the steps done, and all
