"""Measure what wheels cost to install: size of the files, size on disk and time of pip, without the download.

In   groups of wheel files, each a folder or a file
Out  bytes of the files, bytes that `pip install --no-deps` adds to a new environment, its wall and processor seconds
Not  the time of the download, which is that of the network

    python benchmarks/install_size.py --group "with CUDA" cuda/*.whl --group "CPU wheel" torch-*cpu*.whl
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from common import markdown_facts, markdown_table, positive_int, run_facts, write_json


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", action="append", nargs="+", required=True, metavar=("NAME", "WHEEL"))
    parser.add_argument("--runs", type=positive_int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    results = {
        name: min((measure([Path(path) for path in paths]) for _ in range(arguments.runs)), key=lambda one: one["wall"])
        for name, *paths in arguments.group
    }
    facts = {**run_facts(), "runs": f"{arguments.runs}, the fastest is given"}
    rows = [
        (
            name,
            *(f"{result[key] / 1e6:,.0f}" for key in ("files", "installed")),
            *(f"{result[key]:.0f}" for key in ("wall", "processor")),
            str(result["packages"]),
        )
        for name, result in results.items()
    ]
    columns = ("wheels", "files, MB", "installed, MB", "pip, s", "of them work, s", "packages")
    print(f"{markdown_facts(facts)}\n\n{markdown_table(columns, rows)}")
    if arguments.json:
        write_json(arguments.json, {"facts": facts, "results": results})


def measure(wheels: list[Path]) -> dict[str, float]:
    """Return megabytes and seconds of installing wheel files into an environment of their own."""
    missing = [str(path) for path in wheels if not path.is_file()]
    if missing or not wheels:
        raise SystemExit(f"no such wheel: {', '.join(missing) or 'none given'}. Get it with pip download.")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "Scripts" if sys.platform == "win32" else "bin", "python")
        empty, before, start = disk_use(Path(folder)), resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-cache-dir", *wheels]
        subprocess.run(command, check=True)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "files": sum(path.stat().st_size for path in wheels),
            "installed": disk_use(Path(folder)) - empty,
            "wall": seconds,
            "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "packages": len(wheels),
        }


def disk_use(folder: Path) -> int:
    """Return the bytes that the files of a folder take on disk, as du does."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


if __name__ == "__main__":
    main()
