"""Score superpixels: one label map against all annotators, and means over a dataset."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from jaxtyping import Int, UInt8

from supercuts.core.arrays import arrays_repr, contingency
from supercuts.core.checks import check_choice
from supercuts.datasets.sample import Sample
from supercuts.evaluate.parallel import bootstrap_95, check_truths, naming, pair
from supercuts.images.convert import rgb_to_lab
from supercuts.images.io import read_image
from supercuts.metrics import superpixel

ANNOTATORS = ("mean", "best", "worst")
_LOWER_IS_BETTER = ("undersegmentation_error", "undersegmentation_error_corrected")


@dataclass(frozen=True, slots=True)
class SuperpixelFigures:
    """Scores as single numbers: those of one image, reduced over its annotators, or their means over images.

    asa                                in (0, 1], higher is better
    undersegmentation_error            Neubert and Protzel, lower is better
    undersegmentation_error_corrected  Van den Bergh et al., 1 - asa
    boundary_recall, boundary_precision  within 0.0025 of the diagonal, rounded: 1 pixel for BSDS500
    boundary_recall_1px, boundary_recall_2px  within 1 and 2 pixels
    compactness                        in (0, pi/4]
    explained_variation                in [0, 1], of the Lab colours; NaN without an image
    n_superpixels                      number of different ids
    n_fragments                        number of 4-connected components beyond one per id
    """

    asa: float
    undersegmentation_error: float
    undersegmentation_error_corrected: float
    boundary_recall: float
    boundary_precision: float
    boundary_recall_1px: float
    boundary_recall_2px: float
    compactness: float
    explained_variation: float
    n_superpixels: float
    n_fragments: float


@dataclass(frozen=True, slots=True, eq=False)
class SuperpixelScores:
    """Scores of one label map; the arrays (A,) hold one value per annotator, named as in SuperpixelFigures."""

    asa: np.ndarray
    undersegmentation_error: np.ndarray
    undersegmentation_error_corrected: np.ndarray
    boundary_recall: np.ndarray
    boundary_precision: np.ndarray
    boundary_recall_1px: np.ndarray
    boundary_recall_2px: np.ndarray
    compactness: float
    explained_variation: float
    n_superpixels: int
    n_fragments: int

    __repr__ = arrays_repr

    def over(self, annotators: str) -> SuperpixelFigures:
        """Return the mean of each score over annotators, or its best or worst value."""
        check_choice("annotators", annotators, ANNOTATORS)

        def reduce(name: str, values: np.ndarray | float) -> float:
            if annotators == "mean":
                return float(np.mean(values))
            takes_lowest = (annotators == "best") == (name in _LOWER_IS_BETTER)
            return float(np.min(values) if takes_lowest else np.max(values))

        return SuperpixelFigures(
            **{field.name: reduce(field.name, getattr(self, field.name)) for field in fields(self)}
        )


@dataclass(frozen=True, slots=True, eq=False)
class SuperpixelTable:
    """Superpixel scores over a dataset; names and scores, one per image, are in the order of the samples."""

    names: tuple[str, ...]
    scores: tuple[SuperpixelScores, ...]

    __repr__ = arrays_repr

    def mean(self, annotators: str = "mean") -> SuperpixelFigures:
        """Return the means over images of the figures that `over(annotators)` gives."""
        return SuperpixelFigures(*np.mean(self._values(annotators), axis=0).tolist())

    def interval_95(self, annotators: str = "mean") -> dict[str, tuple[float, float]]:
        """Return the 95 % bootstrap interval over images of each mean."""
        names = [field.name for field in fields(SuperpixelFigures)]
        return bootstrap_95(
            lambda rows: dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)), self._values(annotators)
        )

    def _values(self, annotators: str) -> list[np.ndarray]:
        return [np.array(astuple(scores.over(annotators))) for scores in self.scores]


def score_superpixels(
    labels: Int[np.ndarray, "height width"],
    truths: Sequence[np.ndarray],
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> SuperpixelScores:
    """Score one label map against all annotators' (H, W) segmentations; ids may have gaps.

    >>> truth = np.array([[0, 0, 1, 1]])
    >>> scores = score_superpixels(np.array([[0, 1, 1, 1]]), [truth, np.zeros_like(truth)])
    >>> scores.asa.tolist(), scores.over("mean").asa, scores.over("worst").undersegmentation_error
    ([0.75, 1.0], 0.875, 0.5)
    """
    superpixel.check_label_map("labels", labels)
    check_truths(labels.shape, truths)
    tables = [contingency(truth, labels) for truth in truths]
    radii = (superpixel.default_radius_px(labels.shape), 1, 2)
    recalls = np.stack([superpixel.boundary_recalls(truth, labels, radii) for truth in truths])
    return SuperpixelScores(
        asa=np.array([superpixel.achievable_segmentation_accuracy(table) for table in tables]),
        undersegmentation_error=np.array([superpixel.undersegmentation_error(table) for table in tables]),
        undersegmentation_error_corrected=np.array(
            [superpixel.undersegmentation_error_corrected(table) for table in tables]
        ),
        boundary_recall=recalls[:, 0],
        boundary_precision=np.array([superpixel.boundary_precision(truth, labels) for truth in truths]),
        boundary_recall_1px=recalls[:, 1],
        boundary_recall_2px=recalls[:, 2],
        compactness=superpixel.compactness(labels),
        explained_variation=(
            float("nan") if image is None else superpixel.explained_variation(rgb_to_lab(image), labels)
        ),
        n_superpixels=int(np.count_nonzero(tables[0].sum(axis=0))),
        n_fragments=superpixel.n_fragments(labels),
    )


def evaluate_superpixels(
    predictions: Callable[[np.ndarray], np.ndarray] | Iterable[np.ndarray], samples: Sequence[Sample]
) -> SuperpixelTable:
    """Score the label maps of a data set against all annotators.

    Parameters
    ----------
    predictions
        (H, W) integer label maps, one per sample in the same order, or a function that returns one for each RGB image.
    samples
        Images with their annotations, such as `BSDS500`.

    Returns
    -------
    SuperpixelTable
        Scores of each image; ``mean()`` and ``interval_95()`` summarise them.

    Raises
    ------
    InputError
        If there are no samples, or not one prediction of the right size for each.

    Examples
    --------
    >>> from pathlib import Path
    >>> from supercuts.images.io import write_png
    >>> write_png("photo.png", np.zeros((1, 4, 3), np.uint8))
    >>> photo = Sample("photo", Path("photo.png"), Path("photo.mat"), lambda _: [np.array([[0, 0, 1, 1]], np.int32)])
    >>> evaluate_superpixels([np.array([[0, 1, 1, 1]])], [photo]).mean().asa
    0.75
    """
    scores = []
    for sample, image, labels in pair(predictions, samples):
        with naming(sample.name):
            image = read_image(sample.image_path) if image is None else image
            scores.append(score_superpixels(labels, sample.truths, image))
    return SuperpixelTable(tuple(sample.name for sample in samples), tuple(scores))
