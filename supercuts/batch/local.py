"""Run tasks in worker processes on this machine.

Workers are `python -m supercuts.batch.local`. Unlike those of multiprocessing, they import nothing from the program
that starts them, so its __main__ needs no guard, and they inherit none of its open files. Their stdin closes when the
program ends for any reason, and they exit.
"""

import faulthandler
import importlib
import io
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from supercuts.batch.sources import FAILED, Result, Task
from supercuts.core.errors import SuperCutsError
from supercuts.core.threads import keep_freed_memory, wait_without_spinning

TRIES = 2  # attempts at a task whose worker dies
DIED = "WorkerDied"
STARTS = 3  # consecutive workers that die before they are ready, after which the batch fails
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def physical_cores() -> int:
    """Return the number of physical cores available to this process, within the limit of a container."""
    from joblib import cpu_count

    return max(1, int(cpu_count(only_physical_cores=True)))


def run_local(
    tasks: Iterable[Task], factory: str, arguments: Mapping[str, Any], n_workers: int, threads: int | None = None
) -> Iterator[Result]:
    """Yield the result of each task, in order of completion; closing the iterator ends the workers.

    factory  "module:name", called with the arguments (JSON) once in each worker; returns a function from Task to Result
    threads  threads per worker; if None, the cores are divided among the workers, at least one each
    """
    threads = threads or max(1, physical_cores() // n_workers)
    pool = _Pool(factory, arguments, threads)
    waiting = deque((task, 1) for task in tasks)
    try:
        for _ in range(min(n_workers, len(waiting))):
            pool.start()
        while pool.workers:
            worker, line = pool.next_event()
            if line is None:
                yield from _bury(worker, pool, waiting)
            elif worker.is_ready:
                assert worker.task is not None
                worker.task = None
                yield Result.from_line(line)
            else:
                worker.is_ready, pool.failed_starts = True, 0
            if worker.is_alive and not worker.task:
                pool.occupy(worker, waiting)
    finally:
        pool.close()


def _bury(worker: "_Worker", pool: "_Pool", waiting: deque[tuple[Task, int]]) -> Iterator[Result]:
    """Replace a dead worker; put its task first in the queue, or yield a failure if its tries are used up."""
    pool.remove(worker)
    if not worker.is_ready:
        pool.failed_starts += 1
        if pool.failed_starts >= STARTS:
            raise SuperCutsError(
                f"no worker process can be started: {worker.last_words}. Try --workers 1, or segment one image alone."
            )
    if worker.task is not None:
        task, tries = worker.task
        if tries < TRIES:
            waiting.appendleft((task, tries + 1))
        else:
            yield Result(task.number, FAILED, error=DIED, message=f"{task.address}: {worker.last_words}")
    if waiting:
        pool.start()


class _Worker:
    """A worker process, the thread that reads its answers, and its current task with the number of the try."""

    def __init__(self, order: str, environment: dict[str, str], events: "queue.Queue[tuple[_Worker, bytes | None]]"):
        self.task: tuple[Task, int] | None = None
        self.is_ready = False
        self.is_alive = True
        self.has_ended = False
        self.last_words = ""  # the reason why it died, if known
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        # a separate session: Ctrl-C reaches only this process, which then ends the worker
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supercuts.batch.local"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            start_new_session=True,
        )
        self._tell(order)
        self._reader = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._reader.start()

    def give(self, task: Task, tries: int) -> None:
        """Send a task to the worker."""
        self.task = (task, tries)
        self._tell(task.to_line())

    def end(self) -> None:
        """Kill the process unless it has ended; record why it died."""
        self.is_alive = False
        if self.has_ended:  # died without being killed: wait for its exit code
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        with suppress(BrokenPipeError):  # closing flushes data that the dead worker did not read
            self.process.stdin.close()
        with self._stderr:
            self._stderr.seek(0)
            self.last_words = self._explain(self._stderr.read().decode(errors="replace"))

    def _explain(self, stderr: str) -> str:
        code = self.process.returncode
        lines = [line for line in stderr.splitlines() if line.strip()]
        if code == -getattr(signal, "SIGKILL", 9):
            return "worker died, probably out of memory"
        last_words = f": {lines[-1]:.300}" if lines else ""
        return f"worker died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'}){last_words}"

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # a dead worker: the end of its answers reports it
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def _listen(self, events: "queue.Queue[tuple[_Worker, bytes | None]]") -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # else it died while writing
                events.put((self, line.strip()))
        self.has_ended = True
        events.put((self, None))


class _Pool:
    """The running workers, which put their answers and their ends into one queue of events."""

    def __init__(self, factory: str, arguments: Mapping[str, Any], threads: int) -> None:
        self.workers: list[_Worker] = []
        self.failed_starts = 0
        self._order = json.dumps({"factory": factory, "arguments": arguments})
        self._environment = worker_environment(threads)
        self._events: queue.Queue[tuple[_Worker, bytes | None]] = queue.Queue()

    def start(self) -> None:
        self.workers.append(_Worker(self._order, self._environment, self._events))

    def occupy(self, worker: _Worker, waiting: deque[tuple[Task, int]]) -> None:
        """Give the worker the next task, or end it if there is none."""
        if waiting:
            worker.give(*waiting.popleft())
        else:
            self.remove(worker)

    def remove(self, worker: _Worker) -> None:
        worker.end()
        self.workers.remove(worker)

    def next_event(self) -> tuple[_Worker, bytes | None]:
        while True:
            try:
                worker, line = self._events.get(timeout=0.5)  # some systems cannot interrupt an endless wait
            except queue.Empty:
                continue
            if worker.is_alive:  # ignore events of workers that were ended
                return worker, line

    def close(self) -> None:
        for worker in list(self.workers):
            self.remove(worker)


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker: this process's, plus thread limits and the path of this package."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), package]
    return {
        **os.environ,
        **dict.fromkeys(_THREADS, str(threads)),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",  # else -m would import from the current folder first, which may contain anything
    }


READY = "ready"


def serve(lines: "queue.Queue[bytes]", answers: IO[str]) -> None:
    """Create the work function from the first line, then perform the tasks of the other lines, forever."""
    work = make_work(json.loads(lines.get()))
    print(READY, file=answers, flush=True)
    while True:
        print(work(Task.from_line(lines.get())).to_line(), file=answers, flush=True)


def make_work(order: dict[str, Any]) -> Callable[[Task], Result]:
    """Return the work function that the factory "module:name" creates from the arguments."""
    module, _, name = order["factory"].partition(":")
    work: Callable[[Task], Result] = getattr(importlib.import_module(module), name)(**order["arguments"])
    return work


def _read_task(lines: "queue.Queue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    # the parent has closed the pipe or has ended: nobody needs the main thread's result
    os._exit(0)


def serve_stdin() -> None:
    """Serve the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    faulthandler.enable()
    keep_freed_memory()
    wait_without_spinning()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keeps prints of libraries out of the answers
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # os._exit drops unflushed output
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read_task, args=(lines,), daemon=True).start()
    try:
        serve(lines, answers)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # a normal exit would wait for the reading thread


if __name__ == "__main__":
    serve_stdin()
