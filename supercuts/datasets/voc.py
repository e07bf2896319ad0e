"""PASCAL VOC 2007 and 2012: photographs with the boxes of their objects (Everingham et al., IJCV 2010)."""

import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from supercuts.core.checks import check_choice
from supercuts.core.errors import FileFormatError
from supercuts.datasets.annotations import AnnotatedSample, AnnotatedSequence, ObjectTruth, find_layout, read_lines

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_MOST = 1e9  # bound above all pixel coordinates
_HARD = ("difficult", "truncated")


@dataclass(frozen=True)
class VOC(AnnotatedSequence[ObjectTruth]):
    """The samples of one year (2007 or 2012) and split; results of object discovery are reported on "trainval".

    All objects count, including difficult and truncated ones, as in published CorLoc tables. no_hard omits difficult
    and truncated objects, and images without other objects.

    >>> data = VOC("data", 2007)                                # doctest: +SKIP
    >>> data[0].name, data[0].truth.boxes_yxyx.shape[1]         # doctest: +SKIP
    ('000005', 4)
    """

    root: str | os.PathLike[str]
    year: int
    split: str = "trainval"
    no_hard: bool = False

    def __post_init__(self) -> None:
        check_choice("year", self.year, (2007, 2012))
        check_choice("split", self.split, ("train", "val", "trainval", "test"))
        bases = (f"voc{self.year}{self.split}/VOCdevkit", f"voc{self.year}/VOCdevkit", "VOCdevkit", ".")
        folders = [f"{base}/VOC{self.year}" for base in bases] + ["."]
        parts = ("JPEGImages", "Annotations", f"ImageSets/Main/{self.split}.txt")
        layouts = [[f"{folder}/{part}" for part in parts] for folder in folders]
        images, annotations, names = find_layout(self.root, layouts, f"VOC{self.year}", _expected(folders, self.split))
        read = partial(read_boxes, no_hard=self.no_hard)
        samples = [
            AnnotatedSample(name, images / f"{name}.jpg", annotations / f"{name}.xml", read)
            for name in (line.split()[0] for line in read_lines(names))
        ]
        if self.no_hard:
            samples = [sample for sample in samples if _has_box(sample.truth)]
        object.__setattr__(self, "samples", tuple(samples))


def read_boxes(path: Path, no_hard: bool = False) -> ObjectTruth:
    """Return the boxes of one annotation file, converted from its corners, which count from 1, ends inclusive."""
    try:
        objects = [node for node in ET.parse(path).getroot().iter("object") if not (no_hard and _is_hard(node))]
        corners = [
            [float(_text(node, f"bndbox/{side}")) for side in ("ymin", "xmin", "ymax", "xmax")] for node in objects
        ]
        if not (np.abs(np.array(corners)) < _MOST).all():  # false for NaN too
            raise ValueError("a corner out of range")
    except (OSError, ET.ParseError, ValueError, LookupError) as error:  # LookupError: unknown encoding
        raise FileFormatError(
            f"{path} is not a VOC annotation ({error}). Expected XML with annotation/object/bndbox of ymin, xmin, ymax "
            "and xmax; unpack the dataset again."
        ) from error
    boxes = np.floor(np.array(corners).reshape(-1, 4) + 0.5).astype(np.int64)  # some corners of VOC2012 are fractions
    return ObjectTruth(boxes_yxyx=boxes - np.array([1, 1, 0, 0]))


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the class of each object in one annotation file, in order; raise FileFormatError if it has no objects."""
    try:
        classes = tuple(_text(node, "name") for node in ET.parse(path).getroot().iter("object"))
    except (OSError, ET.ParseError, ValueError, LookupError) as error:
        raise FileFormatError(f"{path} is not a VOC annotation ({error}). Unpack the dataset again.") from error
    if not classes or not set(classes) <= set(CLASSES):
        raise FileFormatError(
            f"{path} names {', '.join(classes) or 'no object'}. Expected annotation/object/name of the classes "
            f"{', '.join(CLASSES)}; unpack the dataset again."
        )
    return classes


def _is_hard(element: ET.Element) -> bool:
    return any(element.findtext(flag, "0").strip() == "1" for flag in _HARD)


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)  # direct children only: parts (head, hand, foot) have their own boxes
    if text is None:
        raise ValueError(f"an object without {path}")
    return text


def _has_box(truth: ObjectTruth) -> bool:
    return truth.boxes_yxyx is not None and len(truth.boxes_yxyx) > 0


def _expected(folders: list[str], split: str) -> str:
    places = ", ".join("ROOT" if folder == "." else f"ROOT/{folder}" for folder in folders)
    return f"""Expected one of {places} to hold
  JPEGImages/NAME.jpg
  Annotations/NAME.xml
  ImageSets/Main/{split}.txt   one NAME per line"""
