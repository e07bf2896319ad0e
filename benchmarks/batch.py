"""Throughput of a batch by number of worker processes, and a batch with every kind of fault.

In   a folder with BSDS500
Out  images per second of one process and of several; faults injected, images lost
Not  quality; the full disk needs root (it mounts a small tmpfs) and is left out otherwise

    python benchmarks/batch.py --images 100 --workers 1 2
    python benchmarks/batch.py --images 500 --faults

One process is measured with one thread and with all. Rates are of the time between the first result and the last, in
which all workers run; the whole time includes their start.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from common import markdown_facts, markdown_table, positive_int, run_facts

from supercuts.batch.local import physical_cores
from supercuts.batch.run import Engine, run_batch
from supercuts.batch.sources import Settings, Source
from supercuts.batch.workspace import FOLDER
from supercuts.datasets.sample import data_root

FAILED = 1


def measure(images: list[Path], workers: int, threads: int, settings: Settings) -> list[str]:
    """Return a row: workers, threads, seconds in all, images per second while all workers run."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory(prefix="supercuts-batch-") as folder:
        start = time.perf_counter()
        report = run_batch(
            [Source(str(path), path.stem) for path in images],
            Path(folder, "out"),
            settings,
            Engine(workers=workers, threads=threads),
            on_result=lambda *_: ends.append(time.perf_counter()),
        )
        seconds = time.perf_counter() - start
    if report.failures or report.stopped:
        raise SystemExit(f"{report.stopped} {report.failures}")
    rate = (len(ends) - 1) / (ends[-1] - ends[0])
    return [str(workers), str(threads), f"{seconds:.1f}", f"{len(ends) / seconds:.2f}", f"{rate:.2f}"]


def suffer(images: list[Path], workers: int, superpixels: int, seed: int = 0) -> list[list[str]]:
    """Run a batch through every fault; return one row per fault, and last the lost images."""
    rng = random.Random(seed)
    rows = []
    with tempfile.TemporaryDirectory(prefix="supercuts-batch-") as folder:
        source = Path(folder, "source")
        source.mkdir()
        for path in images:
            shutil.copy(path, source)
        command = [sys.executable, "-m", "supercuts", "batch", str(source)]
        options = ["--workers", str(workers), "--superpixels", str(superpixels)]
        undisturbed = Path(folder, "undisturbed")
        subprocess.run([*command, str(undisturbed), *options], check=True)
        expected = _outputs(undisturbed)
        (source / "broken.jpg").write_bytes(images[0].read_bytes()[:2000])
        with _disk(Path(folder, "disk"), sum(map(len, expected.values())) // 2) as grow:
            start = [*command, str(Path(folder, "disk", "out")), *options]
            out = Path(folder, "disk", "out")
            code, n = _run(start, out, lambda worker, _: worker.kill(), rng.uniform(0.1, 0.3) * len(images))
            rows.append(["SIGKILL of a worker; a full disk" if grow else "SIGKILL of a worker", str(code), str(n)])
            if grow:
                grow()
            code, n = _run(start, out, lambda _, parent: parent.kill(), max(n + 1, 0.7 * len(images)))
            rows.append(["SIGKILL of the batch", str(code), str(n)])
            code, n = _run(start, out, None, 0)
            rows.append(["none; one broken file", str(code), str(n)])
            outputs = _outputs(out)
            failures = [Path(failure["source"]).name for failure in json.loads((out / "failures.json").read_text())]
        wrong = sum(outputs.get(name) != content for name, content in expected.items())
        rows.append([f"failed: {', '.join(failures)}; lost, half-written or different", "", str(wrong)])
    return rows


def _run(
    command: list[str], out: Path, harm: Callable[[psutil.Process, psutil.Process], None] | None, after: float
) -> tuple[int, int]:
    """Run the command; kill a worker or the batch after some images; return the exit code and their number."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while harm is not None and process.poll() is None:
            if _recorded(out) >= after:
                parent = psutil.Process(process.pid)
                workers = parent.children()
                if workers:
                    harm(workers[0], parent)
                    break
            time.sleep(0.01)
    return process.returncode, _recorded(out)


def _recorded(out: Path) -> int:
    path = out / FOLDER / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _outputs(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.npz")}


@contextmanager
def _disk(folder: Path, size: int) -> Iterator[Callable[[], object] | None]:
    """Mount a small file system, if this may be done, and yield a function that makes it large."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        yield None
        return
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=8g", str(folder)], check=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main() -> None:
    """Measure, or inject faults, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=positive_int, default=100, help="of BSDS500, all splits")
    parser.add_argument("--workers", type=positive_int, nargs="+", default=[1, physical_cores()])
    parser.add_argument("--superpixels", type=positive_int, default=600)
    parser.add_argument("--faults", action="store_true", help="inject faults instead of measuring throughput")
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    arguments = parser.parse_args()
    root = data_root(arguments.data) / "BSDS500/BSDS500/data/images"
    images = sorted(root.glob("*/*.jpg"), key=lambda path: path.name)[: arguments.images]
    if not images:
        raise SystemExit(f"{root} holds no images: see data/README.md")
    print(markdown_facts(run_facts() | {"images": str(len(images)), "superpixels": str(arguments.superpixels)}))
    if arguments.faults:
        rows = suffer(images, max(arguments.workers), arguments.superpixels)
        print(markdown_table(["fault", "exit code", "images recorded"], rows))
        raise SystemExit(FAILED if rows[-1][-1] != "0" else 0)
    settings = Settings(superpixels=arguments.superpixels)
    cores = physical_cores()
    pairs = dict.fromkeys([(1, 1), (1, cores), *((n, max(1, cores // n)) for n in arguments.workers)])
    rows = [measure(images, workers, threads, settings) for workers, threads in pairs]
    alone = float(rows[0][-1])
    rows = [[*row, f"{float(row[-1]) / alone:.2f}"] for row in rows]
    print(
        markdown_table(["workers", "threads each", "s in all", "images/s in all", "images/s", "times the first"], rows)
    )


if __name__ == "__main__":
    main()
