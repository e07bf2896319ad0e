"""Compare hierarchies: the mergers of SuperCuts, and what other libraries make, on the same images.

In   a folder with BSDS500, a split, a calibrated model
Out  a table of all figures, and the margin of the default over each, with paired intervals; on request JSON. The
     network's boundary map itself, thinned, shows what its tree costs or gains
Not  no choice of settings; the test split is for reporting only

    python benchmarks/hierarchies.py --data data --split test --json hierarchies.json
"""

import argparse
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import HIERARCHY_COLUMNS, markdown_facts, markdown_table, positive_int, run_facts, score, write_json
from peer_hierarchies import HIERARCHIES
from peers import MODULES, is_installed

import supercuts
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import Sample, data_root
from supercuts.evaluate.hierarchies import (
    HierarchyScores,
    score_contour_map,
    score_hierarchy,
    score_segmentations,
    score_soft_map,
    summarise,
)
from supercuts.evaluate.parallel import ScoringTask, Store, bootstrap_95
from supercuts.evaluate.report import hierarchy_document
from supercuts.evaluate.scorers import HierarchyOfModel, Method, MethodResult, load_once, of_model
from supercuts.model import Model
from supercuts.networks.network import VIEWS, weights_path
from supercuts.networks.predict import predict

DEFAULT = "learned affinity"
OURS: dict[str, dict[str, str]] = {
    DEFAULT: {},
    "learned affinity, many views": {"views": "many"},
    "graph neural network": {"merging": "gnn"},
    "spectral": {"merging": "spectral"},
}
BY_HAND = "hand-made distances"
MAPS = {"boundary map, thinned": "one", "boundary map, thinned, many views": "many"}
COLUMNS = {**HIERARCHY_COLUMNS, "mIoU": "miou_mean"}
COMPARED = ("covering_ods", "boundary_ods_f")


@dataclass(frozen=True, slots=True)
class ByHand:
    """Score the hierarchy of a network whose affinity is put aside."""

    model: str
    n_leaves: int

    def __call__(self, sample: Sample) -> HierarchyScores:
        """Return the scores of one image."""
        h = without_affinity(self.model).segment(sample.image_path, superpixels=self.n_leaves)
        return score_hierarchy(h, sample.truths)


@functools.cache
def without_affinity(model: str) -> Model:
    """Return the model; a process loads it for its first image only."""
    return Model(supercuts.load(model).network)


@dataclass(frozen=True, slots=True)
class OfMap:
    """Score the boundary map that the network predicts, after non-maximum suppression: no hierarchy."""

    model: str
    views: str

    def __call__(self, sample: Sample) -> HierarchyScores:
        """Return the scores of one image."""
        network = load_once(self.model).network
        assert network is not None
        maps = predict(supercuts.read_image(sample.image_path), network, VIEWS[self.views])
        return score_soft_map(maps.boundary, sample.truths, nms=True)


@dataclass(frozen=True, slots=True)
class OfPeer:
    """Score the hierarchy of another library."""

    name: str

    def __call__(self, sample: Sample) -> HierarchyScores:
        """Return the scores of one image."""
        peer, image = HIERARCHIES[self.name], supercuts.read_image(sample.image_path)
        if peer.contour_map is not None:
            return score_contour_map(peer.contour_map(image), sample.truths)
        if peer.soft_map is not None:
            return score_soft_map(peer.soft_map(image), sample.truths, nms=True)
        assert peer.label_maps is not None
        return score_segmentations(peer.label_maps(image), sample.truths)


def main() -> None:
    """Measure and print."""
    arguments = parse()
    samples = BSDS500(data_root(arguments.data), arguments.split)[: arguments.limit]
    store = Store(arguments.cache, HierarchyScores) if arguments.cache else None
    results = score(methods_of(samples, arguments), arguments.workers, store)
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images",
        "model": f"{arguments.model}, {arguments.leaves} superpixels",
        "runs": "1 (deterministic); intervals: 95 %, paired bootstrap over images",
    }
    print(markdown_facts(facts))
    rows = [(result.method, *figures_of(result)) for result in results]
    print(f"\n{markdown_table(('hierarchy', *COLUMNS), rows)}")
    margins = {result.method: margin(results[0], result) for result in results[1:]}
    rows = [(name, *(difference(*values) for values in of_both)) for name, of_both in margins.items()]
    print(f"\n{markdown_table((f'{DEFAULT} minus', 'covering ODS', 'boundary F ODS'), rows)}")
    if arguments.json:
        write_json(arguments.json, {**hierarchy_document(facts, results), "margins": margins})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test", "train+val"), default="val")
    parser.add_argument("--leaves", type=positive_int, default=600, help="of the hierarchies of SuperCuts")
    parser.add_argument("--model", default="compact", help="a name or a path, as supercuts.load takes it")
    names = (*OURS, *MAPS, BY_HAND, *HIERARCHIES)
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"besides {DEFAULT}: {', '.join(names)}",
    )
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--cache", type=Path, help="folder of finished scores, kept; an interrupted run resumes")
    parser.add_argument("--json", type=Path, help="also write the figures, image by image, to this file")
    return parser.parse_args()


def methods_of(samples: Sequence[Sample], arguments: argparse.Namespace) -> list[Method[HierarchyScores]]:
    """Return what is compared: the default first."""
    model, leaves = arguments.model, arguments.leaves
    weights = weights_path(model)
    methods = [
        of_model(name, samples, HierarchyOfModel(model, leaves, True, **how), weights) for name, how in OURS.items()
    ]
    methods += [of_model(name, samples, OfMap(model, views), weights) for name, views in MAPS.items()]
    methods.append(of_model(BY_HAND, samples, ByHand(model, leaves), weights))
    methods = [method for method in methods if method.name in (DEFAULT, *arguments.methods)]
    names = tuple(sample.name for sample in samples)
    for name, peer in HIERARCHIES.items():
        if name not in arguments.methods:
            continue
        if not is_installed(MODULES[peer.package]):
            print(f"{name}: not run, pip install {peer.package}")
            continue
        methods.append(Method(name, names, tuple(ScoringTask(name, sample, OfPeer(name)) for sample in samples), {}))
    return methods


def figures_of(result: MethodResult[HierarchyScores]) -> list[str]:
    """Return the row of a method."""
    figures = summarise(list(result.scores.values()))
    return [f"{figures[name]:.3f}" if name in figures else "" for name in COLUMNS.values()]


def margin(
    ours: MethodResult[HierarchyScores], other: MethodResult[HierarchyScores]
) -> list[tuple[float, float, float]]:
    """Return the gain of ours in each figure of COMPARED, with the interval of the paired difference.

    NaN where there are no regions to compare: a boundary map has none.
    """
    pairs = list(zip(ours.scores.values(), other.scores.values(), strict=True))
    intervals = bootstrap_95(_differences, pairs)
    return [(value, *intervals[name]) for name, value in _differences(pairs).items()]


def difference(value: float, low: float, high: float) -> str:
    """Return a margin with its interval; empty if there is none."""
    return "" if np.isnan(value) else f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def _differences(pairs: Sequence[Any]) -> Mapping[str, float]:
    mine, theirs = (summarise([_compared(pair[i]) for pair in pairs]) for i in (0, 1))
    return {name: mine[name] - theirs.get(name, np.nan) for name in COMPARED}


def _compared(scores: HierarchyScores) -> HierarchyScores:
    return HierarchyScores(regions=scores.regions, boundaries=scores.boundaries)


if __name__ == "__main__":
    main()
