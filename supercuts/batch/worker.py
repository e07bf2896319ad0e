"""A worker process of a batch: `python -m supercuts.batch.worker`.

In   lines on stdin: how to make the work ({"factory": "module:name", "arguments": {...}}), then one Task each
Out  lines on stdout: "ready", then a Result for each task; what others print goes to stderr
Not  no retries; it ends with its stdin, so that none outlives a killed parent
"""

import faulthandler
import importlib
import io
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from supercuts.batch.task import Result, Task

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


def _read(lines: "queue.Queue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    # the parent has closed the pipe or is gone; whatever the main thread does is of no use to anyone
    os._exit(0)


def main() -> None:
    """Serve the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints must not garble the answers
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # os._exit drops what waits to be written
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    try:
        serve(lines, answers)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the interpreter's own end would wait for the thread that reads


if __name__ == "__main__":
    main()
