"""Score superpixels and hierarchies on BSDS500, beside scikit-image's SLIC when asked for.

In   a folder with BSDS500, a split, counts of superpixels, a model
Out  means over annotators, then images, as Markdown tables, and with every image's scores as JSON when asked for
Not  no training, no choice of settings; the test split is for reporting only

    python benchmarks/quality.py --data data --split val --superpixels 200 600 --leaves 600 --peers --json val.json
"""

import argparse
import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import skimage.segmentation
from common import markdown_facts, markdown_table, parallel_map, positive_int, run_facts, write_json

import supercuts
from supercuts.datasets.base import Sample
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.root import data_root
from supercuts.evaluate import HierarchyTable, SuperpixelScores, SuperpixelTable, score_hierarchy, score_superpixels
from supercuts.metrics.region import RegionScores, RegionSummary, aggregate
from supercuts.pipeline import Model

OURS, PEER = "SuperCuts", "scikit-image slic"
N_RESAMPLES = 200  # of the images, for the margins of the hierarchy's figures


@dataclass(frozen=True, slots=True)
class Task:
    """One image and what is to be measured on it."""

    sample: Sample
    model: str
    counts: tuple[int, ...]  # superpixels asked for
    n_leaves: int  # of the hierarchy
    with_peers: bool


@dataclass(frozen=True, slots=True)
class ImageScores:
    """What one image scores: superpixels by (method, count asked for), and the hierarchy."""

    superpixels: dict[tuple[str, int], SuperpixelScores]
    hierarchy: RegionScores


def main() -> None:
    """Measure and print."""
    arguments = parse()
    samples = BSDS500(data_root(arguments.data), arguments.split)[: arguments.limit]
    tasks = [
        Task(sample, arguments.model, tuple(arguments.superpixels), arguments.leaves, arguments.peers)
        for sample in samples
    ]
    scores = parallel_map(score_image, tasks, arguments.workers, f"BSDS500 {arguments.split}")
    names = tuple(sample.name for sample in samples)
    tables = {
        key: SuperpixelTable(names, tuple(one.superpixels[key] for one in scores)) for key in scores[0].superpixels
    }
    hierarchies = HierarchyTable(names, tuple(one.hierarchy for one in scores))
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images",
        "model": arguments.model,
        "runs": "1 (deterministic); margins: 95 % over images",
    }
    print(markdown_facts(facts))
    print(f"\nSuperpixels\n\n{superpixel_markdown(tables)}")
    print(f"\nHierarchy of {arguments.leaves} leaves\n\n{hierarchy_markdown(hierarchies)}")
    if arguments.json:
        write_json(arguments.json, to_json(facts, tables, hierarchies, arguments.leaves))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test", "train+val"), default="val")
    parser.add_argument("--superpixels", type=positive_int, nargs="+", default=[200, 600])
    parser.add_argument("--leaves", type=positive_int, default=600, help="of the hierarchy")
    parser.add_argument("--model", default="compact", help="a name or a path, as supercuts.load takes it")
    parser.add_argument("--peers", action="store_true", help="also score scikit-image's SLIC at the same counts")
    parser.add_argument("--limit", type=positive_int, help="only the first so many images")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--json", type=Path, help="also write the figures, image by image, to this file")
    return parser.parse_args()


def score_image(task: Task) -> ImageScores:
    """Segment one image at every count and score it against all annotators."""
    image = supercuts.read_image(task.sample.image_path)
    truths = task.sample.truths
    model = load_once(task.model)
    trees = {count: model.segment(image, superpixels=count) for count in {*task.counts, task.n_leaves}}
    scores = {(OURS, count): score_superpixels(trees[count].labels, truths, image) for count in task.counts}
    if task.with_peers:
        for count in task.counts:
            labels = skimage.segmentation.slic(image, n_segments=count, start_label=0)
            scores[PEER, count] = score_superpixels(labels, truths, image)
    return ImageScores(scores, score_hierarchy(trees[task.n_leaves], truths))


@functools.cache
def load_once(model: str) -> Model:
    """Return the model; a process loads it for its first image only."""
    return supercuts.load(model)


def superpixel_markdown(tables: dict[tuple[str, int], SuperpixelTable]) -> str:
    """Return one row for each method and count: mean and margin of each score."""
    columns = {
        "ASA": "asa",
        "UE": "undersegmentation_error",
        "BR": "boundary_recall",
        "BP": "boundary_precision",
        "compactness": "compactness",
        "EV": "explained_variation",
    }
    rows = []
    for (method, count), table in tables.items():
        mean, margin = table.mean, table.margin_95
        actual = [scores.n_superpixels for scores in table.scores]
        cells = [f"{getattr(mean, name):.4f} ± {getattr(margin, name):.4f}" for name in columns.values()]
        rows.append((method, str(count), f"{mean.n_superpixels:.1f} ({min(actual):.0f}-{max(actual):.0f})", *cells))
    return markdown_table(("method", "asked for", "superpixels (range)", *columns), rows)


def hierarchy_markdown(table: HierarchyTable) -> str:
    """Return the benchmark's figures with their margins and the thresholds of ODS."""
    value, margin = asdict(table.summary), asdict(margin_95(table.scores))
    rows = []
    for name, label in (("covering", "covering"), ("pri", "PRI"), ("vi", "VI (lower is better)")):
        cells = [
            f"{value[key]:.4f} ± {margin[key]:.4f}" if (key := f"{name}_{kind}") in value else "-"
            for kind in ("ods", "ois", "best")
        ]
        rows.append((label, *cells, f"{value[f'{name}_threshold']:.2f}"))
    return markdown_table(("score", "ODS", "OIS", "best", "threshold of ODS"), rows)


def margin_95(scores: Sequence[RegionScores]) -> RegionSummary:
    """Return half the width of each figure's 95 % interval: the images are drawn again and again with replacement."""
    rng = np.random.default_rng(0)
    drawn = [aggregate([scores[i] for i in rng.integers(len(scores), size=len(scores))]) for _ in range(N_RESAMPLES)]
    spread = np.std([list(asdict(summary).values()) for summary in drawn], axis=0)
    return RegionSummary(*(1.96 * spread).tolist())


def to_json(
    facts: dict[str, str], tables: dict[tuple[str, int], SuperpixelTable], hierarchies: HierarchyTable, n_leaves: int
) -> dict[str, object]:
    """Return all figures, with the scores of each image."""
    return {
        "facts": facts,
        "superpixels": [
            {
                "method": method,
                "asked_for": count,
                "mean": asdict(table.mean),
                "margin_95": asdict(table.margin_95),
                "images": {name: asdict(one) for name, one in zip(table.names, table.scores, strict=True)},
            }
            for (method, count), table in tables.items()
        ],
        "hierarchy": {
            "leaves": n_leaves,
            "summary": asdict(hierarchies.summary),
            "margin_95": asdict(margin_95(hierarchies.scores)),
            "images": {
                name: {
                    "covering": one.covering.tolist(),
                    "rand_index": one.rand_index.tolist(),
                    "variation_of_information": one.variation_of_information.tolist(),
                    "n_regions": one.n_regions.tolist(),
                    "best_covering": one.best_overlap / one.area,
                }
                for name, one in zip(hierarchies.names, hierarchies.scores, strict=True)
            },
        },
    }


if __name__ == "__main__":
    main()
