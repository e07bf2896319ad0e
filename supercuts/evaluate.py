"""Score predictions over a dataset: superpixels one by one, hierarchies as the BSDS500 benchmark does.

In   Samples, and for each a label map (H, W) or a hierarchy; or a function that makes one from the image
Out  tables that keep every image's scores beside the figures over all images
Not  no files but the samples' own, no boundary matching, no printing
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from supercuts.core.arrays import contingency
from supercuts.core.errors import InputError
from supercuts.datasets.base import Sample
from supercuts.images.color import rgb_to_lab
from supercuts.images.io import read_image
from supercuts.metrics import superpixel
from supercuts.metrics.region import THRESHOLDS, RegionScores, RegionSummary, aggregate, tree_scores
from supercuts.metrics.superpixel import check_label_map

_Prediction = TypeVar("_Prediction")


@runtime_checkable  # the tests check annotations at run time
class HierarchyArrays(Protocol):
    """What is read of a hierarchy: leaf ids of pixels (H, W), parents (M,) and altitudes (M,), leaves first."""

    @property
    def labels(self) -> np.ndarray:
        """(H, W) integers: the leaf of each pixel."""

    @property
    def parents(self) -> np.ndarray:
        """(M,) integers above their index; the root, last, is its own parent."""

    @property
    def altitudes(self) -> np.ndarray:
        """(M,) floats that rise towards the root."""


@dataclass(frozen=True, slots=True)
class SuperpixelScores:
    """Scores of one label map, or their mean over images; the first four are means over annotators.

    asa                      in (0, 1], higher is better; the corrected undersegmentation error is 1 - asa
    undersegmentation_error  Neubert and Protzel, lower is better
    boundary_recall, boundary_precision  within 0.0025 of the diagonal
    compactness              in (0, pi/4]
    explained_variation      in [0, 1], of the Lab colours; NaN without an image
    n_superpixels            ids present
    n_fragments              4-connected components beyond one per id
    """

    asa: float
    undersegmentation_error: float
    boundary_recall: float
    boundary_precision: float
    compactness: float
    explained_variation: float
    n_superpixels: float
    n_fragments: float


@dataclass(frozen=True, slots=True)
class SuperpixelTable:
    """Superpixel scores over a dataset; names and scores (one per image) are in the order of the samples."""

    names: tuple[str, ...]
    scores: tuple[SuperpixelScores, ...]

    @property
    def mean(self) -> SuperpixelScores:
        """The mean of each score over images."""
        return SuperpixelScores(*np.mean([astuple(scores) for scores in self.scores], axis=0).tolist())

    @property
    def margin_95(self) -> SuperpixelScores:
        """Half the width of each mean's 95 % confidence interval over images (normal approximation); NaN for one."""
        values = np.array([astuple(scores) for scores in self.scores])
        spread = np.std(values, axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
        return SuperpixelScores(*(1.96 * spread / np.sqrt(len(values))).tolist())


@dataclass(frozen=True, slots=True, eq=False)
class HierarchyTable:
    """Region scores over a dataset; names and scores (one per image) are in the order of the samples."""

    names: tuple[str, ...]
    scores: tuple[RegionScores, ...]

    @property
    def summary(self) -> RegionSummary:
        """Covering, PRI and VI at ODS and OIS over all images."""
        return aggregate(self.scores)


def score_superpixels(
    labels: Int[np.ndarray, "height width"],
    truths: Sequence[np.ndarray],
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> SuperpixelScores:
    """Score one label map against all annotators' (H, W) segmentations; ids may have gaps.

    >>> truth = np.array([[0, 0, 1, 1]])
    >>> scores = score_superpixels(np.array([[0, 1, 1, 1]]), [truth])
    >>> scores.asa, scores.undersegmentation_error, scores.n_superpixels
    (0.75, 0.5, 2.0)
    """
    check_label_map("labels", labels)
    _check_truths(labels, truths)
    tables = [contingency(truth, labels) for truth in truths]
    lab = None if image is None else rgb_to_lab(image)
    return SuperpixelScores(
        asa=_mean(superpixel.achievable_segmentation_accuracy(table) for table in tables),
        undersegmentation_error=_mean(superpixel.undersegmentation_error(table) for table in tables),
        boundary_recall=_mean(superpixel.boundary_recall(truth, labels) for truth in truths),
        boundary_precision=_mean(superpixel.boundary_precision(truth, labels) for truth in truths),
        compactness=superpixel.compactness(labels),
        explained_variation=float("nan") if lab is None else superpixel.explained_variation(lab, labels),
        n_superpixels=float(np.count_nonzero(tables[0].sum(axis=0))),
        n_fragments=float(superpixel.n_fragments(labels)),
    )


def score_hierarchy(
    hierarchy: HierarchyArrays,
    truths: Sequence[np.ndarray],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
) -> RegionScores:
    """Score the cuts of one hierarchy at every threshold (altitude <= threshold is merged); truths are (H, W)."""
    check_label_map("hierarchy.labels", hierarchy.labels)
    _check_truths(hierarchy.labels, truths)
    tables = [contingency(truth, hierarchy.labels) for truth in truths]
    return tree_scores(tables, hierarchy.parents, hierarchy.altitudes, thresholds)


def evaluate_superpixels(
    predictions: Callable[[np.ndarray], np.ndarray] | Iterable[np.ndarray], samples: Sequence[Sample]
) -> SuperpixelTable:
    """Score label maps, one per sample in the same order, or made one at a time by a function of the RGB image."""
    scores = []
    for sample, image, labels in _predict(predictions, samples):
        with _naming(sample.name):
            image = read_image(sample.image_path) if image is None else image
            scores.append(score_superpixels(labels, sample.truths, image))
    return SuperpixelTable(tuple(sample.name for sample in samples), tuple(scores))


def evaluate_hierarchies(
    predictions: Callable[[np.ndarray], HierarchyArrays] | Iterable[HierarchyArrays],
    samples: Sequence[Sample],
    thresholds: Float[np.ndarray, " thresholds"] = THRESHOLDS,
) -> HierarchyTable:
    """Score hierarchies, one per sample in the same order, or made one at a time by a function of the RGB image."""
    scores = []
    for sample, _, hierarchy in _predict(predictions, samples):
        with _naming(sample.name):
            scores.append(score_hierarchy(hierarchy, sample.truths, thresholds))
    return HierarchyTable(tuple(sample.name for sample in samples), tuple(scores))


def _predict(
    predictions: Callable[[np.ndarray], _Prediction] | Iterable[_Prediction], samples: Sequence[Sample]
) -> Iterator[tuple[Sample, np.ndarray | None, _Prediction]]:
    """Yield each sample with its prediction, and with its image if that had to be read to predict."""
    if len(samples) == 0:
        raise InputError("There are no samples: give a dataset or a list of its samples.")
    if callable(predictions):
        for sample in samples:
            with _naming(sample.name):
                image = read_image(sample.image_path)
                prediction = predictions(image)
            yield sample, image, prediction
        return
    n_given = 0
    for prediction in predictions:
        if n_given == len(samples):
            raise InputError(f"There are more predictions than the {n_given} samples: give one for each, in order.")
        yield samples[n_given], None, prediction
        n_given += 1
    if n_given < len(samples):
        raise InputError(f"There are {n_given} predictions for {len(samples)} samples: give one for each, in order.")


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Add the name of the image to whatever error passes."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while scoring image {name}")
        raise


def _check_truths(labels: np.ndarray, truths: Sequence[np.ndarray]) -> None:
    if len(truths) == 0:
        raise InputError("There are no annotators: give at least one truth segmentation.")
    for truth in truths:
        check_label_map("truth", truth)
        if truth.shape != labels.shape:
            raise InputError(
                f"truth {truth.shape} and prediction {labels.shape} differ in shape: score label maps of one image."
            )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
