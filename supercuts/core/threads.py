"""Run compiled loops in several threads."""

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

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
    others = _waiting_threads().start(run, n - 1)
    try:
        run(0)
    finally:
        # one that did not begin has nothing left to do: others of the process had all threads
        begun = [other for other in others if not other.cancel()]
        wait(begun)
    for other in begun:
        other.result()


class _WaitingThreads:
    """Threads of one process that wait for work, since starting them takes longer than many parts.

    There are as many as the largest number that a call has asked for.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.n_threads = 0
        self.pool: ThreadPoolExecutor | None = None
        self.lock = threading.Lock()

    def start(self, run: Callable[[int], None], n: int) -> "list[Future[None]]":
        """Call run(1), ... run(n), each in a thread of its own."""
        with self.lock:
            if self.pool is None or self.n_threads < n:
                if self.pool is not None:
                    self.pool.shutdown(wait=False)  # other callers' parts are still worked on
                self.pool, self.n_threads = ThreadPoolExecutor(n, thread_name_prefix="supercuts"), n
            return [self.pool.submit(run, thread) for thread in range(1, n + 1)]

    def close(self) -> None:
        with self.lock:
            pool, self.pool = self.pool, None
        if pool is not None:
            pool.shutdown()


_threads = _WaitingThreads()


def _waiting_threads() -> _WaitingThreads:
    global _threads
    if _threads.process != os.getpid():  # a fork has none of them, and the lock may be held for ever
        _threads = _WaitingThreads()
    return _threads


def close_threads() -> None:
    """End the threads that wait for work; a later call of in_threads starts new ones. Not to be called from a part."""
    _waiting_threads().close()


def in_waves(work: Callable[[Part], bool], parts: Sequence[Part], n_rounds: int, n_threads: int | None = None) -> None:
    """Call work(part) for the parts in order, n_rounds times; a round in which no call returned true is the last.

    In threads a round follows the one before two parts behind, to the same result: a call may see and change what
    belongs to its part, and of the parts beside it what is nearest, but nothing beyond.
    """
    # with fewer than three parts for each, threads wait longer for one another than they work
    n_threads = min(thread_count() if n_threads is None else n_threads, len(parts) // 3)
    if n_threads <= 1:
        for _ in range(n_rounds):
            changed = [work(part) for part in parts]
            if not any(changed):
                break
        return
    n_done = [len(parts), *[0] * n_rounds]  # parts, of each round; what comes before the first is done
    is_changed = [True, *[False] * n_rounds]
    moved_on, is_broken = threading.Condition(), threading.Event()

    def go_on(number: int, n: int) -> None:
        with moved_on:
            n_done[number] = n
            moved_on.notify_all()

    def wait(number: int, least: int) -> None:
        with moved_on:
            moved_on.wait_for(lambda: n_done[number] >= least)

    def run(_: int, number: int) -> None:
        try:
            for i, part in enumerate(parts):
                wait(number - 1, min(i + 2, len(parts)))
                if is_broken.is_set() or (n_done[number - 1] == len(parts) and not is_changed[number - 1]):
                    break
                is_changed[number] |= work(part)
                go_on(number, i + 1)
        except BaseException:
            is_broken.set()
            raise
        finally:
            go_on(number, len(parts))

    in_threads(run, range(1, n_rounds + 1), n_threads)


KEPT_BYTES = 256 * 2**20  # at most so much stays with the process once it is freed
_LARGEST_ON_HEAP = 32 * 2**20  # larger arrays are mapped and go back at once; the largest value glibc accepts
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
# what people set who know better
_SETTINGS = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)


def keep_freed_memory() -> bool:
    """Let up to KEPT_BYTES of freed memory stay with the process; return whether that was done.

    Nothing is done where the C library is not glibc, or where the environment already says how it should allocate.
    """
    glibc = _glibc()
    if glibc is None or any(name in os.environ for name in _SETTINGS):
        return False
    # both: setting either one stops glibc from adapting the other
    return bool(glibc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP)) and bool(
        glibc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    )


def give_freed_memory_back() -> None:
    """Let what is free go back to the system, before work that needs all there is."""
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


def _glibc() -> Any:
    """Return the C library if it is glibc, else None."""
    try:
        is_glibc = sys.platform.startswith("linux") and (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
        return ctypes.CDLL(None) if is_glibc else None
    except (ValueError, OSError):  # another C library
        return None


@functools.cache
def prepare_for_forks() -> None:
    """Let torch work with one thread in every child that this process forks from now on.

    A forked child has none of the threads that its parent's OpenMP believes to have, and would wait for them for ever.
    With one thread it waits for nobody. `multiprocessing` forks by default on Linux up to Python 3.13, and so do
    servers that load an application before they fork, such as gunicorn with --preload and celery.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
