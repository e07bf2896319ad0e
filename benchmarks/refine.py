"""Score refinements by the pooled mean IoU that Kim, Kanezaki and Tanaka report: SP, ST, our defaults and simpler cuts.

In   a folder with BSDS500, a split
Out  a table: mIoU of all, fine and coarse annotators and their mean with intervals, the mean's margin over that of a
     chosen method with a paired interval, seconds of the processor an image; on request JSON
Not  no choice of settings; the test split is for reporting only

    python benchmarks/refine.py --data data --split test+val --cache runs/refine --json refine.json
    python benchmarks/refine.py --split test+val --every 12 --limit 24 --workers 1 --cache runs/refine

With the published settings an image takes minutes, up to twenty with SP: --every and --limit score some, as in the
second line. Methods are scored in the order of the table, cheap ones first. The plain loop takes hours and is scored
only when --methods names it, best at a part of the size and for fewer steps. Scores of SP and ST with the published
settings that are finished stand in benchmarks/scores/refine: `--cache benchmarks/scores/refine` resumes from there.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import skimage.color
import skimage.segmentation
import skimage.transform
from common import markdown_facts, markdown_table, positive_int, run_facts, score, write_json
from refine_speed import plain_loop
from scipy.cluster.vq import kmeans2

import supercuts
from supercuts.core.arrays import relabel_consecutive
from supercuts.core.config import load_config
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import Sample, data_root
from supercuts.evaluate.parallel import ScoringTask, Store, bootstrap_95
from supercuts.evaluate.scorers import Method
from supercuts.metrics.region import PooledIoU, PooledIoUSummary, aggregate_pooled_iou, label_pooled_iou
from supercuts.model import Model
from supercuts.networks.network import weights_path
from supercuts.refine.fit import Example, fit, label
from supercuts.refine.hierarchy import REFINERS, refine_hierarchy
from supercuts.refine.refine_config import OURS, PartitionConfig, RefineConfig
from supercuts.refine.runs import initial_of, read_input, superpixels_of

ST = "ST, published, nu=5"
PLAIN = f"{ST}, plain loop"
_SLIC = PartitionConfig(method="slic", n_segments=10000, compactness=100.0)
SETTINGS = {
    "default": OURS,
    ST: RefineConfig(nu=5.0),
    "SP on our superpixels": RefineConfig(method="sp"),
    "SP, published": RefineConfig(method="sp", partition=_SLIC, snap=False),
}
REFINED = {f"SuperCuts, then {name.upper()}": name for name in REFINERS}
BARE = "SuperCuts"
MEANS = ("all", "fine", "coarse", "mean")  # pooled IoU by annotators
LEVELS = {f"SuperCuts, {level} level": level for level in ("scene", "object", "part")}
GRAPHS = {f"felzenszwalb, tau {tau}": tau for tau in (100, 500)}
COLORS = {f"k-means of Lab, k = {k}": k for k in (2, 17)}


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one image, and the seconds of the processor that it took, reading and scoring included."""

    iou: PooledIoU
    seconds: float


@dataclass(frozen=True, slots=True)
class Timed:
    """Score and take the time."""

    score: Callable[[Sample], PooledIoU]

    def __call__(self, sample: Sample) -> Scored:
        """Return both of one image."""
        start = time.process_time()
        return Scored(self.score(sample), time.process_time() - start)


class Scorer(Protocol):
    """Score one image; its score depends on our weights or not."""

    @property
    def needs_model(self) -> bool:
        """Whether the score depends on our weights."""

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""


@dataclass(frozen=True, slots=True)
class OfSettings:
    """Score the labels of a network fitted to one image; settings are key=value, and only those not by default.

    A stored score thus stays when RefineConfig gains a setting.
    """

    settings: tuple[str, ...]
    device: str = "cpu"
    scale: float = 1.0

    @property
    def config(self) -> RefineConfig:
        """The settings."""
        return load_config(None, RefineConfig, self.settings)

    @property
    def needs_model(self) -> bool:
        """Whether it starts from our superpixels or regions: else its score outlives a change of our weights."""
        config = self.config
        return bool(config.initial_regions) or (config.method == "sp" and config.partition.method == "ssn")

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""
        image, config = read_scaled(sample, self.scale), self.config
        h = model().segment(image, superpixels=config.partition.n_segments) if self.needs_model else None
        example = Example(image, superpixels_of(image, h, config), initial=initial_of(h, config))
        return pooled_iou(label(fit([example], config, device=self.device), example, config), sample)


@dataclass(frozen=True, slots=True)
class OfPlainLoop:
    """Score the labels of the plain PyTorch loop of ST, after as many steps."""

    settings: tuple[str, ...]
    scale: float = 1.0
    needs_model: ClassVar[bool] = False

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""
        config, labels = load_config(None, RefineConfig, self.settings), np.zeros(0)
        steps = plain_loop(
            read_scaled(sample, self.scale), None, config.epochs + 1, config.seed, (config.mu, config.nu)
        )
        for labels in steps:
            if len(np.unique(labels)) <= config.min_classes:
                break
        return pooled_iou(labels, sample)


@dataclass(frozen=True, slots=True)
class OfRefiner:
    """Score a cut of the hierarchy that `refiner` makes of ours, None of ours itself.

    settings: those of the refiner; a stored score does not outlive a change of them
    """

    refiner: str | None
    level: str
    settings: tuple[str, ...] = ()
    needs_model: ClassVar[bool] = True

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""
        h = model().segment(sample.image_path)
        refined = h if self.refiner is None else refine_hierarchy(h, REFINERS[self.refiner])
        return label_pooled_iou([refined.cut(level=self.level)], sample.truths)


@dataclass(frozen=True, slots=True)
class OfGraph:
    """Score the regions of Felzenszwalb and Huttenlocher."""

    tau: float
    needs_model: ClassVar[bool] = False

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""
        return pooled_iou(skimage.segmentation.felzenszwalb(read_input(sample.image_path), self.tau), sample)


@dataclass(frozen=True, slots=True)
class OfColors:
    """Score the classes of k-means on the Lab colours of pixels."""

    k: int
    needs_model: ClassVar[bool] = False

    def __call__(self, sample: Sample) -> PooledIoU:
        """Return the scores of one image."""
        pixels = skimage.color.rgb2lab(read_input(sample.image_path)).astype(np.float64)
        labels = kmeans2(pixels.reshape(-1, 3), self.k, minit="++", seed=0)[1]
        return pooled_iou(labels.reshape(pixels.shape[:2]), sample)


def read_scaled(sample: Sample, scale: float) -> np.ndarray:
    """Return an image (H, W, 3) float32 in 0..1, its sides scaled."""
    image = read_input(sample.image_path)
    if scale == 1:
        return image
    scaled: np.ndarray = skimage.transform.rescale(image, scale, channel_axis=2, anti_aliasing=True)
    return scaled.astype(np.float32)


def pooled_iou(labels: np.ndarray, sample: Sample) -> PooledIoU:
    """Return the scores of a label map, enlarged to the size of the truths."""
    shape = sample.truths[0].shape
    if labels.shape != shape:
        labels = skimage.transform.resize(labels, shape, order=0, preserve_range=True)
    return label_pooled_iou([relabel_consecutive(labels)[0]], sample.truths)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a method.

    miou     over all images
    within   its intervals, by the names of its fields
    above    margin of its mean over that of the other method, and its interval
    seconds  of the processor, the median image
    """

    miou: PooledIoUSummary
    within: Mapping[str, tuple[float, float]]
    above: tuple[float, float, float]
    seconds: float


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
    store = Store(arguments.cache, Scored) if arguments.cache else None
    results = score(methods_of(samples, arguments), arguments.workers, store)
    scores = {result.method: list(result.scores.values()) for result in results}
    figures = {name: figures_of(of_method, scores[arguments.beside]) for name, of_method in scores.items()}
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images",
        "names": " ".join(sample.name for sample in samples),
        "settings": f"published but for {' '.join(arguments.set) or 'nothing'}; hierarchies cut at {arguments.level}",
        "images": f"at {arguments.scale:g} of their size, labels enlarged",
        "runs": "1, seed 0; intervals: 95 %, paired bootstrap over images",
    }
    columns = ("method", *MEANS, f"mean above {arguments.beside}", "s an image")
    rows = [
        (
            name,
            *("{:.3f} ({:.3f} to {:.3f})".format(getattr(f.miou, mean), *f.within[mean]) for mean in MEANS),
            "" if name == arguments.beside else "{:+.3f} ({:+.3f} to {:+.3f})".format(*f.above),
            f"{f.seconds:.1f}",
        )
        for name, f in figures.items()
    ]
    print(f"{markdown_facts(facts)}\n\n{markdown_table(columns, rows)}")
    if arguments.json:
        write_json(arguments.json, {"facts": facts, "figures": {name: asdict(f) for name, f in figures.items()}})


def figures_of(mine: Sequence[Scored], theirs: Sequence[Scored]) -> Figures:
    """Return the figures of a method compared with another on the same images."""
    pairs = [(a.iou, b.iou) for a, b in zip(mine, theirs, strict=True)]
    miou, seconds = aggregate_pooled_iou([a for a, _ in pairs]), statistics.median(a.seconds for a in mine)
    within = bootstrap_95(_means, [a for a, _ in pairs])
    return Figures(miou, within, (_above(pairs)["mean"], *bootstrap_95(_above, pairs)["mean"]), seconds)


def _means(scores: Sequence[PooledIoU]) -> Mapping[str, float]:
    miou = aggregate_pooled_iou(scores)
    return {name: getattr(miou, name) for name in MEANS}


def _above(pairs: Sequence[tuple[PooledIoU, PooledIoU]]) -> Mapping[str, float]:
    mine, theirs = (aggregate_pooled_iou([pair[i] for pair in pairs]).mean for i in (0, 1))
    return {"mean": mine - theirs}


def methods_of(samples: Sequence[Sample], arguments: argparse.Namespace) -> list[Method[Scored]]:
    """Return what is compared."""
    changed = tuple(arguments.set)
    scorers: dict[str, Scorer] = {BARE: OfRefiner(None, arguments.level)}
    scorers |= {name: OfRefiner(None, level) for name, level in LEVELS.items()}
    scorers |= {name: OfGraph(tau) for name, tau in GRAPHS.items()}
    scorers |= {name: OfColors(k) for name, k in COLORS.items()}
    scorers |= {
        name: OfRefiner(refiner, arguments.level, tuple(as_overrides(REFINERS[refiner])))
        for name, refiner in REFINED.items()
    }
    scorers |= {
        name: OfSettings((*as_overrides(config), *changed), arguments.device, arguments.scale)
        for name, config in SETTINGS.items()
    }
    scorers[PLAIN] = OfPlainLoop((*as_overrides(SETTINGS[ST]), *changed), arguments.scale)
    names, methods = tuple(sample.name for sample in samples), []
    for name, scorer in scorers.items():
        if name in arguments.methods:
            inputs = (weights_path("compact"),) if scorer.needs_model else ()
            tasks = tuple(ScoringTask(name, sample, Timed(scorer), inputs) for sample in samples)
            methods.append(Method(name, names, tasks, {}))
    return methods


def as_overrides(config: RefineConfig) -> list[str]:
    """Return the settings that differ from their defaults, as key=value."""
    return [f"{key}={json.dumps(value)}" for key, value in config.model_dump(exclude_unset=True).items()]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test", "test+val"), default="val")
    usual = (BARE, *LEVELS, *GRAPHS, *COLORS, *REFINED, *SETTINGS)
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=(*usual, PLAIN),
        default=usual,
        metavar="NAME",
        help=f"of {', '.join(usual)}; {PLAIN}",
    )
    parser.add_argument("--beside", metavar="NAME", help=f"the method to compare with: {ST}, else the first")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the published: epochs=50 nu=1")
    parser.add_argument("--level", choices=("scene", "object", "part"), default="object", help="of cuts of hierarchies")
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--every", type=positive_int, default=1, help="only every N-th image, before --limit")
    parser.add_argument("--scale", type=float, default=1.0, help="of the images' sides; hierarchies see them whole")
    parser.add_argument("--device", default="cpu", help="of the networks that are fitted: cpu or cuda")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--cache", type=Path, help="folder of finished scores, kept; an interrupted run resumes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    arguments.beside = arguments.beside or (ST if ST in arguments.methods else arguments.methods[0])
    if arguments.beside not in arguments.methods:
        parser.error(f"--beside {arguments.beside} is not among the methods scored: {', '.join(arguments.methods)}")
    return arguments


if __name__ == "__main__":
    main()
