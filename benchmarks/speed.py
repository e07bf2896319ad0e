"""Time one photograph: the whole segmentation, its parts, a cut, and scikit-image doing the same in the same run.

In   a photograph, scaled to 321x481 pixels (the size of BSDS500's)
Out  medians in milliseconds and the peak memory as Markdown tables, with SSN on DINO; as JSON when asked for
Not  no threshold is asserted, nothing is compared with an earlier run

    python benchmarks/speed.py
    python benchmarks/speed.py --image mine.jpg --superpixels 400 --runs 20 --threads 1 --json speed.json
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.graph
import skimage.segmentation
import speed_dino
import torch
from common import ROOT, markdown_facts, markdown_table, positive_int, run_facts, write_json
from PIL import Image
from rich.console import Console
from rich.progress import track

import supercuts
from supercuts.pipeline import Model

SIZE = (321, 481)  # rows and columns of a photograph that is wider than high


def main() -> None:
    """Measure and print."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    image = read_scaled(arguments.image)
    model = supercuts.load(arguments.model)
    ours = median_ms(lambda: time_segment(model, image, arguments.superpixels), arguments.runs, "SuperCuts")
    h = model.segment(image, superpixels=arguments.superpixels)
    ours["cut to pixels"] = median_ms(lambda: time_cut(h), 10 * arguments.runs, "cut")["cut"]
    peak_mib = peak_memory_mib()  # before scikit-image adds its own
    peer = median_ms(lambda: time_peer(image, arguments.superpixels), arguments.runs, "scikit-image")
    dino = speed_dino.measure(arguments.runs)
    facts = {
        **run_facts(),
        "threads": str(torch.get_num_threads()),
        "image": f"{arguments.image.name} at {image.shape[0]}x{image.shape[1]}",
        "superpixels": f"{h.n_leaves}; slic(n_segments={arguments.superpixels}) gave {peer.pop('superpixels'):.0f}",
        "model": arguments.model,
        "runs": f"{arguments.runs} (median) after one that is not counted",
    }
    report = {
        "facts": facts,
        "supercuts_ms": ours,
        "peak_memory_mib": peak_mib,
        "scikit_image_ms": peer,
        "dino_ms": dino,
    }
    print(markdown_facts(facts))
    print()
    print(to_markdown(ours, peer, peak_mib))
    print()
    print(markdown_table((f"SSN on {speed_dino.BACKBONE}", "median, ms"), [(k, f"{v:.2f}") for k, v in dino.items()]))
    if arguments.json:
        write_json(arguments.json, report)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "photo.jpg")
    parser.add_argument("--model", default="compact", help="a name or a path, as supercuts.load takes it")
    parser.add_argument("--superpixels", type=positive_int, default=400)
    parser.add_argument("--runs", type=positive_int, default=10)
    parser.add_argument("--threads", type=positive_int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def read_scaled(path: Path) -> np.ndarray:
    """Return the photograph as (321, 481, 3) or (481, 321, 3) uint8."""
    image = Image.fromarray(supercuts.read_image(path))
    rows, columns = SIZE if image.width >= image.height else SIZE[::-1]
    return np.asarray(image.resize((columns, rows), Image.Resampling.LANCZOS))


def median_ms(measure: Callable[[], dict[str, float]], n_runs: int, description: str) -> dict[str, float]:
    """Return the median of each figure over the runs; the first run, which compiles and allocates, is left out."""
    measure()
    runs = [measure() for _ in track(range(n_runs), description, console=Console(stderr=True))]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def time_segment(model: Model, image: np.ndarray, n_superpixels: int) -> dict[str, float]:
    """Return the milliseconds of one segmentation: all of it, before, in and after the network."""
    moments: list[float] = []
    before = model.network.register_forward_pre_hook(lambda *_: moments.append(time.perf_counter()))
    after = model.network.register_forward_hook(lambda *_: moments.append(time.perf_counter()))
    start = time.perf_counter()
    model.segment(image, superpixels=n_superpixels)
    end = time.perf_counter()
    before.remove()
    after.remove()
    return {
        "segment": 1000 * (end - start),
        "before the network": 1000 * (moments[0] - start),
        "the network": 1000 * (moments[1] - moments[0]),
        "after the network": 1000 * (end - moments[1]),
    }


def time_cut(h: supercuts.Hierarchy) -> dict[str, float]:
    """Return the milliseconds of one cut to a label for each pixel."""
    start = time.perf_counter()
    h.cut(regions=max(1, h.n_leaves // 20))
    return {"cut": 1000 * (time.perf_counter() - start)}


def time_peer(image: np.ndarray, n_superpixels: int) -> dict[str, float]:
    """Return the milliseconds of scikit-image's superpixels, graph and merging down to one region."""
    moments = [time.perf_counter()]
    labels = skimage.segmentation.slic(image, n_segments=n_superpixels, start_label=0)
    moments.append(time.perf_counter())
    graph = skimage.graph.rag_mean_color(image, labels)
    moments.append(time.perf_counter())
    skimage.graph.merge_hierarchical(
        labels,
        graph,
        thresh=np.inf,
        rag_copy=False,
        in_place_merge=True,
        merge_func=add_colors,
        weight_func=color_weight,
    )
    moments.append(time.perf_counter())
    stages = zip(("slic", "rag_mean_color", "merge_hierarchical"), np.diff(moments).tolist(), strict=True)
    return {
        "slic + graph + merging": 1000 * (moments[-1] - moments[0]),
        **{name: 1000 * seconds for name, seconds in stages},
        "superpixels": float(labels.max() + 1),
    }


def add_colors(graph: skimage.graph.RAG, source: int, target: int) -> None:
    """Give the target the sum of both regions' colours, as scikit-image's own example does."""
    graph.nodes[target]["total color"] += graph.nodes[source]["total color"]
    graph.nodes[target]["pixel count"] += graph.nodes[source]["pixel count"]
    graph.nodes[target]["mean color"] = graph.nodes[target]["total color"] / graph.nodes[target]["pixel count"]


def color_weight(graph: skimage.graph.RAG, _source: int, target: int, neighbor: int) -> dict[str, float]:
    """Return the distance of mean colours as the new weight."""
    difference = graph.nodes[target]["mean color"] - graph.nodes[neighbor]["mean color"]
    return {"weight": float(np.linalg.norm(difference))}


def peak_memory_mib() -> float:
    """Return the largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, kibibytes elsewhere


def to_markdown(ours: dict[str, float], peer: dict[str, float], peak_mib: float) -> str:
    """Return both programs' figures as a table."""
    rows = [(f"SuperCuts: {name}", f"{value:.2f}") for name, value in ours.items()]
    rows.append(("SuperCuts: peak memory, MiB", f"{peak_mib:.0f}"))
    rows += [(f"scikit-image: {name}", f"{value:.2f}") for name, value in peer.items()]
    return markdown_table(("step", "median, ms"), rows)


if __name__ == "__main__":
    main()
