"""Compare leaves, mergers and views on images that the network was not trained on, in four folds.

In   a folder with BSDS500, a network trained on the train split alone
Out  a table of all figures; on request JSON
Not  no test split: this is where settings are chosen

    python benchmarks/ablation.py --data data --model runs/mine/model.safetensors

What is learned (affinity, graph neural network) is learned on three quarters of val and scored on the fourth.
"""

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.ndimage
import skimage.segmentation
from common import (
    HIERARCHY_COLUMNS,
    markdown_facts,
    markdown_table,
    parallel_map,
    positive_int,
    run_facts,
    write_json,
)

from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import Sample, data_root
from supercuts.evaluate.hierarchies import HierarchyScores, score_hierarchy, summarise
from supercuts.graph.rag import graph_and_statistics
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.io import read_image
from supercuts.merging.affinity import Affinity, AffinityConfig
from supercuts.merging.agglomerative import MergeTree
from supercuts.merging.mergers import MergingConfig, Regions, merge
from supercuts.metrics.superpixel import achievable_segmentation_accuracy
from supercuts.networks.files import load_network
from supercuts.networks.maps import PixelMaps
from supercuts.networks.network import VIEWS
from supercuts.networks.predict import predict
from supercuts.networks.ssn import SSN
from supercuts.settings import PipelineConfig
from supercuts.superpixels.leaves import make_leaves
from supercuts.training.affinity import Leaves, learn_affinity
from supercuts.training.graphs import learn_gnn

N_FOLDS = 4
CUTS = (50, 100, 200)
COLUMNS = {**HIERARCHY_COLUMNS, **{f"ASA {n}": f"asa_{n}" for n in CUTS}}


@dataclass(frozen=True, slots=True)
class Variant:
    """One row: how leaves are made, and how they merge."""

    leaves: int | None = 600  # superpixels; None: the basins of the boundary map, precise to the pixel
    views: str = "one"
    merging: MergingConfig = field(default_factory=MergingConfig)
    is_learned: bool = True


VARIANTS = {  # rows with the same leaves are adjacent: leaves, and models learned from them, are computed once
    "hand-made distances": Variant(is_learned=False),
    "learned affinity": Variant(),
    "... not lowered for small regions": Variant(merging=MergingConfig(affinity=AffinityConfig(small_exponent=0))),
    "... not ordered by area at fine altitudes": Variant(
        merging=MergingConfig(affinity=AffinityConfig(fine_altitude=0))
    ),
    "graph neural network": Variant(merging=MergingConfig(method="gnn")),
    "spectral": Variant(merging=MergingConfig(method="spectral")),
    "learned affinity, 300 superpixels": Variant(leaves=300),
    "... 1200 superpixels": Variant(leaves=1200),
    "... watershed basins": Variant(leaves=None),
    "... flipped too": Variant(views="flip"),
    "... many views": Variant(views="many"),
}


def main() -> None:
    """Measure and print."""
    arguments = parse()
    samples = BSDS500(data_root(arguments.data), "val")[: arguments.limit]
    rows, document = [], {}
    made: tuple[int | None, str] | None = None
    for name in arguments.variants:
        variant = VARIANTS[name]
        key = (variant.leaves, variant.views)
        if key != made:
            made = key
            describe = functools.partial(describe_one, model=str(arguments.model), n_leaves=key[0], views=key[1])
            described = parallel_map(describe, samples, arguments.workers, f"leaves, {key[0]}, {key[1]} views")
            images = [leaves for leaves, _ in described]
            affinities = [learn_affinity(others(images, fold)) for fold in range(N_FOLDS)]
        trees = merge_in_folds(images, affinities, variant)
        jobs = [(labels, tree, s) for (_, labels), tree, s in zip(described, trees, samples, strict=True)]
        figures = summarise_all(parallel_map(score_one, jobs, arguments.workers, name))
        document[name] = figures
        rows.append((name, *(f"{figures[column]:.3f}" for column in COLUMNS.values())))
    facts = {
        **run_facts(),
        "data": f"BSDS500 val, {len(samples)} images, {N_FOLDS} folds",
        "model": arguments.model.name,
    }
    print(markdown_facts(facts))
    print(f"\n{markdown_table(('leaves and merging', *COLUMNS), rows)}")
    if arguments.json:
        write_json(arguments.json, {"facts": facts, "figures": document})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--model", type=Path, required=True, help="a .safetensors file of a network that never saw val")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def describe_one(sample: Sample, model: str, n_leaves: int | None, views: str) -> tuple[Leaves, np.ndarray]:
    """Return the leaves of one image, and their labels."""
    network = load_once(model)
    maps = predict(read_image(sample.image_path), network, VIEWS[views])
    labels = basins(maps) if n_leaves is None else make_leaves(maps, n_leaves, network, PipelineConfig())
    tables = [contingency(truth, labels) for truth in sample.truths]
    return Leaves(*graph_and_statistics(labels, maps, is_connected=False), tables), labels


def basins(maps: PixelMaps) -> np.ndarray:
    """Return the watershed basins of the boundary map, smoothed by one pixel, (H, W) int32."""
    flooded = skimage.segmentation.watershed(scipy.ndimage.gaussian_filter(maps.boundary, 1.0))
    return relabel_consecutive(flooded.astype(np.int32))[0]


@functools.cache
def load_once(model: str) -> SSN:
    """Return the network; a process loads it for its first image only."""
    return load_network(model)[0]


def others(images: Sequence[Leaves], fold: int) -> list[Leaves]:
    """Return the images of all folds but one."""
    return [image for i, image in enumerate(images) if i % N_FOLDS != fold]


def merge_in_folds(images: Sequence[Leaves], affinities: Sequence[Affinity], variant: Variant) -> list[MergeTree]:
    """Return the tree of each image, using models learned on the other folds."""
    by_gnn = variant.merging.method == "gnn"
    gnns = [learn_gnn(others(images, fold), affinity) if by_gnn else None for fold, affinity in enumerate(affinities)]
    return [
        merge(
            Regions(
                image.graph,
                variant.merging,
                image.statistics,
                affinities[i % N_FOLDS] if variant.is_learned else None,
                gnns[i % N_FOLDS],
            )
        )
        for i, image in enumerate(images)
    ]


def score_one(job: tuple[np.ndarray, MergeTree, Sample]) -> tuple[HierarchyScores, list[float]]:
    """Return the scores of one tree, and the accuracy of its cuts."""
    labels, tree, sample = job
    nothing = np.zeros((int(labels.max()) + 1, 0), np.float32)
    h = Hierarchy(labels=labels, parents=tree.parents, altitudes=tree.altitudes, embeddings=nothing)
    truths = sample.truths
    cuts = [h.cut(regions=min(n, h.n_leaves)) for n in CUTS]
    accuracy = [[achievable_segmentation_accuracy(contingency(truth, cut)) for truth in truths] for cut in cuts]
    return score_hierarchy(h, truths), np.mean(accuracy, axis=1).tolist()


def summarise_all(scored: Sequence[tuple[HierarchyScores, list[float]]]) -> dict[str, float]:
    """Return the figures over all images."""
    accuracy = np.mean([cuts for _, cuts in scored], axis=0)
    return {
        **summarise([scores for scores, _ in scored]),
        **{f"asa_{n}": float(value) for n, value in zip(CUTS, accuracy, strict=True)},
    }


if __name__ == "__main__":
    main()
