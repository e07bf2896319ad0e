"""Compare the learned probabilities that annotators separate two superpixels with how often they do.

In   a folder with BSDS500, a split, a calibrated model
Out  a table of bins, the expected calibration error with its 95 % interval, and with --plot the reliability diagram
Not  no training; the test split is for reporting only

    python benchmarks/reliability.py --split test --plot docs/images/reliability.png
"""

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, parallel_map, positive_int, run_facts

import supercuts
from supercuts.core.files import atomic_path
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import Sample, data_root
from supercuts.evaluate.parallel import bootstrap_95
from supercuts.merging.affinity import edge_features, separation
from supercuts.model import Model
from supercuts.training.affinity import describe_leaves, share_of_edges

N_BINS = 15


@dataclass(frozen=True, slots=True)
class Task:
    """One image, and how it is to be segmented."""

    sample: Sample
    model: str
    n_leaves: int


@dataclass(frozen=True, slots=True)
class Bins:
    """Edges of one image by their probability: number, and sums of probabilities and of annotators' shares."""

    count: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray


def main() -> None:
    """Measure, print, draw."""
    arguments = parse()
    samples = BSDS500(data_root(arguments.data), arguments.split)[: arguments.limit]
    tasks = [Task(sample, arguments.model, arguments.leaves) for sample in samples]
    images = parallel_map(bin_edges, tasks, arguments.workers, f"BSDS500 {arguments.split}")
    low, high = bootstrap_95(lambda some: {"ece": calibration_error(some)}, images)["ece"]
    total = add(images)
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images, {arguments.leaves} superpixels",
        "model": arguments.model,
    }
    print(markdown_facts(facts))
    rows = [
        (f"{i / N_BINS:.2f}-{(i + 1) / N_BINS:.2f}", f"{n:.0f}", f"{p / n:.3f}", f"{o / n:.3f}")
        for i, (n, p, o) in enumerate(zip(total.count, total.predicted, total.observed, strict=True))
        if n
    ]
    print(f"\n{markdown_table(('probability', 'edges', 'mean probability', 'share of annotators who separate'), rows)}")
    print(f"\nexpected calibration error {calibration_error(images):.4f} ({low:.4f}-{high:.4f})")
    if arguments.plot is not None:
        draw(total, calibration_error(images), arguments.plot)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val")
    parser.add_argument("--model", default="compact", help="compact, or a calibrated .safetensors file")
    parser.add_argument("--leaves", type=positive_int, default=600, help="superpixels of each image")
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--plot", type=Path, help="a .png, .svg or .pdf to draw")
    return parser.parse_args()


def bin_edges(task: Task) -> Bins:
    """Score every edge of one image's superpixels."""
    model = load_once(task.model)
    if model.network is None or model.affinity is None:
        raise ValueError(f"{task.model} is not calibrated: supercuts calibrate {task.model}")
    leaves = describe_leaves(task.sample, model.network, task.n_leaves, affinity=model.affinity)
    probability = separation(edge_features(leaves.graph, leaves.statistics), model.affinity)
    share = share_of_edges(leaves.graph.edges, leaves.tables)
    at = np.minimum((probability * N_BINS).astype(int), N_BINS - 1)
    return Bins(*(np.bincount(at, values, N_BINS) for values in (np.ones(len(at)), probability, share)))


@functools.cache
def load_once(model: str) -> Model:
    """Return the model; a process loads it for its first image only."""
    return supercuts.load(model)


def add(images: Sequence[Bins]) -> Bins:
    """Return the bins of all images together."""
    return Bins(*(np.sum([getattr(image, name) for image in images], axis=0) for name in Bins.__slots__))


def calibration_error(images: Sequence[Bins]) -> float:
    """Return the mean over edges of how far their bin's mean probability is from the observed share."""
    total = add(images)
    return float(abs(total.predicted - total.observed).sum() / total.count.sum())


def draw(total: Bins, error: float, path: Path) -> None:
    """Draw observed shares over probabilities, and how many edges each bin has."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    is_filled = total.count > 0
    x, y = (values[is_filled] / total.count[is_filled] for values in (total.predicted, total.observed))
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, label="as often as predicted")
    axes.plot(x, y, "o-", color="#0072B2", markersize=4, label=f"learned affinity, error {error:.3f}")
    share = total.count[is_filled] / total.count.sum()
    axes.bar(x, share, width=0.8 / N_BINS, color="#56B4E9", alpha=0.6, label="share of the edges")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("probability that annotators separate two superpixels")
    axes.set_ylabel("share of annotators who do")
    axes.legend(loc="upper left", frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix[1:])


if __name__ == "__main__":
    main()
