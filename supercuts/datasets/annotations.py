"""Annotations of objects and parts in an image, and the samples that carry them."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from supercuts.core.arrays import arrays_repr
from supercuts.core.checks import check_choice
from supercuts.core.errors import FileFormatError, InputError
from supercuts.core.files import IMAGES, is_own_picture, warn_of_own, warn_of_skipped
from supercuts.datasets.sample import SampleSequence
from supercuts.images.io import read_image

_Truth = TypeVar("_Truth")
_LISTED = 10  # files named in one error


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTruth:
    """The true objects of one image, as masks, boxes or both; there may be none.

    masks       (K, H, W) bool   may overlap; None if the dataset has boxes only
    boxes_yxyx  (K, 4) int64     rows and columns y0, x0, y1, x1, ends exclusive; None if the dataset has masks only
    """

    masks: Bool[np.ndarray, "objects height width"] | None = None
    boxes_yxyx: Int64[np.ndarray, "boxes 4"] | None = None

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if there are neither masks nor boxes."""
        if self.masks is None and self.boxes_yxyx is None:
            raise InputError("An ObjectTruth without masks and without boxes: give one of them, empty if need be.")

    @property
    def mask(self) -> Bool[np.ndarray, "height width"] | None:
        """Union of the masks of all objects, (H, W)."""
        return None if self.masks is None else np.asarray(self.masks.any(axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class PartTruth:
    """The true parts of the object in one image, as regions or as keypoints.

    names         P strings       names of parts 1..P; names may repeat: two wheels are two parts
    labels        (H, W) int32    1..P, 0 outside all parts; None if the dataset has keypoints only
    keypoints_yx  (P, 2) float64  row, column of each part's keypoint; None if the dataset has regions only
    visible       (P,) bool       whether the keypoint is visible; the others have no position
    box_yxyx      (4,) int64      the object's box, ends exclusive, or None
    """

    names: tuple[str, ...]
    labels: Int32[np.ndarray, "height width"] | None = None
    keypoints_yx: Float64[np.ndarray, "parts 2"] | None = None
    visible: Bool[np.ndarray, " parts"] | None = None
    box_yxyx: Int64[np.ndarray, "4"] | None = None

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError if regions or keypoints do not fit the names."""
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
    """One image of a dataset with its annotation, which is read on access.

    name        name, unique within the dataset
    image_path  the photograph
    truth_path  the file with the annotation, possibly shared with other images
    read_truth  reads the annotation from truth_path; picklable
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
        """Raise FileFormatError if the dataset has no images or files are missing; decodes nothing."""
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


def read_mask_pixels(path: Path) -> Bool[np.ndarray, "height width"]:
    """Return the mask of pixels above half of full scale: 255, or 1 in a file that holds only 0 and 1.

    Pixels on a soft border, or marked by only some annotators, therefore count as object if most of their weight is.
    """
    values = read_image(path).max(axis=2)
    full = 1 if values.max() <= 1 else 255
    mask: np.ndarray = values > full / 2
    return mask


def find_layout(
    root: str | os.PathLike[str], layouts: Iterable[Sequence[str]], title: str, expected: str
) -> tuple[Path, ...]:
    """Return the paths of the first layout whose paths all exist; else raise FileFormatError with the layouts."""
    for layout in layouts:
        paths = tuple(Path(root) / part for part in layout)
        if all(path.exists() for path in paths):
            return paths
    raise FileFormatError(f"No {title} in {Path(root).absolute()}.\n{expected}")


def list_images(folder: Path, expected: str) -> list[Path]:
    """Return the pictures in a folder, sorted by name, without hidden files; raise FileFormatError if none exist."""
    files = sorted(folder.iterdir())
    warn_of_skipped(files)
    pictures = [path for path in files if path.suffix.lower() in IMAGES and not path.name.startswith(".")]
    own = {path for path in pictures if is_own_picture(path)}
    warn_of_own(sorted(own))
    images = [path for path in pictures if path not in own]
    if not images:
        raise FileFormatError(f"No picture in {folder.absolute()}.\n{expected}")
    return images


def find_partner(image: Path, folder: Path, suffixes: Sequence[str]) -> Path:
    """Return the file in a folder with the image's name and the first suffix that exists, else with the first suffix.

    >>> find_partner(Path("img/a.b.jpg"), Path("gt"), (".png", ".bmp")).as_posix()
    'gt/a.b.png'
    """
    candidates = [folder / f"{image.stem}{suffix}" for suffix in suffixes]  # a stem keeps dots within the name
    return next((path for path in candidates if path.is_file()), candidates[0])


def read_lines(path: Path) -> list[str]:
    """Return the stripped lines of a text file, without blank ones."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} cannot be read as text: {error}. Unpack the dataset again.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


_TITLES = {"ecssd": "ECSSD", "duts": "DUTS-TE", "omron": "DUT-OMRON"}
_LAYOUTS = {  # folders of images and masks; TokenCut's copies call them img and gt
    "ecssd": (
        ("ECSSD/images", "ECSSD/ground_truth_mask"),
        ("ECSSD-data/images/images", "ECSSD-data/ground_truth_mask/ground_truth_mask"),
        ("ECSSD-data/images", "ECSSD-data/ground_truth_mask"),
        ("ECSSD/img", "ECSSD/gt"),
        ("images/images", "ground_truth_mask/ground_truth_mask"),
        ("images", "ground_truth_mask"),
        ("img", "gt"),
    ),
    "duts": (
        ("DUTS/DUTS-TE/DUTS-TE-Image", "DUTS/DUTS-TE/DUTS-TE-Mask"),
        ("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),
        ("DUTS_Test/img", "DUTS_Test/gt"),
        ("DUTS-TE-Image", "DUTS-TE-Mask"),
        ("img", "gt"),
    ),
    "omron": (
        ("DUT-OMRON/DUT-OMRON-image/DUT-OMRON-image", "DUT-OMRON/pixelwiseGT-new-PNG/pixelwiseGT-new-PNG"),
        ("DUT-OMRON/DUT-OMRON-image", "DUT-OMRON/pixelwiseGT-new-PNG"),
        ("DUT_OMRON/img", "DUT_OMRON/gt"),
        ("DUT-OMRON-image", "pixelwiseGT-new-PNG"),
        ("img", "gt"),
    ),
}
_MASK_FOLDERS = (".png", ".bmp", ".jpg")


@dataclass(frozen=True)
class ObjectMasks(AnnotatedSequence[ObjectTruth]):
    """The samples of "ecssd", "duts" or "omron"; pixels with mask values above half of full scale are object.

    >>> data = ObjectMasks("data", "ecssd")                     # doctest: +SKIP
    >>> data[0].name, data[0].truth.mask.shape                  # doctest: +SKIP
    ('0001', (400, 300))
    """

    root: str | os.PathLike[str]
    dataset: str

    def __post_init__(self) -> None:
        check_choice("dataset", self.dataset, _LAYOUTS)
        expected = _expected(self.dataset)
        images, masks = find_layout(self.root, _LAYOUTS[self.dataset], _TITLES[self.dataset], expected)
        samples = tuple(
            AnnotatedSample(image.stem, image, find_partner(image, masks, _MASK_FOLDERS), read_object_mask)
            for image in list_images(images, expected)
        )
        object.__setattr__(self, "samples", samples)


def read_object_mask(path: Path) -> ObjectTruth:
    """Return the truth of one mask file; without objects if no pixel is above half of full scale."""
    mask = read_mask_pixels(path)
    return ObjectTruth(mask[None] if mask.any() else mask[None][:0])


def _expected(dataset: str) -> str:
    rows = "\n".join(f"  ROOT/{images}/NAME.jpg  and  ROOT/{masks}/NAME.png" for images, masks in _LAYOUTS[dataset])
    return f"Expected one of\n{rows}"
