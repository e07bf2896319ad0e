"""Compare superpixels of enlarged photographs computed at half the size with those computed at full size.

In   a folder with BSDS500, whose photographs and annotations are enlarged
Out  a table: means over images of both ways, their difference and its standard error, seconds an image
Not  large photographs: none with annotations is available

    python benchmarks/half_size.py --data data --images 40
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from common import markdown_facts, markdown_table, parallel_map, positive_int, run_facts
from PIL import Image

import supercuts
from supercuts.core.arrays import contingency
from supercuts.datasets.bsds500 import BSDS500, load_truths
from supercuts.datasets.sample import Sample, data_root
from supercuts.hierarchy.tree import Hierarchy
from supercuts.metrics.region import RegionScores, aggregate, tree_scores
from supercuts.metrics.superpixel import (
    achievable_segmentation_accuracy,
    boundary_mask,
    boundary_recall,
    undersegmentation_error,
)

FIGURES = ("ASA", "undersegmentation error", "boundary recall", "pixels at borders, %", "seconds")


@dataclass(frozen=True, slots=True)
class Scored:
    """Result of one way on one image."""

    figures: tuple[float, ...]
    tree: RegionScores


@dataclass(frozen=True, slots=True)
class Both:
    """Score an image both ways."""

    times: int
    superpixels: int

    def __call__(self, sample: Sample) -> tuple[Scored, Scored]:
        """Return the scores of the whole size and of half the size."""
        with Image.open(sample.image_path) as image:
            sides = image.width * self.times, image.height * self.times
            pixels = np.asarray(image.convert("RGB").resize(sides, Image.Resampling.BICUBIC))
        truths = [t.repeat(self.times, axis=0).repeat(self.times, axis=1) for t in load_truths(sample)]
        model = supercuts.load("compact")

        def scored() -> Scored:
            start = time.perf_counter()
            h = model.segment(pixels, self.superpixels)
            return score_of(h, truths, time.perf_counter() - start, self.times)

        with patch("supercuts.superpixels.leaves.is_halved", return_value=False):
            whole = scored()
        return whole, scored()


def score_of(h: Hierarchy, truths: Sequence[np.ndarray], seconds: float, radius_px: int) -> Scored:
    """Return the scores of a hierarchy's leaves and of its cuts."""
    tables = [contingency(truth, h.labels) for truth in truths]
    figures = (
        float(np.mean([achievable_segmentation_accuracy(table) for table in tables])),
        float(np.mean([undersegmentation_error(table) for table in tables])),
        float(np.mean([boundary_recall(truth, h.labels, radius_px) for truth in truths])),
        100 * float(boundary_mask(h.labels).mean()),
        seconds,
    )
    return Scored(figures, tree_scores(tables, h.parents, h.altitudes))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--images", type=positive_int, default=40, help="evenly out of the split")
    parser.add_argument("--times", type=positive_int, default=4, help="the sides; 3 and more make images large")
    parser.add_argument("--superpixels", type=positive_int, default=400)
    parser.add_argument("--workers", type=positive_int, default=2)
    arguments = parser.parse_args()
    samples = BSDS500(data_root(arguments.data), arguments.split)
    chosen = [samples[int(i)] for i in np.linspace(0, len(samples) - 1, min(arguments.images, len(samples)))]
    pairs = parallel_map(Both(arguments.times, arguments.superpixels), chosen, arguments.workers, "images")
    whole, half = (np.array([pair[i].figures for pair in pairs]) for i in (0, 1))
    difference = half - whole
    error = difference.std(axis=0, ddof=1) / len(pairs) ** 0.5
    rows = [
        (
            name,
            f"{whole[:, i].mean():.4f}",
            f"{half[:, i].mean():.4f}",
            f"{difference[:, i].mean():+.4f}",
            f"{error[i]:.4f}",
        )
        for i, name in enumerate(FIGURES)
    ]
    of_trees = [aggregate([pair[i].tree for pair in pairs]) for i in (0, 1)]
    for name, field in (("covering ODS", "covering_ods"), ("PRI ODS", "pri_ods"), ("VI ODS", "vi_ods")):
        a, b = (getattr(scores, field) for scores in of_trees)
        rows.append((name, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}", ""))
    facts = {
        **run_facts(),
        "images": f"{len(chosen)} of BSDS500 {arguments.split}, sides times {arguments.times}",
        "superpixels": str(arguments.superpixels),
        "boundary recall": f"within {arguments.times} pixels, 1 before enlarging",
    }
    print(f"{markdown_facts(facts)}\n")
    print(markdown_table(("figure", "whole size", "half the size", "difference", "standard error"), rows))


if __name__ == "__main__":
    main()
