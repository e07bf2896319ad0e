"""BSDS500: 500 photographs, each segmented by 4 to 9 annotators (Arbelaez et al., PAMI 2011)."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int32

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.checks import check_choice
from supercuts.core.errors import FileFormatError, ImageError
from supercuts.datasets.sample import Sample, SampleSequence
from supercuts.images.formats.mat_files import read_mat
from supercuts.images.raster import read_shape

_SPLITS = {"train": ("train",), "val": ("val",), "test": ("test",), "train+val": ("train", "val")}
_LAYOUTS = ("BSDS500/BSDS500/data", "BSR/BSDS500/data", "BSDS500/data", "data", ".")
_HELP = """Expected one of
  ROOT/BSDS500/BSDS500/data, ROOT/BSR/BSDS500/data, ROOT/BSDS500/data, ROOT/data or ROOT itself to hold
    images/train/*.jpg       images/val/*.jpg       images/test/*.jpg
    groundTruth/train/*.mat  groundTruth/val/*.mat  groundTruth/test/*.mat
Get BSR_bsds500.tgz from https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/ and unpack it in ROOT."""


@dataclass(frozen=True)
class BSDS500(SampleSequence[Sample]):
    """The samples of one split, in numerical order of their names.

    Parameters
    ----------
    root
        Folder that holds the data set, directly or unpacked in one of the usual ways.
    split
        "train", "val", "test" or "train+val".

    Raises
    ------
    InputError
        If the split is unknown.
    FileFormatError
        If the folder does not hold the data set.

    References
    ----------
    .. [1] Arbelaez et al., "Contour detection and hierarchical image segmentation", PAMI 2011.

    Examples
    --------
    >>> data = BSDS500("data", "val")                           # doctest: +SKIP
    >>> sample = data[0]                                        # doctest: +SKIP
    >>> sample.name, [t.shape for t in load_truths(sample)]     # doctest: +SKIP
    ('101085', [(321, 481), (321, 481), (321, 481), (321, 481), (321, 481)])
    """

    root: str | os.PathLike[str]
    split: str
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        check_choice("split", self.split, _SPLITS)
        folder = find_folder(self.root)
        object.__setattr__(self, "folder", folder)
        object.__setattr__(self, "samples", _list_samples(folder, _SPLITS[self.split]))

    def check(self) -> None:
        """Raise FileFormatError if a photograph has no annotation file; decodes nothing.

        Raises
        ------
        FileFormatError
            If annotation files are missing; the message names the images.
        """
        missing = [sample for sample in self.samples if not sample.truth_path.is_file()]
        if missing:
            names = ", ".join(sample.name for sample in missing[:10]) + (", ..." if len(missing) > 10 else "")
            raise FileFormatError(
                f"{len(missing)} of {len(self)} images have no annotation file in {missing[0].truth_path.parent}: "
                f"{names}. Each images/SPLIT/NAME.jpg needs groundTruth/SPLIT/NAME.mat.\n{_HELP}"
            )


def find_folder(root: str | os.PathLike[str]) -> Path:
    """Return the folder below root that holds images/ and groundTruth/."""
    for layout in _LAYOUTS:
        folder = Path(root) / layout
        if (folder / "images").is_dir() and (folder / "groundTruth").is_dir():
            return folder
    raise FileFormatError(f"No BSDS500 in {Path(root).absolute()}.\n{_HELP}")


def load_truths(sample: Sample) -> list[Int32[np.ndarray, "height width"]]:
    """Return one segmentation per annotator, of the photograph's size, with regions numbered 0..R-1."""
    truths = read_segmentations(sample.truth_path)
    for truth in truths:
        _check_size(sample, truth.shape)
    return truths


def load_boundaries(sample: Sample) -> list[Bool[np.ndarray, "height width"]]:
    """Return one boundary map per annotator, of the photograph's size, as stored in the dataset."""
    boundaries = [drawn != 0 for drawn in _read_field(sample.truth_path, "Boundaries")]
    for boundary in boundaries:
        _check_size(sample, boundary.shape)
    return boundaries


def read_segmentations(path: Path) -> list[Int32[np.ndarray, "height width"]]:
    """Return the segmentations of one groundTruth .mat file, regions numbered 0..R-1."""
    return [relabel_consecutive(labels.astype(np.int32))[0] for labels in _read_field(path, "Segmentation")]


def _list_samples(folder: Path, parts: tuple[str, ...]) -> tuple[Sample, ...]:
    samples = []
    for part in parts:
        images = list((folder / "images" / part).glob("*.jpg"))
        if not images:
            raise FileFormatError(f"No .jpg file in {folder / 'images' / part}.\n{_HELP}")
        truths = folder / "groundTruth" / part
        samples += [Sample(image.stem, image, truths / f"{image.stem}.mat", read_segmentations) for image in images]
    return tuple(sorted(samples, key=lambda sample: (_number(sample.name), sample.name)))


def _number(name: str) -> float:
    return int(name) if name.isdecimal() else float("inf")


def _read_field(path: Path, name: str) -> list[np.ndarray]:
    if not path.is_file():
        raise FileFormatError(f"{path} does not exist: image {path.stem} has no annotation file.\n{_HELP}")
    try:
        annotations = read_mat(path)["groundTruth"].ravel()
        arrays = [np.asarray(annotation[name][0, 0]) for annotation in annotations]
    except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:  # unexpected variables
        raise FileFormatError(
            f"{path} is not a BSDS500 annotation ({type(error).__name__}: {error}). Expected a MATLAB 5 file whose "
            f"groundTruth{{i}}.{name} is a matrix; unpack the dataset again."
        ) from error
    if not arrays or any(array.ndim != 2 or array.size == 0 for array in arrays):
        raise FileFormatError(
            f"{path} holds {name} of shapes {[array.shape for array in arrays]}. Expected one (H, W) matrix for each "
            "annotator; unpack the dataset again."
        )
    return arrays


def _check_size(sample: Sample, shape: tuple[int, ...]) -> None:
    try:
        expected = read_shape(sample.image_path)[:2]  # reads the header only
    except ImageError as error:
        raise FileFormatError(f"{sample.image_path} cannot be read: {error}. Unpack the dataset again.") from error
    if shape != expected:
        raise FileFormatError(
            f"{sample.truth_path} is {shape} but image {sample.name} is {expected} (rows, columns). "
            "The two files belong to different images: unpack the dataset again."
        )
