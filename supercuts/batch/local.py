"""Run tasks in worker processes on this machine.

Workers are `python -m supercuts.batch.local`. Unlike multiprocessing's they import nothing of the program that starts
them, whose __main__ need not be guarded, and they hold no file of it: their stdin ends when it does, however it ends.
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
from supercuts.core.threads import keep_freed_memory

TRIES = 2  # of a task whose worker dies
DIED = "WorkerDied"
_STARTS = 3  # of workers in a row that die before they are ready
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def physical_cores() -> int:
    """Return how many cores this process may use, those of hyperthreading and of a container's limit left out."""
    from joblib import cpu_count

    return max(1, int(cpu_count(only_physical_cores=True)))


def run_local(
    tasks: Iterable[Task], factory: str, arguments: Mapping[str, Any], n_workers: int, threads: int | None = None
) -> Iterator[Result]:
    """Yield the result of each task, in the order in which they end; closing the iterator ends the workers.

    factory  "module:name", called with the arguments (JSON) once in each worker; it returns a function of a Task
    threads  of each worker; unless given the cores are shared out, one each if there are fewer
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
    """Replace a dead worker; put its task first in the queue, or yield that it failed."""
    pool.remove(worker)
    if not worker.is_ready:
        pool.failed_starts += 1
        if pool.failed_starts >= _STARTS:
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
    """A process, the thread that reads its answers, and the task it has, with the number of the try."""

    def __init__(self, order: str, environment: dict[str, str], events: "queue.Queue[tuple[_Worker, bytes | None]]"):
        self.task: tuple[Task, int] | None = None
        self.is_ready = False
        self.is_alive = True
        self.has_ended = False
        self.last_words = ""  # why it died, as far as can be told
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        # a session of its own: Ctrl-C reaches this process only, which ends the worker by closing its stdin
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
        """Let it do a task."""
        self.task = (task, tries)
        self._tell(task.to_line())

    def end(self) -> None:
        """End the process, whatever it does, unless it has ended."""
        self.is_alive = False
        if self.has_ended:  # it died by itself: wait for its exit code
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        with suppress(BrokenPipeError):  # what was not read yet
            self.process.stdin.close()
        with self._stderr:
            self._stderr.seek(0)
            self.last_words = self._explain(self._stderr.read().decode(errors="replace"))

    def _explain(self, stderr: str) -> str:
        code = self.process.returncode
        lines = [line for line in stderr.splitlines() if line.strip()]
        if code == -getattr(signal, "SIGKILL", 9):
            return "worker died, probably out of memory"
        said = f": {lines[-1]:.300}" if lines else ""
        return f"worker died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'}){said}"

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # it is dead, as the end of its answers will tell
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def _listen(self, events: "queue.Queue[tuple[_Worker, bytes | None]]") -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # else it died while it wrote
                events.put((self, line.strip()))
        self.has_ended = True
        events.put((self, None))


class _Pool:
    """The workers there are; all tell what happens to one queue."""

    def __init__(self, factory: str, arguments: Mapping[str, Any], threads: int) -> None:
        self.workers: list[_Worker] = []
        self.failed_starts = 0
        self._order = json.dumps({"factory": factory, "arguments": arguments})
        self._environment = worker_environment(threads)
        self._events: queue.Queue[tuple[_Worker, bytes | None]] = queue.Queue()

    def start(self) -> None:
        self.workers.append(_Worker(self._order, self._environment, self._events))

    def occupy(self, worker: _Worker, waiting: deque[tuple[Task, int]]) -> None:
        """Give it the next task; without one end it."""
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
                worker, line = self._events.get(timeout=0.5)  # where waiting without end cannot be interrupted
            except queue.Empty:
                continue
            if worker.is_alive:  # of one that was ended nothing more is wanted
                return worker, line

    def close(self) -> None:
        for worker in list(self.workers):
            self.remove(worker)


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker: this one's, so many threads for every library, and this package's place."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), package]
    return {
        **os.environ,
        **dict.fromkeys(_THREADS, str(threads)),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",  # -m would look in the current folder first, in which anything may lie
    }


READY = "ready"


def serve(lines: "queue.Queue[bytes]", answers: IO[str]) -> None:
    """Make the work of the first line and do the tasks of the others, for ever."""
    work = make_work(json.loads(lines.get()))
    print(READY, file=answers, flush=True)
    while True:
        print(work(Task.from_line(lines.get())).to_line(), file=answers, flush=True)


def make_work(order: dict[str, Any]) -> Callable[[Task], Result]:
    """Return what the factory "module:name" gives for the arguments."""
    module, _, name = order["factory"].partition(":")
    work: Callable[[Task], Result] = getattr(importlib.import_module(module), name)(**order["arguments"])
    return work


def _read_task(lines: "queue.Queue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    # the parent has closed the pipe or is gone; whatever the main thread does is of no use to anyone
    os._exit(0)


def serve_stdin() -> None:
    """Serve the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    faulthandler.enable()
    keep_freed_memory()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints must not garble the answers
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # os._exit drops what waits to be written
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read_task, args=(lines,), daemon=True).start()
    try:
        serve(lines, answers)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the interpreter's own end would wait for the thread that reads


if __name__ == "__main__":
    serve_stdin()
