"""Data sets with COCO annotations: boxes of COCO20k; parts of PartImageNet, CarParts and annotation tools."""

import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool

from supercuts.core.checks import check_choice
from supercuts.core.errors import FileFormatError
from supercuts.datasets.annotations import (
    AnnotatedSample,
    AnnotatedSequence,
    ObjectTruth,
    PartTruth,
    find_layout,
    read_lines,
)
from supercuts.images.raster import MAX_PIXELS

_MOST_SHIFT = 60  # bits; with five bits per character, numbers fit 64 bits


def decode_segmentation(segmentation: Any, height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
    """Return the mask of {"size": [H, W], "counts": ...}, or the union of a list of polygons [x0, y0, x1, y1, ...].

    A pixel belongs to a polygon if its centre does. The first pixel of the image has its centre at (0.5, 0.5).

    >>> decode_segmentation([[0, 0, 2, 0, 2, 1, 0, 1]], 2, 3).astype(int).tolist()
    [[1, 1, 0], [0, 0, 0]]
    >>> decode_segmentation({"size": [2, 3], "counts": [1, 3, 2]}, 2, 3).astype(int).tolist()
    [[0, 1, 0], [1, 1, 0]]
    """
    try:
        if isinstance(segmentation, dict):
            return _decode_runs(segmentation, height, width)
        return _draw_polygons(segmentation, height, width)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise FileFormatError(
            f"segmentation {str(segmentation)[:80]!r} of an image of {height} rows and {width} columns cannot be drawn "
            f"({error}). Expected polygons [[x0, y0, x1, y1, ...], ...] or a run-length encoding with size and counts."
        ) from error


def _draw_polygons(polygons: Any, height: int, width: int) -> np.ndarray:
    from skimage.draw import polygon  # slow to import

    mask = np.zeros((height, width), bool)
    for corners in polygons:
        xy = np.array(corners, np.float64).reshape(-1, 2)
        if len(xy) > 2:  # annotation tools leave stray clicks
            mask[polygon(xy[:, 1] - 0.5, xy[:, 0] - 0.5, mask.shape)] = True
    return mask


def _decode_runs(encoding: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Return the mask of alternating runs of 0 and 1, column by column."""
    if list(encoding["size"]) != [height, width]:
        raise ValueError(f"its size is {encoding['size']}")
    counts = encoding["counts"]
    runs = np.array(_unpack(counts) if isinstance(counts, str | bytes) else counts, np.int64)
    # check each run: the sum of forged runs may be right
    if ((runs < 0) | (runs > height * width)).any() or runs.sum() != height * width:
        raise ValueError(f"its runs are of {runs.sum()} pixels")
    values = np.arange(runs.size) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T.copy()


def _unpack(text: str | bytes) -> list[int]:
    """Decode runs from COCO's text: five bits per character, lowest first; differences from the third run on.

    Bit 32 is set if more characters follow. Bit 16 of the last character is the sign.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text.encode() if isinstance(text, str) else text:
        bits = character - 48
        if bits < 0 or bits > 63 or shift > _MOST_SHIFT:
            raise ValueError(f"its text has an impossible run length, at {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return runs


_COCO20K = [
    (f"{base}/{images}", f"{base}/annotations/instances_train2014.json", names)
    for base, images in itertools.product(("COCO", "coco", "."), ("images/train2014", "train2014"))
    for names in (f"{base}/coco_20k_filenames.txt", "coco_20k_filenames.txt", "datasets/coco_20k_filenames.txt")
]
_COCO20K_EXPECTED = """Expected ROOT/COCO or ROOT to hold
  images/train2014/COCO_train2014_*.jpg   or train2014/
  annotations/instances_train2014.json
  coco_20k_filenames.txt                  one image per line, with or without its folder; also in ROOT"""
_PARTS_EXPECTED = """Expected one of
  ROOT/CarParts/testset/JPEGImages/*.jpg    and  ROOT/CarParts/testset/annotations.json
  ROOT/PartImageNet/images/test/*.JPEG      and  ROOT/PartImageNet/annotations/test.json
  ROOT/JPEGImages/*.jpg                     and  ROOT/annotations.json
  ROOT/images/test/*, images/* or test/*    and  ROOT/annotations/test.json or ROOT/test.json
where test is the split; a JSON file has images, annotations and categories, as COCO has."""
_KEYS = {  # keys of a COCO file, and required keys of their entries; annotations also need a box or a mask
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("image_id", "category_id"),
    "categories": ("id", "name"),
}
_TYPES: dict[str, Callable[[object], bool]] = {  # checks of values, by key
    **dict.fromkeys(("id", "image_id", "category_id"), lambda value: isinstance(value, int | str)),
    **dict.fromkeys(("file_name", "name"), lambda value: isinstance(value, str) and value != ""),
    **dict.fromkeys(("height", "width"), lambda value: isinstance(value, int) and value > 0),
    "bbox": lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_place, value)),
    "segmentation": lambda value: isinstance(value, list | dict),
}
_CAR_SPLITS = {"train": "trainingset", "test": "testset"}
Record = dict[str, Any]  # an entry of a COCO file


@dataclass(frozen=True)
class COCO20k(AnnotatedSequence[ObjectTruth]):
    """The 19817 images of COCO train2014 on which object discovery is reported, with the boxes of their objects.

    Crowds (iscrowd) are ignored, and images without other objects are omitted. Corners are rounded.

    >>> data = COCO20k("data")                                  # doctest: +SKIP
    >>> len(data), data[0].truth.boxes_yxyx.shape[1]            # doctest: +SKIP
    (19817, 4)
    """

    root: str | os.PathLike[str]

    def __post_init__(self) -> None:
        images, path, names = find_layout(self.root, _COCO20K, "COCO20k", _COCO20K_EXPECTED)
        listed = {PurePosixPath(line).name.removesuffix(".jpg") for line in read_lines(names)}
        document = _read_json(path, "bbox")
        ids = {PurePosixPath(image["file_name"]).stem: image["id"] for image in document["images"]}
        if missing := sorted(listed - ids.keys()):
            raise FileFormatError(
                f"{len(missing)} images of {names} are not in {path}, such as {missing[0]}. Expected the annotations "
                f"of COCO train2014.\n{_COCO20K_EXPECTED}"
            )
        boxes = {name: [entry["bbox"] for entry in records] for name, records in _of_images(document, ids, listed)}
        samples = tuple(
            AnnotatedSample(
                name, images / f"{name}.jpg", path, partial(boxes_of_image, boxes=tuple(map(tuple, bboxes)))
            )
            for name, bboxes in sorted(boxes.items())
            if bboxes
        )
        object.__setattr__(self, "samples", samples)


@dataclass(frozen=True)
class CocoParts(AnnotatedSequence[PartTruth]):
    """The images of a COCO file whose annotations are parts of one object; the object is the union of its parts.

    Each annotation is a separate part: two wheels are two parts. Smaller parts cover larger ones where they overlap.
    Parts that are covered completely, crowds, the category "background" and images without parts are omitted.

    >>> data = CocoParts("data", "carparts")                    # doctest: +SKIP
    >>> data[0].truth.names[:3]                                 # doctest: +SKIP
    ('back_glass', 'tailgate', 'back_left_light')
    """

    root: str | os.PathLike[str]
    dataset: str = "coco"
    split: str = "test"

    def __post_init__(self) -> None:
        check_choice("dataset", self.dataset, ("carparts", "coco"))
        check_choice("split", self.split, _CAR_SPLITS if self.dataset == "carparts" else ("train", "val", "test"))
        layouts = _car_layouts(self.split) if self.dataset == "carparts" else _part_layouts(self.split)
        title = "CarParts" if self.dataset == "carparts" else "COCO annotations of parts"
        images, path = find_layout(self.root, layouts, title, _PARTS_EXPECTED)
        document = _read_json(path, "segmentation")
        names = {record["id"]: str(record["name"]) for record in document["categories"]}
        if unknown := {record["category_id"] for record in document["annotations"]} - names.keys():
            raise FileFormatError(
                f"{path} has parts of category {min(unknown, key=str)}, which its categories do not name."
            )
        entries = {_safe_name(image["file_name"], path): image for image in document["images"]}
        of_images = dict(_of_images(document, {name: image["id"] for name, image in entries.items()}, entries.keys()))
        samples = []
        for name, image in sorted(entries.items()):
            parts = [(names[r["category_id"]], r["segmentation"]) for r in of_images[name]]
            parts = [part for part in parts if part[0].strip("_").lower() != "background"]
            if parts:
                read = partial(parts_of_image, shape=(image["height"], image["width"]), parts=tuple(parts))
                samples.append(AnnotatedSample(name, _find_image(images, image["file_name"]), path, read))
        if not samples:
            raise FileFormatError(f"{path} has no image with a part.\n{_PARTS_EXPECTED}")
        object.__setattr__(self, "samples", tuple(samples))


def boxes_of_image(_: Path, boxes: tuple[tuple[float, float, float, float], ...]) -> ObjectTruth:
    """Return boxes x, y, width, height as y0, x0, y1, x1, rounded; the first argument is unused."""
    x, y, width, height = np.array(boxes, np.float64).reshape(-1, 4).T
    return ObjectTruth(boxes_yxyx=np.rint(np.stack([y, x, y + height, x + width], axis=1)).astype(np.int64))


def parts_of_image(_: Path, shape: tuple[int, int], parts: tuple[tuple[str, Any], ...]) -> PartTruth:
    """Return parts (name, segmentation) drawn over each other, large ones first; the first argument is unused."""
    masks = [decode_segmentation(segmentation, *shape) for _name, segmentation in parts]
    part_map = np.zeros(shape, np.int32)
    for index in np.argsort([-np.count_nonzero(mask) for mask in masks], kind="stable"):
        part_map[masks[index]] = index + 1
    present = np.unique(part_map)
    present = present[present > 0]
    labels = np.zeros(len(parts) + 1, np.int32)
    labels[present] = np.arange(1, present.size + 1)
    return PartTruth(names=tuple(parts[number - 1][0] for number in present), labels=labels[part_map])


def _of_images(document: Record, ids: dict[str, int], wanted_names: Any) -> list[tuple[str, list[Record]]]:
    """Return the annotations of each image in `wanted`, without crowds, in the order of the file."""
    by_id: dict[int, list[Record]] = defaultdict(list)
    for record in document["annotations"]:
        if not record.get("iscrowd"):
            by_id[record["image_id"]].append(record)
    return [(name, by_id[ids[name]]) for name in wanted_names]


def _read_json(path: Path, needed: str) -> Record:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is not a JSON file ({error}). Download it again.") from error
    if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in _KEYS):
        raise FileFormatError(f"{path} has no lists {', '.join(_KEYS)}. Expected a COCO file of instances.")
    for key, required in {**_KEYS, "annotations": (*_KEYS["annotations"], needed)}.items():
        for entry in document[key]:
            entry_fields = entry if isinstance(entry, dict) else {}
            if missing := [name for name in required if not _TYPES[name](entry_fields.get(name))]:
                raise FileFormatError(
                    f"{path}: an entry of {key} has no {', '.join(missing)}: {str(entry)[:80]}. Expected a COCO file."
                )
    for image in document["images"]:
        image["file_name"] = image["file_name"].replace("\\", "/")  # tools on Windows write such folders
        if image["height"] * image["width"] > MAX_PIXELS:
            raise FileFormatError(f"{path} has an image of {image['height']} x {image['width']}, above {MAX_PIXELS}.")
    return document


def _is_place(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e9  # false for NaN too


def _safe_name(file_name: str, path: Path) -> str:
    name = PurePosixPath(file_name)
    if name.is_absolute() or ".." in name.parts or not name.name or "\0" in file_name:
        raise FileFormatError(f"{path} names an image {file_name!r}. Expected a path below the folder of images.")
    return str(name.with_suffix(""))


def _find_image(folder: Path, file_name: str) -> Path:
    path = folder / file_name
    return path if path.is_file() else folder / path.name


def _car_layouts(split: str) -> list[tuple[str, str]]:
    folder = _CAR_SPLITS[split]
    bases = (f"CarParts/{folder}", f"Car-Parts-Segmentation/{folder}", folder, ".")
    return [(f"{base}/JPEGImages", f"{base}/annotations.json") for base in bases]


def _part_layouts(split: str) -> list[tuple[str, str]]:
    images, files = (f"images/{split}", split, "images"), (f"annotations/{split}.json", f"{split}.json")
    below = [
        (f"{base}/{of_images}", f"{base}/{file}")
        for base in ("PartImageNet", ".")
        for of_images, file in itertools.product(images, files)
    ]
    return [*below, ("JPEGImages", "annotations.json"), ("images", "annotations.json")]
