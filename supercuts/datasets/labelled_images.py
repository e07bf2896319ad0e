"""Images with one class each, or none: training data of the networks in selftaught."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from supercuts.core.checks import check_choice
from supercuts.core.errors import FileFormatError
from supercuts.datasets.annotations import IMAGES, list_images
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.voc import CLASSES, VOC, read_classes
from supercuts.images.io import read_image

UNLABELLED = -1
_FOLDERS = {"cifar10": ("CIFAR10", "cifar10", "cifar-10"), "stl10": ("STL10", "stl10")}
_ORIGINALS = {"cifar10": "cifar-10-batches-py", "stl10": "stl10_binary"}  # folders inside torchvision's archives


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image: its name, its class (UNLABELLED: none) and the function that returns its (H, W, 3) uint8 pixels."""

    name: str
    label: int
    read: Callable[[], UInt8[np.ndarray, "height width 3"]]


@dataclass(frozen=True)
class LabelledImages:
    """The images of a split, and the names of their classes, which are numbered in this order; () without classes.

    >>> data = open_labelled("cifar10", "data", "train")        # doctest: +SKIP
    >>> data.class_names[data.samples[0].label]                 # doctest: +SKIP
    'airplane'
    """

    samples: tuple[LabelledImage, ...] = field(repr=False)
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


def open_labelled(dataset: str, root: str | os.PathLike[str], split: str) -> LabelledImages:
    """Return one split of a data set by its name; splits are those of the data set ("train", "test", "val", ...)."""
    check_choice("dataset", dataset, OPENERS)
    return OPENERS[dataset](Path(root), split)


def class_folders(folder: Path) -> LabelledImages:
    """Return the images of FOLDER/CLASS/*, classes and images in the order of their names."""
    expected = f"Expected {folder}/CLASS/NAME.jpg, any of {', '.join(IMAGES)}, one folder for each class."
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise FileFormatError(f"No folder of a class in {folder.absolute()}.\n{expected}")
    samples = [
        LabelledImage(f"{one.name}/{path.stem}", number, partial(read_image, path))
        for number, one in enumerate(classes)
        for path in list_images(one, expected)
    ]
    return LabelledImages(tuple(samples), tuple(one.name for one in classes))


def _open_small(dataset: str, root: Path, split: str) -> LabelledImages:
    """Open CIFAR10 or STL10: class folders first, then torchvision's files."""
    homes = [root / name for name in _FOLDERS[dataset]] + [root]
    for home in homes:
        if (home / split).is_dir():
            return class_folders(home / split)
    for home in homes:
        if (home / _ORIGINALS[dataset]).is_dir():
            return _originals(dataset, home, split)
    tried = ", ".join(str(home) for home in homes)
    raise FileFormatError(
        f"No {split} split of {dataset} in any of {tried}. Expected {split}/CLASS/NAME.jpg, or the folder "
        f"{_ORIGINALS[dataset]} of the original archive, which torchvision reads; nothing is downloaded here."
    )


def _originals(dataset: str, home: Path, split: str) -> LabelledImages:
    """Read the original files by torchvision, which checks their MD5 sums before it unpickles anything."""
    from torchvision import datasets  # torch stays unneeded for other data sets

    check_choice("split", split, ("train", "test") if dataset == "cifar10" else ("train", "test", "unlabeled"))
    try:
        if dataset == "cifar10":
            found: Any = datasets.CIFAR10(str(home), train=split == "train", download=False)
            pixels, labels = found.data, found.targets
        else:
            found = datasets.STL10(str(home), split=split, download=False)
            pixels, labels = found.data.transpose(0, 2, 3, 1), found.labels
    except (RuntimeError, OSError) as error:  # torchvision's word for files that lack or differ
        raise FileFormatError(
            f"{home / _ORIGINALS[dataset]}: torchvision cannot read it ({error}). Unpack the original archive again."
        ) from error
    samples = [
        LabelledImage(f"{split}_{i:05d}", int(label), partial(np.array, image))
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True))
    ]
    return LabelledImages(tuple(samples), tuple(found.classes))


def _open_voc(root: Path, split: str) -> LabelledImages:
    """Open VOC 2012, detection: the class of an image is that of the first object in its annotation."""
    samples = [
        LabelledImage(one.name, CLASSES.index(read_classes(one.truth_path)[0]), partial(read_image, one.image_path))
        for one in VOC(root, 2012, split).samples
    ]
    return LabelledImages(tuple(samples), CLASSES)


def _open_bsds500(root: Path, split: str) -> LabelledImages:
    return _unlabelled([sample.image_path for sample in BSDS500(root, split).samples])


def _open_folder(root: Path, split: str) -> LabelledImages:
    """Open ROOT/SPLIT, else ROOT/train, else ROOT: class folders, or images without classes."""
    folder = next((one for one in (root / split, root / "train") if one.is_dir()), root)
    if not folder.is_dir():
        raise FileFormatError(f"{folder}: no such folder. Give one of images, or of one folder for each class.")
    if any(path.suffix.lower() in IMAGES for path in folder.iterdir()):
        return _unlabelled(list_images(folder, "Expected images."))
    return class_folders(folder)


def _unlabelled(paths: list[Path]) -> LabelledImages:
    return LabelledImages(tuple(LabelledImage(path.stem, UNLABELLED, partial(read_image, path)) for path in paths))


OPENERS: dict[str, Callable[[Path, str], LabelledImages]] = {
    "cifar10": partial(_open_small, "cifar10"),
    "stl10": partial(_open_small, "stl10"),
    "voc": _open_voc,
    "bsds500": _open_bsds500,
    "folder": _open_folder,
}
