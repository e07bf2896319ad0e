"""Shared by all benchmarks: the facts of a run, a Markdown table, a parallel map with a progress bar.

In   arguments and results of the scripts next to this file
Out  facts (date, commit, hardware, versions), text, results in the order of the items
Not  no measuring
"""

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import Progress, track

from supercuts.core.files import atomic_path, package_version
from supercuts.evaluate.parallel import Store, begin_worker
from supercuts.evaluate.scorers import Method, MethodResult, score_methods

HIERARCHY_COLUMNS = {
    "covering ODS": "covering_ods",
    "OIS": "covering_ois",
    "best": "covering_best",
    "PRI": "pri_ods",
    "VI": "vi_ods",
    "F ODS": "boundary_ods_f",
    "OIS ": "boundary_ois_f",
    "AP": "boundary_ap",
}
ROOT = Path(__file__).resolve().parents[1]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run_facts() -> dict[str, str]:
    """Return the facts to quote with a figure."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "CPU": f"{cpu_name()}, {os.cpu_count()} logical cores",
        "versions": f"supercuts {package_version()}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def commit() -> str:
    """Return the short commit of this checkout, with + when tracked files differ from it."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return f"{head}+" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose other columns are figures."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def markdown_facts(facts: dict[str, str]) -> str:
    """Return the facts as a list."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, atomically; a figure that is not a number (the margin of one image) becomes null."""
    standard = json.loads(json.dumps(content), parse_constant=lambda _: None)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(standard, indent=1) + "\n", encoding="utf-8")


def score(compared: Sequence[Method[Any]], n_workers: int, store: Store[Any] | None = None) -> list[MethodResult[Any]]:
    """Score all images behind a progress bar; an image that fails ends the run: figures are of whole splits."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("scoring", total=sum(len(method.tasks) for method in compared))
        results = score_methods(compared, n_workers, store, lambda _: bar.advance(task))
    if failures := {result.method: result.failures for result in results if result.failures}:
        raise SystemExit(f"images without a score: {failures}")
    return results


def positive_int(text: str) -> int:
    """Read an argument that counts something."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def parallel_map(
    function: Callable[[_Item], _Result], items: Sequence[_Item], n_workers: int, description: str
) -> list[_Result]:
    """Return function(item) of every item in their order, computed by processes of one torch thread each."""
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited: numpy's libraries read it when they are loaded
    # spawn: a fork of a process whose thread pools run may hang
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"), initializer=begin_worker) as pool:
        results = pool.map(function, items)
        return list(track(results, description, total=len(items), console=Console(stderr=True)))
