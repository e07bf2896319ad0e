"""CCP: photographs of persons with each pixel labelled with a piece of clothing (Yang, Luo and Lin, CVPR 2014)."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from supercuts.core.errors import FileFormatError
from supercuts.datasets.annotations import (
    AnnotatedSample,
    AnnotatedSequence,
    PartTruth,
    find_layout,
    find_partner,
    list_images,
)
from supercuts.images.formats.mat_files import read_mat

_FOLDERS = ("CCP", "clothing-co-parsing", "clothing-co-parsing-master", ".")
_PARTS = ("photos", "annotations/pixel-level", "label_list.mat")
_EXPECTED = f"""Expected one of {", ".join("ROOT" if f == "." else f"ROOT/{f}" for f in _FOLDERS)} to hold
  photos/NAME.jpg
  annotations/pixel-level/NAME.mat   key groundtruth, (H, W), 0 = null
  label_list.mat                     names of the labels"""


@dataclass(frozen=True)
class CCP(AnnotatedSequence[PartTruth]):
    """The photographs with pixel labels; those with only image-level tags are omitted.

    >>> data = CCP("data")                                      # doctest: +SKIP
    >>> data[0].truth.names                                     # doctest: +SKIP
    ('blouse', 'hair', 'shoes', 'skin', 'skirt', 'stockings', 'sunglasses', 'vest')
    """

    root: str | os.PathLike[str]

    def __post_init__(self) -> None:
        layouts = [[f"{folder}/{part}" for part in _PARTS] for folder in _FOLDERS]
        photos, labels, names = find_layout(self.root, layouts, "CCP", _EXPECTED)
        cells = _read(names, "label_list").ravel()
        read = partial(read_clothes, names=tuple(str(np.asarray(cell).ravel()[0]) for cell in cells))
        listed = [(photo, find_partner(photo, labels, (".mat",))) for photo in list_images(photos, _EXPECTED)]
        samples = tuple(AnnotatedSample(photo.stem, photo, path, read) for photo, path in listed if path.is_file())
        if not samples:
            raise FileFormatError(f"No photograph of {photos.absolute()} has labels in {labels}.\n{_EXPECTED}")
        object.__setattr__(self, "samples", samples)


def read_clothes(path: Path, names: tuple[str, ...]) -> PartTruth:
    """Return the labels of one file as parts 1, 2, ... without gaps; `names` are the names of labels 0, 1, ...."""
    values = _read(path, "groundtruth")
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "iu" or values.max() >= len(names):
        raise FileFormatError(
            f"{path} holds {values.shape} {values.dtype}. Expected (H, W) labels 0..{len(names) - 1}, which "
            "label_list.mat names; unpack the dataset again."
        )
    present = np.unique(values)
    present = present[present > 0]
    labels = np.searchsorted(present, values).astype(np.int32) + 1
    labels[values == 0] = 0
    return PartTruth(names=tuple(names[i] for i in present), labels=labels)


def _read(path: Path, key: str) -> Any:
    variables = read_mat(path)
    if key not in variables:
        raise FileFormatError(
            f"{path} is not a CCP file: it holds {', '.join(variables)}. Expected a MATLAB 5 file with {key}; unpack "
            "the dataset again."
        )
    return np.asarray(variables[key])
