"""Score refinements by the pooled mean IoU that Kim, Kanezaki and Tanaka report: SP, ST, and our defaults.

In   a folder with BSDS500, a split
Out  a table: mIoU of all, fine and coarse annotators, their mean, labels an image; on request JSON
Not  no choice of settings; the test split is for reporting only

    python benchmarks/refine.py --data data --split test+val --cache runs/refine --json refine.json

With the published settings an image takes minutes, of SP up to twenty: --limit scores the first few.
"""

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, positive_int, run_facts, score, write_json
from pydantic import ValidationError

import supercuts
from supercuts.core.arrays import relabel_consecutive
from supercuts.datasets.base import Sample
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.root import data_root
from supercuts.evaluate.methods import Method
from supercuts.evaluate.run import Store, Task
from supercuts.metrics.pooled_iou import PooledIoU, aggregate_pooled_iou, label_pooled_iou
from supercuts.pipeline import Model
from supercuts.refine.config import PartitionConfig, RefineConfig
from supercuts.refine.fit import Example, fit, label
from supercuts.refine.hierarchy import REFINERS, refine_hierarchy
from supercuts.refine.inputs import read_input
from supercuts.refine.partition import partition

# scikit-image now scales the image to 0..1 before it applies the compactness, then it did not: 100 then is about 0.4
_SLIC = PartitionConfig(method="slic", n_segments=10000, compactness=0.4)
SETTINGS = {
    "SP, published, SLIC": RefineConfig(method="sp", partition=_SLIC, snap=False),
    "SP, published, SSN": RefineConfig(method="sp", partition=PartitionConfig(n_segments=1000)),
    "ST, published, nu=5": RefineConfig(nu=5.0),
}
REFINED = {f"SuperCuts, then {name.upper()}": name for name in REFINERS}
BARE = "SuperCuts"


@dataclass(frozen=True, slots=True)
class OfSettings:
    """Score the labels of a network fitted to one image."""

    config: RefineConfig

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""
        image = read_input(sample.image_path)
        superpixels = None
        if self.config.method == "sp":
            superpixels = own_superpixels(sample, self.config) or partition(image, self.config.partition)
        example = Example(image, superpixels)
        return label_pooled_iou([consecutive(label(fit([example], self.config), example, self.config))], sample.truths)


@dataclass(frozen=True, slots=True)
class OfRefiner:
    """Score a cut of the hierarchy that `refiner` makes of ours, None of ours itself."""

    refiner: str | None
    level: str

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""
        h = model().segment(sample.image_path)
        refined = h if self.refiner is None else refine_hierarchy(h, REFINERS[self.refiner])
        return label_pooled_iou([refined.cut(level=self.level)], sample.truths)


@functools.cache
def model() -> Model:
    """Return the model; a process loads it for its first image only."""
    return supercuts.load("compact")


def consecutive(labels: np.ndarray) -> np.ndarray:
    """Return labels 0..R-1."""
    return relabel_consecutive(labels)[0]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test", "test+val"), default="val")
    parser.add_argument("--methods", nargs="+", choices=(*SETTINGS, BARE, *REFINED), metavar="NAME", help="only these")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the published: epochs=50 nu=1")
    parser.add_argument("--level", choices=("scene", "object", "part"), default="object", help="of cuts of hierarchies")
    parser.add_argument("--limit", type=positive_int, help="only the first so many images")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--cache", type=Path, help="folder of finished scores: an interrupted run goes on; kept")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()
