"""What people say about the objects and the parts in an image, and the samples that carry it.

In   names, paths and the function that reads an annotation
Out  ObjectTruth, PartTruth, AnnotatedSample, AnnotatedSequence
Not  no layout of any dataset, no image decoding but of masks
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.base import SampleSequence
from supercuts.images.io import read_image

_Truth = TypeVar("_Truth")
_LISTED = 10  # files named in one error


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTruth:
    """The true objects of one image, as masks, as boxes or as both; none at all is possible.

    masks       (K, H, W) bool   may overlap; None where the dataset draws boxes only
    boxes_yxyx  (K, 4) int64     rows and columns y0, x0, y1, x1, ends exclusive; None where it draws masks only
    """

    masks: Bool[np.ndarray, "objects height width"] | None = None
    boxes_yxyx: Int64[np.ndarray, "boxes 4"] | None = None

    def __post_init__(self) -> None:
        """Refuse a truth that says nothing."""
        if self.masks is None and self.boxes_yxyx is None:
            raise InputError("An ObjectTruth without masks and without boxes: give one of them, empty if need be.")

    @property
    def mask(self) -> Bool[np.ndarray, "height width"] | None:
        """The (H, W) mask of all objects together."""
        return None if self.masks is None else np.asarray(self.masks.any(axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class PartTruth:
    """The true parts of the object in one image, as regions or as keypoints.

    names         P of them       of parts 1..P; names may repeat: two wheels are two parts
    labels        (H, W) int32    0 outside all parts, 1..P; None where the dataset has keypoints only
    keypoints_yx  (P, 2) float64  row, column of each part's keypoint; None where it has regions only
    visible       (P,) bool       keypoints that can be seen; the others have no position
    box_yxyx      (4,) int64      the object's box, ends exclusive, or None
    """

    names: tuple[str, ...]
    labels: Int32[np.ndarray, "height width"] | None = None
    keypoints_yx: Float64[np.ndarray, "parts 2"] | None = None
    visible: Bool[np.ndarray, " parts"] | None = None
    box_yxyx: Int64[np.ndarray, "4"] | None = None

    def __post_init__(self) -> None:
        """Refuse regions and keypoints that do not fit the names."""
        n_parts = len(self.names)
        if self.labels is not None and not (self.labels.min() >= 0 and self.labels.max() <= n_parts):
            raise InputError(
                f"labels hold {self.labels.min()}..{self.labels.max()}, but there are {n_parts} parts: expected 0 "
                f"(no part) and 1..{n_parts}."
            )
        if self.keypoints_yx is not None and (self.visible is None or len(self.keypoints_yx) != n_parts):
            raise InputError(f"{len(self.keypoints_yx)} keypoints for {n_parts} parts: give one each, and visible.")


@dataclass(frozen=True, slots=True)
class AnnotatedSample(Generic[_Truth]):
    """One image of a dataset with its annotation, which is read when asked for.

    name        unique within the dataset
    image_path  the photograph
    truth_path  the file that holds the annotation, perhaps that of other images too
    read_truth  turns truth_path into the annotation; picklable
    """

    name: str
    image_path: Path
    truth_path: Path
    read_truth: Callable[[Path], _Truth]

    @property
    def truth(self) -> _Truth:
        """The annotation, read from disk at every access."""
        return self.read_truth(self.truth_path)


ObjectSample = AnnotatedSample[ObjectTruth]
PartSample = AnnotatedSample[PartTruth]


@dataclass(frozen=True)
class AnnotatedSequence(SampleSequence[AnnotatedSample[_Truth]]):
    """The annotated samples of a dataset; subclasses set `samples`."""

    def check(self) -> None:
        """Refuse a dataset without images, or in which a file is missing, and name the first ones; decodes nothing."""
        if not self.samples:
            raise FileFormatError(
                f"{self} has no image with an object or part that counts: unpack the dataset again, or ask for less."
            )
        paths = [path for sample in self.samples for path in (sample.image_path, sample.truth_path)]
        missing = [path for path in dict.fromkeys(paths) if not path.is_file()]
        if missing:
            names = ", ".join(str(path) for path in missing[:_LISTED]) + (", ..." if len(missing) > _LISTED else "")
            raise FileFormatError(
                f"{len(missing)} files of {len(self)} images are missing: {names}. Unpack the dataset again, or remove "
                "the images without annotation."
            )


def read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    """Return the pixels above half of full scale: 255, or 1 in a file that holds 0 and 1 only.

    So the soft border of a mask, and one that only some annotators drew, is object where most of it is.
    """
    values = read_image(path).max(axis=2)
    full = 1 if values.max() <= 1 else 255
    mask: np.ndarray = values > full / 2
    return mask
