"""Select the object of each image by simulated clicks and count how many it takes.

In   a folder with ECSSD (images/, ground_truth_mask/ with masks > 127), a model
Out  mean IoU after 1, 2, ... clicks and the median number of clicks to an IoU of 0.85
Not  training; --fit prints the logistic regressions that the weights in hierarchy/selection.py come from

    python benchmarks/clicks.py --workers 2
    python benchmarks/clicks.py --predictor > docs/results/predictor.md

A click lies at the centre (the pixel farthest from its border) of the largest connected error region: on the object
where it was missed, on the background where too much was taken. Images that never reach 0.85 count as one click more
than the most. The weights in hierarchy/selection.py were fitted and chosen on the first 206 images; both parts are
printed.

--predictor measures SuperCutsPredictor and SuperCutsMaskGenerator instead, on 30 of the other images: the best of the
three masks for one click in the centre of the object, the single mask after two clicks, and the share of masks that the
default thresholds of Segment Anything keep.
"""

import argparse
import functools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, parallel_map, positive_int, run_facts
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression

import supercuts
from supercuts.datasets.sample import data_root
from supercuts.export.sam import SuperCutsMaskGenerator
from supercuts.export.sam_predictor import SuperCutsPredictor
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.selection import click_features
from supercuts.hierarchy.tree import Hierarchy
from supercuts.model import Model

ENOUGH = 0.85
PURE = 0.05  # a node with less of the other kind is not mixed
N_PROMPTED = 30  # images of --predictor, evenly spaced among the others
SAM_FILTERS = {"pred_iou_thresh": 0.88, "stability_score_thresh": 0.95}  # defaults of Segment Anything
N_FITTED = 206  # images, the first by name, that the weights of hierarchy/selection.py were chosen on


@dataclass(frozen=True, slots=True)
class Task:
    """One image, its mask and how it is segmented."""

    image: Path
    mask: Path
    model: str
    n_leaves: int
    n_clicks: int


@dataclass(frozen=True, slots=True)
class Curve:
    """IoU after each click, and the seconds that the slowest answer took."""

    iou: np.ndarray
    seconds: float


def main() -> None:
    """Measure and print."""
    arguments = parse()
    root = data_root(arguments.data) / "ECSSD"
    images = sorted((root / "images").glob("*.jpg"))[: arguments.limit]
    if not images:
        raise SystemExit(f"no images in {root / 'images'}: put ECSSD there or give --data")
    tasks = [
        Task(path, root / "ground_truth_mask" / f"{path.stem}.png", arguments.model, arguments.leaves, arguments.clicks)
        for path in images
    ]
    if arguments.predictor:
        held_out = tasks[N_FITTED:] or tasks
        chosen = [
            held_out[i] for i in np.linspace(0, len(held_out) - 1, min(N_PROMPTED, len(held_out))).round().astype(int)
        ]
        report_prompts(chosen, parallel_map(prompt, chosen, arguments.workers, "ECSSD"))
        return
    if arguments.fit:
        fit(parallel_map(describe, tasks[:N_FITTED], arguments.workers, "ECSSD"))
        return
    curves = parallel_map(click, tasks, arguments.workers, "ECSSD")
    facts = {
        **run_facts(),
        "data": f"ECSSD, {len(images)} images, {arguments.leaves} superpixels",
        "model": arguments.model,
        "slowest answer": f"{1000 * float(np.median([curve.seconds for curve in curves])):.1f} ms, median over images",
    }
    print(markdown_facts(facts))
    parts = {"all": curves, f"first {N_FITTED}": curves[:N_FITTED], "others": curves[N_FITTED:]}
    columns = (
        "images",
        *(str(k) for k in range(1, arguments.clicks + 1)),
        f"median clicks to {ENOUGH}",
        "within 5",
        "reach it",
    )
    print(
        f"\nMean IoU after each click:\n\n{markdown_table(columns, [row(*part) for part in parts.items() if part[1]])}"
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data root; default: SUPERCUTS_DATA")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--leaves", type=positive_int, default=600)
    parser.add_argument("--clicks", type=positive_int, default=10, help="most clicks on an image")
    parser.add_argument("--limit", type=positive_int, help="only the first images")
    parser.add_argument("--fit", action="store_true", help="fit the weights of nodes instead of clicking")
    parser.add_argument("--predictor", action="store_true", help="measure the predictor and the mask generator")
    parser.add_argument("--workers", type=positive_int, default=1)
    return parser.parse_args()


@functools.cache
def load_model(name: str) -> Model:
    """Return the model; each process loads it once."""
    return supercuts.load(name)


def load_task(task: Task) -> tuple[Hierarchy, np.ndarray]:
    """Return the hierarchy of one image and the mask (H, W) of its object."""
    with Image.open(task.mask) as mask:
        truth = np.asarray(mask.convert("L")) > 127
    return load_model(task.model).segment(task.image, superpixels=task.n_leaves), truth


def click(task: Task) -> Curve:
    """Segment one image and click until the budget is used up."""
    return simulate(*load_task(task), task.n_clicks)


def describe(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features (M, 4) of the nodes below mixed ones, the foreground's share of each, and which are no leaves."""
    h, truth = load_task(task)
    leaf_inside = np.bincount(h.labels[truth], minlength=h.n_leaves)
    share = _kernels.sum_to_root(h.parents, leaf_inside) / h.areas()
    is_mixed = (share > PURE) & (share < 1 - PURE)
    is_reached = np.ones(h.n_nodes, bool)
    for node in range(h.root - 1, -1, -1):
        is_reached[node] = is_reached[h.parents[node]] and is_mixed[h.parents[node]]
    features = click_features(h.labels, h.parents, h.altitudes, h.n_leaves)
    return features[is_reached], share[is_reached], (np.arange(h.n_nodes) >= h.n_leaves)[is_reached]


def fit(described: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Print the constant and the weights of both regressions."""
    features, share, is_inner = (np.concatenate(part) for part in zip(*described, strict=True))
    is_mixed = (share > PURE) & (share < 1 - PURE)
    for name, target, rows in (("mixed", is_mixed, is_inner), ("foreground", share > 0.5, ~is_mixed)):
        model = LogisticRegression(C=10).fit(features[rows], target[rows])
        print(name, np.round([model.intercept_[0], *model.coef_[0]], 3), f"{rows.sum()} nodes")


class Segmented:
    """A model whose image is segmented already."""

    def __init__(self, h: Hierarchy) -> None:
        self.h = h

    def segment(self, image: object) -> Hierarchy:
        """Return the hierarchy."""
        return self.h


def prompt(task: Task) -> list[float]:
    """Return the figures of one image that report_prompts prints: four IoUs and two numbers of masks."""
    h, truth = load_task(task)
    model = Segmented(h)
    predictor = SuperCutsPredictor(model)
    predictor.set_image(h.image)
    clicks = [next_click(truth, np.zeros_like(truth))]
    masks, scores = predict(predictor, clicks, multimask=True)
    three = [iou_of(mask, truth) for mask in masks]
    single = []
    for _ in range(2):
        masks, _ = predict(predictor, clicks, multimask=False)
        single.append(iou_of(masks[0], truth))
        if (masks[0] != truth).any():
            clicks.append(next_click(truth, masks[0]))
    n_masks, n_kept = (len(SuperCutsMaskGenerator(model, **how).generate(h.image)) for how in ({}, SAM_FILTERS))
    return [max(three), three[int(scores.argmax())], *single, n_masks, n_kept]


def predict(
    predictor: SuperCutsPredictor, clicks: list[tuple[int, tuple[int, int]]], multimask: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks and the scores for clicks as next_click returns them."""
    coords = np.array([point[::-1] for _, point in clicks])
    labels = np.array([int(label == 1) for label, _ in clicks])
    masks, scores, _ = predictor.predict(coords, labels, multimask_output=multimask)
    return masks, scores


def iou_of(selected: np.ndarray, truth: np.ndarray) -> float:
    """Return the intersection over union of two masks."""
    return float((selected & truth).sum() / (selected | truth).sum())


def report_prompts(tasks: list[Task], rows: list[list[float]]) -> None:
    """Print the means and medians over images."""
    data = f"ECSSD, {len(tasks)} images not used to fit, {tasks[0].n_leaves} superpixels"
    print("# Results: SuperCutsPredictor and SuperCutsMaskGenerator\n")
    print("Written by `python benchmarks/clicks.py --predictor`.\n")
    print(markdown_facts({**run_facts(), "data": data, "model": tasks[0].model}))
    values = np.array(rows)
    names = ("one click, best of three masks", "one click, mask of the best score", "one click, single mask",
             "two clicks, single mask")  # fmt: skip
    lines = [
        (name, f"{column.mean():.3f}", f"{np.median(column):.3f}")
        for name, column in zip(names, values[:, :4].T, strict=True)
    ]
    print(f"\n{markdown_table(('IoU with the object', 'mean', 'median'), lines)}\n")
    n_masks, n_kept = values[:, 4].mean(), values[:, 5].mean()
    share = values[:, 5].sum() / values[:, 4].sum()
    print(f"Masks per image: {n_masks:.0f}; with {SAM_FILTERS}: {n_kept:.0f} ({share:.0%}).")


def simulate(h: Hierarchy, truth: np.ndarray, n_clicks: int) -> Curve:
    """Return the curve of one object; a perfect answer is kept for the clicks that are left."""
    selected = np.zeros_like(truth)
    points: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    iou, slowest = [], 0.0
    for _ in range(n_clicks):
        if (selected != truth).any():
            label, point = next_click(truth, selected)
            points[label].append(point)
            start = time.perf_counter()
            selected = h.select(points=points)
            slowest = max(slowest, time.perf_counter() - start)
        iou.append(iou_of(selected, truth))
    return Curve(np.array(iou), slowest)


def next_click(truth: np.ndarray, selected: np.ndarray) -> tuple[int, tuple[int, int]]:
    """Return the label and the centre (y, x) of the largest error region."""
    largest: tuple[int, int, np.ndarray] = (0, 1, truth)
    for label, error in ((1, truth & ~selected), (2, selected & ~truth)):
        regions, n_regions = ndimage.label(error)
        sizes = np.bincount(regions.ravel(), minlength=n_regions + 1)[1:]
        if n_regions and sizes.max() > largest[0]:
            largest = (int(sizes.max()), label, regions == sizes.argmax() + 1)
    depth = ndimage.distance_transform_edt(np.pad(largest[2], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return largest[1], (int(y), int(x))


def row(name: str, curves: list[Curve]) -> list[str]:
    """Return one line of the table."""
    iou = np.stack([curve.iou for curve in curves])
    enough = iou >= ENOUGH
    needed = np.where(enough.any(1), enough.argmax(1) + 1, iou.shape[1] + 1)
    means = [f"{value:.3f}" for value in iou.mean(0)]
    return [
        f"{name} ({len(curves)})",
        *means,
        f"{np.median(needed):g}",
        *(f"{(needed <= n).mean():.0%}" for n in (5, iou.shape[1])),
    ]


if __name__ == "__main__":
    main()
