"""Several threads for compiled loops that leave the interpreter to others.

In   a function, the parts it is called with
Out  all parts worked on
Not  no processes; the results do not depend on the number of threads: no part may touch what another one writes
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")


def thread_count() -> int:
    """Return how many threads to use: OMP_NUM_THREADS, which torch obeys as well, else one for each core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int, Part], None], parts: Sequence[Part], n_threads: int | None = None) -> None:
    """Call work(number of the thread, part) for each part, in thread_count() threads unless given.

    An error of one part is raised once the others have ended.
    """
    n, left = min(thread_count() if n_threads is None else n_threads, len(parts)), iter(parts)

    def run(thread: int) -> None:
        for part in left:  # which all threads share: whoever is done takes the next one
            work(thread, part)

    if n <= 1:
        for part in parts:
            work(0, part)
        return
    # made anew: threads that wait for work would not survive a fork
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(run, range(n)))
