"""Run compiled loops in several threads, and report the progress of long work."""

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

Part = TypeVar("Part")
Progress = Callable[[int, int], None]  # progress(done, total), in steps


def thread_count() -> int:
    """Return the number of threads to use: OMP_NUM_THREADS (torch obeys it as well), else one per core."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    if setting.isdecimal() and int(setting) > 0:
        return int(setting)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int, Part], None], parts: Sequence[Part], n_threads: int | None = None) -> None:
    """Call work(thread number, part) for each part, in `n_threads` threads, by default thread_count().

    An exception of one part is raised after the other parts have ended.
    """
    n, left = min(thread_count() if n_threads is None else n_threads, len(parts)), iter(parts)

    def run(thread: int) -> None:
        for part in left:  # all threads share this iterator: a free thread takes the next part
            work(thread, part)

    if n <= 1:
        for part in parts:
            work(0, part)
        return
    futures = _waiting_threads().start(run, n - 1)
    try:
        run(0)
    finally:
        # a call that can still be cancelled waited for threads busy with other calls; no parts are left for it
        begun = [future for future in futures if not future.cancel()]
        wait(begun)
    for future in begun:
        future.result()


class _WaitingThreads:
    """Pool of waiting threads for one process, because starting threads takes longer than many parts.

    The pool has the largest number of threads that any call has requested.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.n_threads = 0
        self.pool: ThreadPoolExecutor | None = None
        self.lock = threading.Lock()

    def start(self, run: Callable[[int], None], n: int) -> "list[Future[None]]":
        """Call run(1), ... run(n), each in its own thread."""
        with self.lock:
            if self.pool is None or self.n_threads < n:
                if self.pool is not None:
                    self.pool.shutdown(wait=False)  # other callers' parts still finish
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
    if _threads.process != os.getpid():  # a forked process has no threads, and its lock may be held forever
        _threads = _WaitingThreads()
    return _threads


def close_threads() -> None:
    """End the waiting threads; later calls start new ones.

    Never call this from within a part of `in_threads`.

    Examples
    --------
    >>> close_threads()
    """
    _waiting_threads().close()


class _Done:
    """Numbers of finished calls for each part in each round; round 0 is a dummy that is complete."""

    def __init__(self, n_rounds: int, n_parts: int) -> None:
        self.counts = [[1] * n_parts, *[[0] * n_parts for _ in range(n_rounds)]]
        self.moved_on = threading.Condition()

    def set(self, number: int, part: int, count: int) -> None:
        """Set a number, and wake the threads that wait for it."""
        with self.moved_on:
            self.counts[number][part] = count
            self.moved_on.notify_all()

    def wait(self, number: int, part: int, least: int) -> None:
        """Wait until a number is at least `least`."""
        with self.moved_on:
            self.moved_on.wait_for(lambda: self.counts[number][part] >= least)


def in_waves(
    work: Callable[[Part], bool],
    parts: Sequence[Part],
    n_rounds: int,
    n_threads: int | None = None,
    n_pieces: int = 1,
    work_on_piece: Callable[[Part, int], bool] | None = None,
) -> None:
    """Call work(part) for the parts in order, n_rounds times; stop after a round in which no call returned true.

    Rounds are pipelined: round r may process part i once round r-1 has finished part i+1, so the result equals the
    sequential one. A call may therefore access only its own part and the adjacent edges of its two neighbours.

    If the first round takes most of the time, `work_on_piece` divides it further: it is called for the pieces 0 to
    n_pieces - 1 of each part instead of work(part), and piece k of a part once the part before has finished piece k+1.
    """
    # with fewer than three parts per thread, threads wait for each other longer than they work
    n_threads = min(thread_count() if n_threads is None else n_threads, len(parts) // 3)
    if n_threads <= 1:
        for _ in range(n_rounds):
            changed = [work(part) for part in parts]
            if not any(changed):
                break
        return
    last = len(parts) - 1
    n_calls = [1, n_pieces if work_on_piece else 1, *[1] * n_rounds]  # for a part, in each round
    done, is_broken = _Done(n_rounds, len(parts)), threading.Event()
    is_changed = [True, *[False] * n_rounds]

    def run(_: int, job: tuple[int, int]) -> None:
        number, i = job
        try:
            done.wait(number - 1, min(i + 1, last), n_calls[number - 1])
            is_needed = done.counts[number - 1][last] < n_calls[number - 1] or is_changed[number - 1]
            for piece in range(n_calls[number] if is_needed else 0):
                if i > 0:
                    done.wait(number, i - 1, min(piece + 2, n_calls[number]))
                if is_broken.is_set():
                    break
                if work_on_piece(parts[i], piece) if work_on_piece and number == 1 else work(parts[i]):
                    is_changed[number] = True
                done.set(number, i, piece + 1)
        except BaseException:
            is_broken.set()
            raise
        finally:
            done.set(number, i, n_calls[number])

    # by the time at which jobs can begin: a part is still in the cache when the next round comes to it
    waves = range(len(parts) + 2 * n_rounds)
    jobs = [(number, wave - 2 * number) for wave in waves for number in range(1, n_rounds + 1)]
    in_threads(run, [(number, i) for number, i in jobs if 0 <= i <= last], n_threads)


KEPT_BYTES = 256 * 2**20  # most freed memory that the process keeps
_LARGEST_ON_HEAP = 32 * 2**20  # larger arrays are mapped and returned at once; glibc accepts no more
_SPINS = "1000"  # rounds of a waiting OpenMP thread before it sleeps: about as fast as GNU's 300,000 on idle processors
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # constants of malloc.h
# environment variables by which users configure malloc themselves
_SETTINGS = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)


def keep_freed_memory() -> bool:
    """Let the process keep freed memory, up to 256 MB, which makes repeated segmentation faster.

    Does nothing if the C library is not glibc, or if the environment already configures allocation.

    Returns
    -------
    bool
        Whether the setting was applied.
    """
    glibc = _glibc()
    if glibc is None or any(name in os.environ for name in _SETTINGS):
        return False
    # both: setting either one stops glibc from adapting the other
    return bool(glibc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP)) and bool(
        glibc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    )


def wait_without_spinning() -> bool:
    """Let OpenMP's threads sleep soon while they wait for each other; call this before torch is imported.

    A waiting thread otherwise runs in circles for milliseconds. On a machine that is busy with other work it so uses up
    the processor's time that the thread it waits for needs, and a network takes seven times as long.

    Does nothing if the environment already configures waiting. Only GNU's OpenMP reads the setting, which torch uses on
    Linux.

    Returns
    -------
    bool
        Whether the setting was applied.
    """
    if any(name in os.environ for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")):
        return False
    os.environ["GOMP_SPINCOUNT"] = _SPINS
    return True


def give_freed_memory_back() -> None:
    """Return freed memory to the system, before work that needs all of it."""
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
    """Make torch use one thread in every child that this process forks from now on.

    A forked child lacks its parent's OpenMP threads, but OpenMP would wait for them forever. With one thread it waits
    for none. `multiprocessing` forks by default on Linux up to Python 3.13, and so do servers that load an application
    before they fork, such as gunicorn with --preload and celery.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
