"""Segment with the masks of ten simulated detectors as priors and report which masks are nodes of the tree.

In   a folder with BSDS500, a model
Out  for each detector, the best-node Jaccard index of masks that cross no other, and of those that do
Not  real detectors: masks are an annotator's regions with the faults of a detector

    python benchmarks/priors.py > docs/results/priors.md

Each detector loses three of ten regions, gives each mask a random score, and has its own faults: masks that are moved,
grown over their neighbours, pierced by holes, in fragments, or boxes. A mask is consistent if it crosses no other mask
of the detector. The closest of crossing masks that are no node is the one that had to give least.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, parallel_map, positive_int, run_facts
from scipy import ndimage

import supercuts
from supercuts.datasets.bsds500 import BSDS500, load_truths
from supercuts.datasets.sample import Sample, data_root
from supercuts.model import Model

LEAST_AREA = 100  # pixels; a detector misses smaller regions
DROPPED = 0.3


def moved(mask: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """Return the mask moved by up to `most` pixels along each axis."""
    return ndimage.shift(mask, rng.integers(-most, most + 1, 2), order=0)


def grown(mask: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """Return the mask dilated by 1 to `most` pixels."""
    return ndimage.binary_dilation(mask, iterations=int(rng.integers(1, most + 1)))


def pierced(mask: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """Return the mask with up to `most` square holes of 3 to 9 pixels."""
    mask = mask.copy()
    places = np.argwhere(mask)
    for y, x in places[rng.integers(0, len(places), rng.integers(1, most + 1))]:
        side = rng.integers(3, 10)
        mask[y : y + side, x : x + side] = False
    return mask


def split(mask: np.ndarray, _: np.random.Generator, width: int) -> np.ndarray:
    """Return the mask without a vertical stripe in its middle: two pieces of one object."""
    middle = int(np.median(np.nonzero(mask)[1]))
    mask = mask.copy()
    mask[:, middle : middle + width] = False
    return mask


def boxed(mask: np.ndarray, _: np.random.Generator, margin: int) -> np.ndarray:
    """Return the bounding box of the mask with a margin."""
    rows, columns = ndimage.find_objects(mask.astype(np.int8))[0]
    box = np.zeros_like(mask)
    box[max(rows.start - margin, 0) : rows.stop + margin, max(columns.start - margin, 0) : columns.stop + margin] = True
    return box


Fault = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]
DETECTORS: dict[str, list[tuple[Fault, int]]] = {
    "complete masks": [],
    "moved by up to 1 px": [(moved, 1)],
    "moved by up to 4 px": [(moved, 4)],
    "grown by up to 2 px": [(grown, 2)],
    "grown by up to 6 px": [(grown, 6)],
    "with holes": [(pierced, 3)],
    "in two pieces": [(split, 3)],
    "boxes": [(boxed, 0)],
    "grown, with holes": [(grown, 3), (pierced, 3)],
    "moved, grown, with holes, in pieces": [(moved, 3), (grown, 3), (pierced, 2), (split, 2)],
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Best-node Jaccard indices of one detector on one image.

    consistent  of masks that cross no other
    crossing    of the others
    """

    consistent: np.ndarray
    crossing: np.ndarray


@dataclass(frozen=True, slots=True)
class Task:
    """One image and how it is segmented."""

    sample: Sample
    model: str
    n_leaves: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data root; default: SUPERCUTS_DATA")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--leaves", type=positive_int, default=600)
    parser.add_argument("--limit", type=positive_int, default=50, help="number of images, evenly spaced in test")
    parser.add_argument("--workers", type=positive_int, default=1)
    arguments = parser.parse_args()
    samples = list(BSDS500(data_root(arguments.data), "test"))
    samples = [samples[i] for i in np.linspace(0, len(samples) - 1, arguments.limit).round().astype(int)]
    tasks = [Task(sample, arguments.model, arguments.leaves) for sample in samples]
    outcomes = parallel_map(measure, tasks, arguments.workers, "BSDS500")
    facts = {
        **run_facts(),
        "data": f"BSDS500 test, {len(samples)} images, {arguments.leaves} superpixels",
        "model": arguments.model,
    }
    print("# Results: masks of detectors as priors\n\nWritten by `python benchmarks/priors.py`.\n")
    print(markdown_facts(facts))
    columns = ("detector", "consistent masks", "lowest J", "crossing masks", "nodes", "mean J of the others", "J < 0.5")
    rows = [row(name, [outcome[name] for outcome in outcomes]) for name in DETECTORS]
    print(f"\n{markdown_table(columns, rows)}")


def row(name: str, outcomes: list[Outcome]) -> list[str]:
    """Return the figures of one detector."""
    consistent, crossing = (np.concatenate([getattr(o, key) for o in outcomes]) for key in ("consistent", "crossing"))
    others = crossing[crossing < 1]
    lowest = f"{consistent.min():.3f}" if consistent.size else "-"
    mean = f"{others.mean():.3f}" if others.size else "-"
    n_nodes, n_low = crossing.size - others.size, np.count_nonzero(others < 0.5)
    return [name, str(consistent.size), lowest, str(crossing.size), str(n_nodes), mean, str(n_low)]


def measure(task: Task) -> dict[str, Outcome]:
    """Segment one image with the masks of each detector."""
    truth = load_truths(task.sample)[0]
    regions = [truth == label for label in np.unique(truth) if np.count_nonzero(truth == label) >= LEAST_AREA]
    return {
        name: score(load_model(task.model), task, detect(regions, faults, np.random.default_rng([k, truth.size])))
        for k, (name, faults) in enumerate(DETECTORS.items())
    }


def detect(regions: list[np.ndarray], faults: list[tuple[Fault, int]], rng: np.random.Generator) -> list[dict]:
    """Return the masks of a detector with these faults, in the format of SAM."""
    detections = []
    for region in regions:
        if rng.random() >= DROPPED:
            mask = functools.reduce(lambda mask, fault: fault[0](mask, rng, fault[1]), faults, region)
            if mask.any():
                detections.append({"segmentation": mask, "predicted_iou": float(rng.random())})
    return detections


def score(model: Model, task: Task, detections: list[dict]) -> Outcome:
    """Return the best-node Jaccard index of each mask; the tree is validated and has the requested leaves."""
    if not detections:
        return Outcome(np.empty(0), np.empty(0))
    h = model.segment(task.sample.image_path, task.n_leaves, priors=detections)
    if h.n_leaves != task.n_leaves or h.n_nodes != 2 * h.n_leaves - 1:
        raise SystemExit(f"{task.sample.name}: {h.n_leaves} leaves and {h.n_nodes} nodes")
    ranked = sorted(detections, key=lambda detection: -detection["predicted_iou"])
    is_consistent = ~crosses_any(np.array([detection["segmentation"] for detection in ranked]))
    iou = supercuts.report_priors(h, detections).iou
    return Outcome(iou[is_consistent], iou[~is_consistent])


def crosses_any(masks: np.ndarray) -> np.ndarray:
    """Return whether each mask overlaps another without one containing the other.

    >>> crosses_any(np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)).tolist()
    [True, True, False]
    """
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    common, areas = flat @ flat.T, flat.sum(axis=1)
    return ((common > 0) & (common < np.minimum(areas[:, None], areas))).any(axis=1)


@functools.cache
def load_model(name: str) -> Model:
    """Return the model; each process loads it once."""
    return supercuts.load(name)


if __name__ == "__main__":
    main()
