"""Find the altitudes of the levels scene, object and part on BSDS500, and store them with the weights when asked to.

In   a folder with BSDS500, a split people may tune on, a weights file
Out  for each level the altitude whose cuts cover best what the coarsest, the median and the finest annotator drew
Not  no training; refuses the test split

    python benchmarks/calibrate.py --data data --split train --model model.safetensors --write
"""

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import markdown_facts, markdown_table, parallel_map, positive_int, run_facts
from safetensors import safe_open

import supercuts
from supercuts.datasets.base import Sample
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.root import data_root
from supercuts.evaluate.hierarchies import score_regions
from supercuts.hierarchy.levels import LEVELS, best_altitude
from supercuts.metrics.region import THRESHOLDS
from supercuts.pipeline import Model
from supercuts.superpixels.checkpoint import load_network, save_network


@dataclass(frozen=True, slots=True)
class Task:
    """One image to be segmented into the default number of leaves, or another."""

    sample: Sample
    model: str
    n_leaves: int | None


@dataclass(frozen=True, slots=True)
class LevelScores:
    """How well the cuts of one image cover one annotator at each threshold, with the regions of cuts and annotator."""

    coverings: np.ndarray
    n_regions: np.ndarray
    n_truth_regions: int


def main() -> None:
    """Measure, print, and write when asked to."""
    arguments = parse()
    samples = BSDS500(data_root(arguments.data), arguments.split)[: arguments.limit]
    tasks = [Task(sample, str(arguments.model), arguments.leaves) for sample in samples]
    images = parallel_map(score_levels, tasks, arguments.workers, f"BSDS500 {arguments.split}")
    scores = {level: [image[level] for image in images] for level in LEVELS}
    levels = {level: choose(scores[level]) for level in LEVELS}
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images",
        "model": str(arguments.model),
        "leaves": str(arguments.leaves or "the model's default"),
    }
    print(markdown_facts(facts))
    print(f"\n{to_markdown(levels, scores)}")
    if arguments.write:
        write_levels(arguments.model, levels)
        print(f"\nwritten to {arguments.model}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "train+val"), default="train")
    parser.add_argument("--model", type=Path, required=True, help="a .safetensors file")
    parser.add_argument("--leaves", type=positive_int, help="of the hierarchy; else the default")
    parser.add_argument("--limit", type=positive_int, help="only the first so many images")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--write", action="store_true", help="store the levels in the weights file")
    return parser.parse_args()


def score_levels(task: Task) -> dict[str, LevelScores]:
    """Cover the coarsest, the median and the finest annotator of one image by the cuts of its hierarchy."""
    h = load_once(task.model).segment(task.sample.image_path, superpixels=task.n_leaves)
    return {level: score_level(h, truth) for level, truth in truths_of_levels(task.sample.truths).items()}


def score_level(h: supercuts.Hierarchy, truth: np.ndarray) -> LevelScores:
    """Score every threshold against one annotator."""
    scores = score_regions(h, [truth])
    return LevelScores(scores.covering, scores.n_regions, int(truth.max()) + 1)


def truths_of_levels(truths: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the annotator with the fewest, the (upper) median and the most regions."""
    ranked = sorted(truths, key=lambda truth: int(truth.max()))
    return dict(zip(LEVELS, (ranked[0], ranked[len(ranked) // 2], ranked[-1]), strict=True))


@functools.cache
def load_once(model: str) -> Model:
    """Return the model; a process loads it for its first image only."""
    return supercuts.load(model)


def choose(scores: Sequence[LevelScores]) -> float:
    """Return the altitude of the best mean covering over the images."""
    return best_altitude(THRESHOLDS, np.stack([image.coverings for image in scores]))


def to_markdown(levels: dict[str, float], scores: dict[str, list[LevelScores]]) -> str:
    """Return each level's altitude, its covering, and the median regions of its cuts and of its annotators."""
    rows = []
    for level, altitude in levels.items():
        at = int(np.argmin(abs(THRESHOLDS - altitude)))
        covering = np.mean([image.coverings[at] for image in scores[level]])
        regions = np.median([image.n_regions[at] for image in scores[level]])
        drawn = np.median([image.n_truth_regions for image in scores[level]])
        rows.append((level, f"{altitude:.2f}", f"{covering:.4f}", f"{regions:.0f}", f"{drawn:.0f}"))
    return markdown_table(("level", "altitude", "covering", "regions (median)", "annotator's regions (median)"), rows)


def write_levels(path: Path, levels: dict[str, float]) -> None:
    """Put the levels into a weights file and leave its weights, in their precision, as they are."""
    network, _ = load_network(path)
    save_network(path, network, levels, weights_dtype(path))


def weights_dtype(path: Path) -> torch.dtype:
    """Return the precision of the floating-point weights in a file."""
    with safe_open(path, framework="pt") as file:
        dtypes = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118 (no mapping)
    floating = {dtype for dtype in dtypes if dtype.is_floating_point}
    if len(floating) != 1:
        raise ValueError(f"{path} holds weights of {floating or 'no'} floating-point types: expected one.")
    return floating.pop()


if __name__ == "__main__":
    main()
