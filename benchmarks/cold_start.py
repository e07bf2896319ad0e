"""Time the command line and Python from a cold start: a process each, files already in the system's cache.

In   a photograph
Out  seconds and processor seconds of each command, smallest and median; modules that it imports
Not  the compilation of kernels, which an installation does once

    python benchmarks/cold_start.py --runs 10
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, markdown_facts, markdown_table, positive_int, run_facts, write_json

_COUNT = "import atexit, sys; atexit.register(lambda: print(len(sys.modules), file=sys.stderr)); "
_COMMAND = "from supercuts.cli.main import app; app()"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "photo.jpg")
    parser.add_argument("--runs", type=positive_int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    load = " ".join(f"{part:.1f}" for part in os.getloadavg())
    with tempfile.TemporaryDirectory() as folder:
        stored = f"{folder}/out/{arguments.image.stem}.npz"
        commands = {
            'python -c "import supercuts; supercuts.load()"': (_COUNT + "import supercuts; supercuts.load()",),
            "supercuts --version": (_COUNT + _COMMAND, "--version"),
            "supercuts segment": (_COUNT + _COMMAND, "segment", str(arguments.image), "-o", f"{folder}/out"),
            "supercuts cut": (_COUNT + _COMMAND, "cut", stored, "--regions", "12", "-o", f"{folder}/cut.png"),
            "supercuts export --format labels": (
                _COUNT + _COMMAND, "export", stored, "--format", "labels", "-o", f"{folder}/labels.png"
            ),
            "supercuts view": (_COUNT + _COMMAND, "view", stored, "-o", f"{folder}/view.html", "--no-open"),
        }  # fmt: skip
        results = {name: measure(command, arguments.runs) for name, command in commands.items()}
    facts = {**run_facts(), "load before": load, "runs": f"{arguments.runs}, after one not counted"}
    rows = [
        (name, *(f"{result[key]:.2f}" for key in ("smallest", "median", "processor")), str(result["modules"]))
        for name, result in results.items()
    ]
    columns = ("command", "smallest, s", "median, s", "processor, s", "modules")
    print(f"{markdown_facts(facts)}\n\n{markdown_table(columns, rows)}")
    if arguments.json:
        write_json(arguments.json, {"facts": facts, "results": results})


def measure(command: tuple[str, ...], n_runs: int) -> dict[str, float]:
    """Return seconds of a Python command, and the number of modules at its end."""
    seconds, of_processor = [], []
    for _ in range(n_runs + 1):
        for path in (command[-1], command[-2] if "--no-open" in command else ""):  # an output of the last run
            if path.endswith((".png", ".html")):
                Path(path).unlink(missing_ok=True)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run([sys.executable, "-c", *command], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        of_processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command[1:])} failed: {done.stderr}")
    return {
        "smallest": min(seconds[1:]), "median": statistics.median(seconds[1:]), "processor": min(of_processor[1:]),
        "modules": int(done.stderr.splitlines()[-1]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
