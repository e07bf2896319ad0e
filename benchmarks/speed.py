"""Time a photograph at several sizes: our pipeline stage by stage, and other programs, in one run.

In   a photograph, scaled to 321x481 (the size of BSDS500's) and to given numbers of megapixels
Out  medians, peak memory and pixels a second as Markdown tables; on request JSON
Not  no threshold is asserted, nothing is compared with an earlier run

    python benchmarks/speed.py
    python benchmarks/speed.py --sizes 321x481 2 --runs 20 --threads 1 --json speed.json

Every program runs at every size in a process of its own, so that its peak memory is its own.
"""

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
OURS = "SuperCuts"
SIZES = ("321x481", "1", "2", "8", "24")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Result = dict[str, Any]


def main() -> None:
    """Measure and print; a child process measures one program at one size."""
    arguments = parse()
    if arguments.child:
        from supercuts.core.threads import keep_freed_memory, wait_without_spinning

        keep_freed_memory()  # like the command line
        wait_without_spinning()
        print(json.dumps(measure(arguments)))
        return
    from common import markdown_facts, run_facts, write_json

    names = arguments.programs or program_names()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(arguments.busy)]
    try:
        results = {size: {name: in_a_process(name, size, arguments) for name in names} for size in arguments.sizes}
    finally:
        for process in busy:
            process.kill()
    facts = {
        **run_facts(),
        "threads": str(arguments.threads),
        "busy processes beside": str(arguments.busy),
        "load before": " ".join(f"{load:.1f}" for load in arguments.load),
        "superpixels": str(arguments.superpixels),
        "model": f"{arguments.model}, engine {arguments.engine}",
        "runs": f"{arguments.runs} (median), or as many as fit {arguments.seconds:.0f} s, after one not counted",
        **peaks(),
    }
    print(f"{markdown_facts(facts)}\n\n{stage_table(results)}\n\n{program_table(results)}")
    if arguments.dino:
        import speed_dino
        from common import markdown_table

        rows = [(name, f"{value:.2f}") for name, value in speed_dino.measure(arguments.runs).items()]
        print(f"\n{markdown_table((f'SSN on {speed_dino.BACKBONE}', 'median, ms'), rows)}")
    if arguments.json:
        write_json(arguments.json, {"facts": facts, "results": results})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="SIZE", help="ROWSxCOLUMNS, or megapixels")
    parser.add_argument("--programs", nargs="+", help=f"of {', '.join(program_names())}; all unless given")
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "photo.jpg")
    parser.add_argument("--model", default="compact", help="a name or a path, as supercuts.load takes it")
    parser.add_argument("--engine", default="auto", choices=("auto", "quick", "torch", "onnx"), help="runs our network")
    parser.add_argument("--superpixels", type=int, default=400)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30, help="after which a program at a size is not run again")
    parser.add_argument("--timeout", type=float, default=900, help="seconds after which a program at a size is stopped")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--busy", type=int, default=0, help="number of processes that keep a core busy beside")
    parser.add_argument("--dino", action="store_true", help="also what SSN adds to a DINO backbone (speed_dino.py)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for size in arguments.sizes:
        rows_and_columns(size, 1.0)  # refused now rather than in the middle
    if unknown := set(arguments.programs or ()) - set(program_names()):
        parser.error(f"unknown programs: {', '.join(sorted(unknown))}. Known: {', '.join(program_names())}")
    arguments.load = os.getloadavg()
    return arguments


def program_names() -> list[str]:
    """Return what can be timed, ours first."""
    from speed_methods import PEERS

    return [OURS, *PEERS]


def rows_and_columns(size: str, aspect: float) -> tuple[int, int]:
    """Return the sides of a size: "321x481" as it is for wide pictures, "2" as 2 megapixels of columns / rows."""
    if "x" in size:
        rows, columns = map(int, size.split("x"))
        return (rows, columns) if aspect >= 1 else (columns, rows)
    rows = round((float(size) * 1e6 / aspect) ** 0.5)
    return rows, round(rows * aspect)


def in_a_process(name: str, size: str, arguments: argparse.Namespace) -> Result:
    """Return what a child process measures, or {"failed": why}."""
    options = [f"--{option}={getattr(arguments, option)}" for option in ("image", "model", "engine", "superpixels")]
    options += [f"--{option}={getattr(arguments, option)}" for option in ("runs", "seconds", "threads")]
    command = [sys.executable, __file__, "--sizes", size, "--child", name, *options]
    environment = os.environ | dict.fromkeys(THREADS, str(arguments.threads))
    print(f"{name} at {size}", file=sys.stderr)
    before = psutil.cpu_times()
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=arguments.timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"over {arguments.timeout:.0f} s"}
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        return {"failed": f"exit code {done.returncode}"}
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result | {"stolen": stolen(before, psutil.cpu_times())}


def stolen(before: Any, after: Any) -> float | None:
    """Return the share of the processors' time that a virtual machine's host gave to others; None if unknown."""
    if not hasattr(before, "steal"):
        return None
    spent = sum(after) - sum(before)
    return (after.steal - before.steal) / spent if spent else 0.0


def measure(arguments: argparse.Namespace) -> Result:
    """Return medians of seconds by stage, peak MiB, pixels; the first run compiles and allocates and is left out."""
    from speed_methods import PEERS, supercuts_run

    image = read_scaled(arguments.image, arguments.sizes[0])
    before = peak_mib()
    if arguments.child == OURS:
        run = supercuts_run(image, arguments.superpixels, arguments.model, arguments.engine)
    else:
        run = PEERS[arguments.child](image, arguments.superpixels)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(arguments.threads)
    start = time.perf_counter()
    runs = [run()]
    if time.perf_counter() - start < arguments.seconds:
        runs.clear()
    while not runs or (len(runs) < arguments.runs and time.perf_counter() - start < arguments.seconds):
        runs.append(run())
    seconds = {stage: statistics.median(one[stage] for one in runs) for stage in runs[0]}
    return {
        "seconds": seconds, "runs": len(runs), "pixels": image.shape[0] * image.shape[1],
        "peak_mib": peak_mib(), "peak_mib_before": before,
    }  # fmt: skip


def peaks() -> dict[str, str]:
    """Return what the machine reaches: arithmetic in a product of matrices, bytes moved in a copy."""
    import torch

    n, n_bytes = 2048, 1 << 28
    facts = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.rand(n, n).to(dtype) for _ in range(2))
        facts[f"peak, {str(dtype).removeprefix('torch.')}"] = (
            f"{2 * n**3 / _shortest(functools.partial(torch.matmul, a, b)) / 1e9:.0f} GFLOP/s"
        )
    source, target = np.ones(n_bytes, np.uint8), np.ones(n_bytes, np.uint8)
    copied = _shortest(lambda: np.copyto(target, source))
    return facts | {"copy": f"{2 * n_bytes / copied / 1e9:.1f} GB/s read and written, one thread"}


def _shortest(function: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def read_scaled(path: Path, size: str) -> np.ndarray:
    """Return the photograph (H, W, 3) uint8 at a size."""
    with Image.open(path) as image:
        rows, columns = rows_and_columns(size, image.width / image.height)
        return np.asarray(image.convert("RGB").resize((columns, rows), Image.Resampling.LANCZOS))


def peak_mib() -> float:
    """Return the largest resident size of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage counts the parent's memory too, which the child had before it became this program
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, kibibytes elsewhere


def stage_table(results: dict[str, dict[str, Result]]) -> str:
    """Return our stages at each size, in milliseconds."""
    from common import markdown_table

    ours = {size: of_size[OURS] for size, of_size in results.items() if "seconds" in of_size.get(OURS, {})}
    if not ours:
        return ""
    stages = list(next(iter(ours.values()))["seconds"])
    rows = [(stage, *(f"{1000 * result['seconds'][stage]:.1f}" for result in ours.values())) for stage in stages]
    shares = [100 * (1 - result["seconds"]["network"] / result["seconds"]["total"]) for result in ours.values()]
    rows.append(("all but the network, %", *(f"{share:.0f}" for share in shares)))
    if all(result["stolen"] is not None for result in ours.values()):
        rows.append(
            ("processors' time taken by the host, %", *(f"{100 * result['stolen']:.1f}" for result in ours.values()))
        )
    return markdown_table((f"{OURS}, ms", *(_title(size) for size in ours)), rows)


def program_table(results: dict[str, dict[str, Result]]) -> str:
    """Return every program at each size: seconds, megapixels a second, peak memory."""
    from common import markdown_table

    names = list(next(iter(results.values())))
    rows = []
    for name in names:
        cells = []
        for of_size in results.values():
            result = of_size[name]
            if "failed" in result:
                cells.append(result["failed"])
                continue
            total = result["seconds"]["total"]
            ours = of_size.get(OURS, {}).get("seconds", {}).get("total")
            ratio = f"{total / ours:.2f} of ours, " if ours and name != OURS else ""
            rate = result["pixels"] / total / 1e6
            cells.append(f"{total:.3f} s, {ratio}{rate:.2f} MP/s, {result['peak_mib']:.0f} MiB")
        rows.append((name, *cells))
    return markdown_table(("program", *(_title(size) for size in results)), rows)


def _title(size: str) -> str:
    return size if "x" in size else f"{size} MP"


if __name__ == "__main__":
    main()
