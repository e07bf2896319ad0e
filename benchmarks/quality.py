"""Score superpixels and hierarchies of a model on BSDS500: the figures of README and of the model card.

In   a folder with BSDS500, a split, counts of superpixels, a model
Out  means over annotators, then images, as Markdown tables; with --json every figure of `supercuts evaluate`
Not  no training, no choice of settings; the test split is for reporting only

    python benchmarks/quality.py --data data --split val --superpixels 200 600 1000 --leaves 600 --json val.json
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import markdown_facts, markdown_table, positive_int, run_facts, score, write_json

import supercuts
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import data_root
from supercuts.evaluate import report, scorers
from supercuts.evaluate.hierarchies import HierarchyScores
from supercuts.evaluate.superpixels import ANNOTATORS
from supercuts.metrics.region import THRESHOLDS, PooledIoU, aggregate_pooled_iou
from supercuts.networks.network import weights_path

SUPERPIXEL_COLUMNS = {
    "ASA": "asa",
    "UE": "undersegmentation_error",
    "BR": "boundary_recall",
    "BP": "boundary_precision",
    "compactness": "compactness",
    "EV": "explained_variation",
}
HIERARCHY_ROWS = {
    "covering": ("covering_ods", "covering_ois", "covering_best"),
    "PRI": ("pri_ods", "pri_ois", None),
    "VI (lower is better)": ("vi_ods", "vi_ois", None),
    "boundary F": ("boundary_ods_f", "boundary_ois_f", None),
    "boundary AP": ("boundary_ap", None, None),
    "objects and parts F": ("objects_parts_ods_f", "objects_parts_ois_f", None),
    "mIoU, mean of all, fine, coarse": ("miou_mean", None, None),
    "Jaccard, best cut": (None, "best_cut", None),
    "Jaccard, best node": (None, None, "best_node"),
}


def main() -> None:
    """Measure and print."""
    arguments = parse()
    samples = BSDS500(data_root(arguments.data), arguments.split)[: arguments.limit]
    weights = weights_path(arguments.model)
    compared = [
        scorers.of_model(str(n), samples, scorers.SuperpixelsOfModel(arguments.model, n), weights)
        for n in arguments.superpixels
    ]
    compared += [
        scorers.of_model(f"cut {n}", samples, scorers.SuperpixelsOfModel(arguments.model, arguments.leaves, n), weights)
        for n in arguments.cuts
    ]
    trees = [
        scorers.of_model(
            str(arguments.leaves), samples, scorers.HierarchyOfModel(arguments.model, arguments.leaves, True), weights
        )
    ]
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images",
        "model": arguments.model,
        "runs": "1 (deterministic); intervals: 95 %, bootstrap over images",
    }
    superpixels = report.superpixel_document(facts, score(compared, arguments.workers))
    scored = score(trees, arguments.workers)
    hierarchy = report.hierarchy_document(facts, scored)
    print(markdown_facts(facts))
    for over in ANNOTATORS:
        table = superpixel_markdown(superpixels["methods"], over)
        print(f"\nSuperpixels, then cuts of {arguments.leaves} leaves, {over} over annotators\n\n{table}")
    print(f"\nHierarchy of {arguments.leaves} leaves\n\n{hierarchy_markdown(hierarchy['methods'][0])}")
    levels = level_rows(list(scored[0].scores.values()), supercuts.load(arguments.model).levels)
    print(f"\nmIoU at the levels\n\n{markdown_table(('level', 'altitude', 'all', 'fine', 'coarse'), levels)}")
    if arguments.json:
        write_json(arguments.json, {"superpixels": superpixels, "hierarchy": hierarchy})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test", "train+val"), default="val")
    parser.add_argument("--superpixels", type=positive_int, nargs="+", default=[200, 600, 1000])
    parser.add_argument("--cuts", type=positive_int, nargs="+", default=[50, 100, 200], help="regions of the hierarchy")
    parser.add_argument("--leaves", type=positive_int, default=600, help="of the hierarchy")
    parser.add_argument("--model", default="compact", help="a name or a path, as supercuts.load takes it")
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--json", type=Path, help="also write the figures, image by image, to this file")
    return parser.parse_args()


def superpixel_markdown(entries: Sequence[Mapping[str, Any]], over: str) -> str:
    """Return one row for each count: value and 95 % interval of each score."""
    rows = [
        (
            f"{entry['figures'][over]['n_superpixels']:.1f}",
            *(cell(entry, over, name) for name in SUPERPIXEL_COLUMNS.values()),
        )
        for entry in entries
    ]
    return markdown_table(("superpixels", *SUPERPIXEL_COLUMNS), rows)


def hierarchy_markdown(entry: Mapping[str, Any]) -> str:
    """Return one row for each benchmark: at the dataset's scale, at the image's, and at its own for each region."""
    rows = [
        (label, *("-" if name is None else cell(entry, None, name) for name in names))
        for label, names in HIERARCHY_ROWS.items()
    ]
    return markdown_table(("score", "ODS", "OIS", "best"), rows)


def level_rows(scores: Sequence[HierarchyScores], levels: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Return one row for each level: mIoU of its cuts with all annotators, with each image's finest and coarsest."""
    rows = []
    for name, altitude in levels.items():
        at = int(np.abs(THRESHOLDS - altitude).argmin())  # levels are thresholds of the benchmark
        parts = [score.pooled_iou for score in scores if score.pooled_iou is not None]
        summary = aggregate_pooled_iou([PooledIoU(p.thresholds[[at]], p.sums[:, [at]], p.n_regions) for p in parts])
        rows.append((name, f"{altitude:.2f}", *(f"{v:.4f}" for v in (summary.all, summary.fine, summary.coarse))))
    return rows


def cell(entry: Mapping[str, Any], over: str | None, name: str) -> str:
    """Return a figure with its interval."""
    figures, intervals = entry["figures"], entry["interval_95"]
    value = (figures[over] if over else figures)[name]
    low, high = (intervals[over] if over else intervals)[name]
    return f"{value:.4f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
