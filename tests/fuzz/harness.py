"""Give inputs to workers, end those that hang, and count the outcomes.

In   Cases
Out  one Verdict each: read, refused by a documented error, or broken: another error, a crash, a hang
Not  reading in this process
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus import Case
from forgeries import MARKER

SECONDS = 20.0  # seconds that one input may take on a busy machine
MIB = 1024  # memory that readers of inputs of some kilobytes may allocate in all
_START_SECONDS = 240.0
_HERE = Path(__file__).parent
WORKER = _HERE / "worker.py"


@dataclass(frozen=True)
class Verdict:
    case: Case
    outcome: str
    error: str
    seconds: float
    mib: int
    trace: str = ""


class Worker:
    """A process that reads inputs; a new one takes its place when it dies."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONSAFEPATH": ""}  # the worker imports readers.py from its folder
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), str(MIB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=folder,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        if self._answer(_START_SECONDS) != "ready":
            raise RuntimeError("the worker did not start: run `python tests/fuzz/worker.py 1024` to see why")

    def ask(self, kind: str, path: Path) -> dict[str, object] | str:
        """Return the answer, or how the worker ended without one."""
        self.process.stdin.write(json.dumps([kind, str(path)]) + "\n")
        self.process.stdin.flush()
        answer = self._answer(SECONDS)
        if answer is None:
            self.close()
            return f"no answer within {SECONDS:.0f} s"
        if isinstance(answer, dict):
            return answer
        status = self.process.wait()
        self.close()
        return _how_it_ended(status)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.listener.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put('"ended"')

    def _answer(self, seconds: float) -> object:
        try:
            return json.loads(self.lines.get(timeout=seconds))
        except queue.Empty:
            return None


def judge(cases: Iterable[Case]) -> list[Verdict]:
    """Return the verdicts in the order of the cases."""
    verdicts: list[Verdict] = []
    worker: Worker | None = None
    try:
        with tempfile.TemporaryDirectory() as root:
            for number, case in enumerate(cases):
                worker = worker or Worker(Path(root))
                # the folder's name is not ASCII: every reader gets such a path
                answer = worker.ask(case.kind, _put(case, Path(root, f"{number}-ünï 日本")))
                if isinstance(answer, str):
                    verdicts.append(Verdict(case, "broken", answer, SECONDS, 0))
                    worker = None
                elif Path(root, MARKER).exists():
                    Path(root, MARKER).unlink()
                    verdicts.append(
                        Verdict(case, "broken", "code in the file was run", answer["seconds"], answer["mib"])
                    )
                else:
                    verdicts.append(Verdict(case, **answer))
    finally:
        if worker is not None:
            worker.close()
    return verdicts


def table(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """Return one row of counts a kind, and one of all."""
    by_kind: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_kind[verdict.case.kind].append(verdict)
    return [_row(kind, of) for kind, of in by_kind.items()] + [_row("all", verdicts)]


def _row(kind: str, verdicts: Sequence[Verdict]) -> dict[str, object]:
    counts = {
        outcome: sum(verdict.outcome == outcome for verdict in verdicts) for outcome in ("read", "refused", "broken")
    }
    slowest, largest = max(v.seconds for v in verdicts), max(v.mib for v in verdicts)
    return {"kind": kind, "inputs": len(verdicts), **counts, "slowest_s": slowest, "largest_growth_mib": largest}


def _put(case: Case, folder: Path) -> Path:
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / case.target


def _how_it_ended(status: int) -> str:
    return f"crash: {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
