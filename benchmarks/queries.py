"""Time queries on a finished hierarchy: cuts, clicks, scribbles, edits, objects, parts.

In   a model, a photograph, a number of superpixels
Out  median milliseconds of each query, the first run not counted
Not  no accuracy (clicks.py, supercuts evaluate)

    python benchmarks/queries.py --runs 20
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, positive_int, run_facts
from merging import median_ms
from PIL import Image

import supercuts
from supercuts.images.io import read_image

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "photo.jpg"
SIZES = {"321 x 481": (321, 481), "1155 x 1732": (1155, 1732)}  # the images of BSDS500, and 2 megapixels
SLOW = ("deepcut", "deepcut_cc")  # optimise a network on the image


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=positive_int, default=20, help="of each query")
    parser.add_argument("--superpixels", type=positive_int, default=600)
    arguments = parser.parse_args()
    model = supercuts.load("compact")
    photo = Image.fromarray(read_image(PHOTO))
    trees = [
        model.segment(np.array(photo.resize(size[::-1])), superpixels=arguments.superpixels) for size in SIZES.values()
    ]
    columns = [
        {name: median_ms(run, 3 if name.split(": ")[-1] in SLOW else arguments.runs) for name, run in asked.items()}
        for asked in (queries(model, h) for h in trees)
    ]
    rows = [(name, *(f"{column[name]:.1f}" for column in columns)) for name in columns[0]]
    facts = {"superpixels": str(arguments.superpixels), "runs": f"{arguments.runs} (median), of DeepCut 3"}
    print(markdown_facts({**run_facts(), **facts}))
    print(f"\n{markdown_table(('query, ms', *SIZES), rows)}")


def queries(model: supercuts.Model, h: supercuts.Hierarchy) -> dict[str, Callable[[], object]]:
    """Return the queries by name."""
    height, width = h.shape
    middle, corner = (height // 2, width // 2), (5, 5)
    box = (height // 4, width // 4, 3 * height // 4, 3 * width // 4)
    strokes = {1: [[(height // 2, width // 3), middle]], 2: [[corner, (5, width - 5)]]}
    mask = np.zeros(h.shape, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    first, second = (int(node) for node in h.cut_nodes(regions=8)[:2])
    asked: dict[str, Callable[[], object]] = {
        "cut: 50 regions": lambda: h.cut(regions=50),
        "cut: 50 regions, 70 % of them in a focus": lambda: h.cut(regions=50, focus=mask, budget=0.7),
        "contour map": h.ucm,
        "select: point": lambda: h.select(point=middle),
        "select: two clicks": lambda: h.select(points={1: [middle], 2: [corner]}),
        "select: box": lambda: h.select(box=box),
        "select: box, up to eight nodes": lambda: h.select(box=box, max_nodes=8),
        "select: two strokes": lambda: h.select(scribbles=strokes),
        "merge": lambda: h.merge(first, second),
        "split": lambda: h.split(h.root),
        "lock": lambda: h.lock(first),
    }
    for method in ("tree", "tokencut", "deep_spectral", "lost", *SLOW):
        asked[f"objects: {method}"] = lambda method=method: model.objects(h, method=method)
    for method in ("tree", "spectral", "deepcut"):
        asked[f"parts: {method}"] = lambda method=method: model.parts(h, 4, method=method)
    return asked


if __name__ == "__main__":
    main()
