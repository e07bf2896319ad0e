"""CUB-200-2011: birds with masks, boxes and keypoints (Wah et al., 2011); CCP: persons with labelled clothes.

CCP is the data set of Yang, Luo and Lin ("Clothing co-parsing", CVPR 2014).
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from supercuts.core.checks import check_choice
from supercuts.core.errors import FileFormatError
from supercuts.datasets.annotations import (
    AnnotatedSample,
    AnnotatedSequence,
    ObjectTruth,
    PartTruth,
    find_layout,
    find_partner,
    list_images,
    read_lines,
    read_mask_pixels,
)
from supercuts.images.formats.mat_files import read_mat

_FOLDERS = ("CUB/CUB_200_2011", "CUB_200_2011", ".")
_SPLITS = {"train": ("1",), "test": ("0",), "train+test": ("0", "1")}  # values of the flag IS_TRAINING
_LISTS = ("images.txt", "images", "train_test_split.txt", "bounding_boxes.txt")
_MOST = 1e9  # bound above all pixel coordinates and image numbers
_EXPECTED = f"""Expected one of {", ".join("ROOT" if f == "." else f"ROOT/{f}" for f in _FOLDERS)} to hold
  images.txt               IMAGE_ID CLASS/NAME.jpg
  images/CLASS/NAME.jpg
  train_test_split.txt     IMAGE_ID IS_TRAINING
  bounding_boxes.txt       IMAGE_ID X Y WIDTH HEIGHT
  segmentations/CLASS/NAME.png (an archive of its own; also beside this folder), for objects
  parts/parts.txt, parts/part_locs.txt   IMAGE_ID PART_ID X Y VISIBLE, for parts"""


@dataclass(frozen=True)
class CUBObjects(AnnotatedSequence[ObjectTruth]):
    """The birds' masks and boxes of one split: "train", "test" (flag 0, 5794 images) or "train+test".

    Mask values are the share of annotators who marked the pixel; pixels above half are object.

    >>> data = CUBObjects("data")                               # doctest: +SKIP
    >>> len(data), data[0].truth.boxes_yxyx.shape               # doctest: +SKIP
    (5794, (1, 4))
    """

    root: str | os.PathLike[str]
    split: str = "test"

    def __post_init__(self) -> None:
        check_choice("split", self.split, _SPLITS)
        places = ("segmentations", "../segmentations")
        layouts = [[*(f"{f}/{name}" for name in _LISTS), f"{f}/{place}"] for f in _FOLDERS for place in places]
        *lists, masks = find_layout(self.root, layouts, "CUB-200-2011 with segmentations", _EXPECTED)
        listed = _listed(lists, self.split)
        boxes = _boxes(lists[3])
        samples = tuple(
            AnnotatedSample(name, image, masks / f"{name}.png", partial(read_bird, box=_of(boxes, key, lists[3])))
            for key, name, image in listed
        )
        object.__setattr__(self, "samples", samples)


@dataclass(frozen=True)
class CUBParts(AnnotatedSequence[PartTruth]):
    """The 15 keypoints of each bird of one split; splits are those of CUBObjects.

    >>> data = CUBParts("data")                                 # doctest: +SKIP
    >>> data[0].truth.names[:3], data[0].truth.visible.shape    # doctest: +SKIP
    (('back', 'beak', 'belly'), (15,))
    """

    root: str | os.PathLike[str]
    split: str = "test"

    def __post_init__(self) -> None:
        check_choice("split", self.split, _SPLITS)
        layouts = [[f"{f}/{name}" for name in (*_LISTS, "parts/parts.txt", "parts/part_locs.txt")] for f in _FOLDERS]
        *lists, names_path, places_path = find_layout(self.root, layouts, "CUB-200-2011 with parts", _EXPECTED)
        listed, boxes = _listed(lists, self.split), _boxes(lists[3])
        names = tuple(name for _, name in _pairs(names_path))
        rows = _numbers(places_path, 5)
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
        starts = np.searchsorted(rows[:, 0], [key for key, _, _ in listed])
        samples = []
        for (key, name, image), start in zip(listed, starts, strict=True):
            image_rows = rows[start : start + len(names)]
            if not np.array_equal(image_rows[:, :2], [[key, part] for part in range(1, len(names) + 1)]):
                raise FileFormatError(f"{places_path} has not one row for each part of image {key}.\n{_EXPECTED}")
            truth = partial(bird_parts, names=names, rows=image_rows[:, 2:], box=_of(boxes, key, lists[3]))
            samples.append(AnnotatedSample(name, image, places_path, truth))
        object.__setattr__(self, "samples", tuple(samples))


def read_bird(path: Path, box: np.ndarray) -> ObjectTruth:
    """Return the mask in a file, with the given box y0, x0, y1, x1, as the truth of one image."""
    mask = read_mask_pixels(path)
    return ObjectTruth(mask[None] if mask.any() else mask[None][:0], box[None])


def bird_parts(_: Path, names: tuple[str, ...], rows: np.ndarray, box: np.ndarray) -> PartTruth:
    """Return the keypoints in rows x, y, visible (P, 3) as row, column; the first argument is unused."""
    return PartTruth(names=names, keypoints_yx=rows[:, 1::-1].copy(), visible=rows[:, 2] != 0, box_yxyx=box)


def _listed(lists: list[Path], split: str) -> list[tuple[int, str, Path]]:
    """Return the number, name CLASS/NAME and file of each image of a split."""
    names_path, images, splits_path = lists[:3]
    flags = dict(_pairs(splits_path))
    listed = []
    for key, file in _pairs(names_path):
        if flags.get(key) in _SPLITS[split]:
            name = PurePosixPath(file)
            if not key.isdecimal() or not name.name or name.is_absolute() or ".." in name.parts:
                raise FileFormatError(f"{names_path} has {file[:80]!r} as image {key[:20]}.\n{_EXPECTED}")
            listed.append((int(key), str(name.with_suffix("")), images / name))
    if not listed:
        raise FileFormatError(f"{names_path} and {splits_path} name no image of split {split}.\n{_EXPECTED}")
    return listed


def _pairs(path: Path) -> list[tuple[str, str]]:
    """Return the first word, a number, and the rest of each line."""
    pairs = [line.split(maxsplit=1) for line in read_lines(path)]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise FileFormatError(f"{path} has a line {wrong[0][0][:80]!r}, which is not a pair.\n{_EXPECTED}")
    return [(key, rest.strip()) for key, rest in pairs]


def _boxes(path: Path) -> dict[int, np.ndarray]:
    """Return the box y0, x0, y1, x1 of each image number, from rows of number, x, y, width, height."""
    key, x, y, width, height = _numbers(path, 5).T
    corners = np.rint(np.stack([y, x, y + height, x + width], axis=1)).astype(np.int64)
    return dict(zip(key.astype(int).tolist(), corners, strict=True))


def _of(boxes: dict[int, np.ndarray], key: int, path: Path) -> np.ndarray:
    if key not in boxes:
        raise FileFormatError(f"{path} has no box of image {key}.\n{_EXPECTED}")
    return boxes[key]


def _numbers(path: Path, columns: int) -> np.ndarray:
    try:
        rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path} is not a table of numbers ({error}).\n{_EXPECTED}") from error
    if not (np.abs(rows) < _MOST).all():  # false for NaN too
        raise FileFormatError(f"{path} has numbers out of range, such as {rows[~(np.abs(rows) < _MOST)][0]}.")
    if rows.shape[1] != columns:
        raise FileFormatError(f"{path} has {rows.shape[1]} columns, expected {columns}.\n{_EXPECTED}")
    return rows


_CCP_FOLDERS = ("CCP", "clothing-co-parsing", "clothing-co-parsing-master", ".")
_CCP_PARTS = ("photos", "annotations/pixel-level", "label_list.mat")
_CCP_EXPECTED = f"""Expected one of {", ".join("ROOT" if f == "." else f"ROOT/{f}" for f in _CCP_FOLDERS)} to hold
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
        layouts = [[f"{folder}/{part}" for part in _CCP_PARTS] for folder in _CCP_FOLDERS]
        photos, labels, names = find_layout(self.root, layouts, "CCP", _CCP_EXPECTED)
        cells = _read_variable(names, "label_list").ravel()
        read = partial(read_clothes, names=tuple(str(np.asarray(cell).ravel()[0]) for cell in cells))
        listed = [(photo, find_partner(photo, labels, (".mat",))) for photo in list_images(photos, _CCP_EXPECTED)]
        samples = tuple(AnnotatedSample(photo.stem, photo, path, read) for photo, path in listed if path.is_file())
        if not samples:
            raise FileFormatError(f"No photograph of {photos.absolute()} has labels in {labels}.\n{_CCP_EXPECTED}")
        object.__setattr__(self, "samples", samples)


def read_clothes(path: Path, names: tuple[str, ...]) -> PartTruth:
    """Return the labels of one file as parts 1, 2, ... without gaps; `names` are the names of labels 0, 1, ...."""
    values = _read_variable(path, "groundtruth")
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


def _read_variable(path: Path, key: str) -> Any:
    variables = read_mat(path)
    if key not in variables:
        raise FileFormatError(
            f"{path} is not a CCP file: it holds {', '.join(variables)}. Expected a MATLAB 5 file with {key}; unpack "
            "the dataset again."
        )
    return np.asarray(variables[key])
