"""Score refinements by the pooled mean IoU that Kim, Kanezaki and Tanaka report: SP, ST, and our defaults.

In   a folder with BSDS500, a split
Out  a table: mIoU of all, fine and coarse annotators, their mean, labels an image; on request JSON
Not  no choice of settings; the test split is for reporting only

    python benchmarks/refine.py --data data --split test+val --cache runs/refine --json refine.json

With the published settings an image takes minutes, of SP up to twenty: --limit scores the first few.
"""

import argparse
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import skimage.transform
from common import markdown_facts, markdown_table, positive_int, run_facts, score, write_json

import supercuts
from supercuts.core.arrays import relabel_consecutive
from supercuts.core.config import load_config
from supercuts.datasets.base import Sample
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.root import data_root
from supercuts.evaluate.methods import Method
from supercuts.evaluate.run import Store, Task
from supercuts.metrics.pooled_iou import PooledIoU, aggregate_pooled_iou, label_pooled_iou
from supercuts.pipeline import Model, weights_path
from supercuts.refine.config import OURS, PartitionConfig, RefineConfig
from supercuts.refine.fit import Example, fit, label
from supercuts.refine.hierarchy import REFINERS, refine_hierarchy
from supercuts.refine.inputs import read_input
from supercuts.refine.runs import initial_of, superpixels_of

_SLIC = PartitionConfig(method="slic", n_segments=10000, compactness=100.0)
SETTINGS = {
    "default": OURS,
    "SP, published": RefineConfig(method="sp", partition=_SLIC, snap=False),
    "SP on our superpixels": RefineConfig(method="sp"),
    "ST, published, nu=5": RefineConfig(nu=5.0),
}
REFINED = {f"SuperCuts, then {name.upper()}": name for name in REFINERS}
BARE = "SuperCuts"


@dataclass(frozen=True, slots=True)
class OfSettings:
    """Score the labels of a network fitted to one image."""

    config: RefineConfig
    device: str = "cpu"
    scale: float = 1.0

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""
        image, config = read_input(sample.image_path), self.config
        if self.scale != 1:
            image = skimage.transform.rescale(image, self.scale, channel_axis=2, anti_aliasing=True).astype(np.float32)
        needs_tree = config.initial_regions or (config.method == "sp" and config.partition.method == "ssn")
        h = model().segment(image, superpixels=config.partition.n_segments) if needs_tree else None
        example = Example(image, superpixels_of(image, h, config), initial=initial_of(h, config))
        labels = label(fit([example], config, device=self.device), example, config)
        if self.scale != 1:
            labels = skimage.transform.resize(labels, sample.truths[0].shape, order=0, preserve_range=True)
        return label_pooled_iou([relabel_consecutive(labels)[0]], sample.truths)


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


def main() -> None:
    """Measure and print."""
    arguments = parse()
    root = data_root(arguments.data)
    splits = arguments.split.split("+")
    samples = [sample for split in splits for sample in BSDS500(root, split)]
    samples = samples[:: arguments.every][: arguments.limit]
    store = Store(arguments.cache, PooledIoU) if arguments.cache else None
    results = score(methods_of(samples, arguments), arguments.workers, store)
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images",
        "settings": f"published but for {' '.join(arguments.set) or 'nothing'}; hierarchies cut at {arguments.level}",
        "images": f"at {arguments.scale:g} of their size, labels enlarged",
        "runs": "1, seed 0",
    }
    figures = {result.method: aggregate_pooled_iou(list(result.scores.values())) for result in results}
    rows = [(name, *(f"{value:.4f}" for value in (f.all, f.fine, f.coarse, f.mean))) for name, f in figures.items()]
    print(f"{markdown_facts(facts)}\n\n{markdown_table(('method', 'all', 'fine', 'coarse', 'mean'), rows)}")
    if arguments.json:
        write_json(arguments.json, {"facts": facts, "miou": {name: asdict(f) for name, f in figures.items()}})


def methods_of(samples: Sequence[Sample], arguments: argparse.Namespace) -> list[Method[PooledIoU]]:
    """Return what is compared."""
    scorers: dict[str, Callable[[Sample], PooledIoU]] = {
        name: OfSettings(
            load_config(None, RefineConfig, [*as_overrides(config), *arguments.set]), arguments.device, arguments.scale
        )
        for name, config in SETTINGS.items()
    }
    scorers[BARE] = OfRefiner(None, arguments.level)
    scorers |= {name: OfRefiner(refiner, arguments.level) for name, refiner in REFINED.items()}
    names, weights = tuple(sample.name for sample in samples), weights_path("compact")
    return [
        Method(name, names, tuple(Task(name, sample, scorer, (weights,)) for sample in samples), {})
        for name, scorer in scorers.items()
        if arguments.methods is None or name in arguments.methods
    ]


def as_overrides(config: RefineConfig) -> list[str]:
    """Return the settings that differ from their defaults, as key=value."""
    return [f"{key}={json.dumps(value)}" for key, value in config.model_dump(exclude_unset=True).items()]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test", "test+val"), default="val")
    parser.add_argument("--methods", nargs="+", choices=(*SETTINGS, BARE, *REFINED), metavar="NAME", help="only these")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the published: epochs=50 nu=1")
    parser.add_argument("--level", choices=("scene", "object", "part"), default="object", help="of cuts of hierarchies")
    parser.add_argument("--limit", type=positive_int, help="only the first so many images")
    parser.add_argument("--every", type=positive_int, default=1, help="only each so many-th image, before --limit")
    parser.add_argument("--scale", type=float, default=1.0, help="of the images' sides; hierarchies see them whole")
    parser.add_argument("--device", default="cpu", help="of the networks that are fitted: cpu or cuda")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--cache", type=Path, help="folder of finished scores: an interrupted run goes on; kept")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
