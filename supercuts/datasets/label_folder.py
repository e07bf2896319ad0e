"""Read a user's folder of images and label maps, split by sub-folder or by name; open labelled images by data set."""

import hashlib
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int32, UInt8

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import FileFormatError, SuperCutsError
from supercuts.core.files import IMAGES, warn_of_skipped
from supercuts.datasets.annotations import list_images
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import Sample, SampleSequence
from supercuts.datasets.voc import CLASSES, VOC, read_classes
from supercuts.images import raster
from supercuts.images.formats import array_files
from supercuts.images.io import read_image

_SPLITS = {"train": ("train",), "val": ("val",), "train+val": ("train", "val")}
_IMAGES = tuple(sorted((*IMAGES, ".npy")))
_LABELS = (".npy", ".png", ".tif", ".tiff")
_ID_LIMIT = 2.0**53  # from here on, floats cannot distinguish integers
_MOST_LISTED = 50  # problems listed in one error
_HELP = f"""Expected
  FOLDER/images/NAME.png        any of {", ".join(_IMAGES)}
  FOLDER/labels/NAME.png        its label map, any of {", ".join(_LABELS)}; or, by several annotators,
  FOLDER/labels/NAME/*.png      one file each
or all of it one folder deeper, in images/train, labels/train, images/val and labels/val."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class LabelFolder(SampleSequence[Sample]):
    """The samples of one split ("train", "val" or "train+val") of a folder, sorted by name.

    Without folders images/train and images/val, `val_fraction` of the images are "val". A hash of the name assigns each
    image, so adding images does not move others. Neither part is empty if there are several images and `val_fraction`
    is neither 0 nor 1.

    >>> data = LabelFolder("cells", "train")                    # doctest: +SKIP
    >>> data.check()                                            # doctest: +SKIP
    >>> data[0].name, data[0].truths[0].shape                   # doctest: +SKIP
    ('plate_07', (512, 640))
    """

    folder: str | os.PathLike[str]
    split: str
    val_fraction: float = 0.1

    def __post_init__(self) -> None:
        check_choice("split", self.split, _SPLITS)
        remedy = "Give the share of the images that are kept for validation."
        check_in_range("val_fraction", self.val_fraction, 0, 1, remedy=remedy)
        object.__setattr__(self, "samples", tuple(_list_samples(Path(self.folder), self.split, self.val_fraction)))

    def check(self) -> None:
        """Raise FileFormatError, which lists all problems of the split, if there are any; reads only file headers."""
        folder = Path(self.folder)
        problems = [*_misplaced(folder), *_mismatched(folder, self.split), *_unlabelled(self.samples)]
        shapes: dict[int, str] = {}
        for sample in self.samples:
            shape = _or_problem(problems, raster.read_shape, sample.image_path)
            if shape is not None:
                shapes.setdefault(shape[2], sample.image_path.name)
            problems += _label_problems(sample, shape)
        if len(shapes) > 1:
            counts = ", ".join(f"{name} has {count}" for count, name in sorted(shapes.items()))
            problems.append(f"images differ in their number of channels: {counts}. Give all of them the same.")
        if problems:
            listed = "\n".join(f"- {problem}" for problem in problems[:_MOST_LISTED])
            more = f"\n... and {len(problems) - _MOST_LISTED} more" if len(problems) > _MOST_LISTED else ""
            raise FileFormatError(
                f"{self.folder}, split {self.split}: {len(problems)} problems.\n{listed}{more}\n{_HELP}"
            )


def read_label_maps(path: Path) -> list[Int32[np.ndarray, "height width"]]:
    """Return the label map in a file, or the label maps of all files in a folder, sorted by name.

    Pixels with the same id are one region, connected or not. Regions are numbered 0..R-1 in ascending order of ids.
    """
    return [_read_label_map(file) for file in _label_files(path)]


def _read_label_map(path: Path) -> Int32[np.ndarray, "height width"]:
    values = array_files.read_variables(path)["array"]
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "biuf":
        raise FileFormatError(
            f"{path} holds {values.shape} {values.dtype}. Expected one label map: whole numbers (H, W). Save each "
            "annotator's map in a separate file."
        )
    if values.dtype.kind == "f":
        is_whole = (np.abs(values) < _ID_LIMIT) & (values == np.rint(values))  # NaN fails both
        if not is_whole.all():
            y, x = np.argwhere(~is_whole)[0].tolist()
            raise FileFormatError(
                f"{path} holds {values[y, x].item()} at row {y}, column {x}. Expected ids of regions, which "
                "are whole numbers: save the label map itself."
            )
    return relabel_consecutive(values.astype(np.int64))[0]


def _list_samples(folder: Path, split: str, val_fraction: float) -> list[Sample]:
    images = folder / "images"
    if not images.is_dir():
        raise FileFormatError(f"No images/ in {folder.absolute()}.\n{_HELP}")
    parts = _sub_folders(images)
    for part in parts or ["."]:
        warn_of_skipped(sorted((images / part).iterdir()))
    samples = _of_sub_folders(folder, split) if parts else _of_names(folder, split, val_fraction)
    if not samples:
        raise FileFormatError(f"No image of split {split} in {images.absolute()}.\n{_HELP}")
    return samples


def _sub_folders(folder: Path) -> list[str]:
    return [part for part in _SPLITS["train+val"] if (folder / part).is_dir()]


def _of_sub_folders(folder: Path, split: str) -> list[Sample]:
    images, labels = folder / "images", folder / "labels"
    parts = _SPLITS[split]
    if len(parts) == 1 and parts[0] not in _sub_folders(images):
        raise FileFormatError(
            f"{images} holds {_sub_folders(images)[0]}/ but no {parts[0]}/. Make it, or ask for split "
            f"train+val, which trains on all images, without validation.\n{_HELP}"
        )
    return [
        Sample(f"{part}/{image.stem}", image, _truth_path(labels / part, image.stem), read_label_maps)
        for part in parts
        for image in _files(images / part, _IMAGES)
    ]


def _of_names(folder: Path, split: str, val_fraction: float) -> list[Sample]:
    files = _files(folder / "images", _IMAGES)
    place = {
        path: int.from_bytes(hashlib.sha256(path.stem.encode("utf-8", "surrogatepass")).digest()[:8]) / 2**64
        for path in files
    }
    val = {path for path in files if place[path] < val_fraction}
    if 0 < val_fraction < 1 and len(files) > 1:  # a part without images would be useless
        lowest, highest = min(files, key=place.__getitem__), max(files, key=place.__getitem__)
        val = (val | {lowest}) - {highest}
    parts = _SPLITS[split]
    return [
        Sample(path.stem, path, _truth_path(folder / "labels", path.stem), read_label_maps)
        for path in files
        if ("val" if path in val else "train") in parts
    ]


def _truth_path(folder: Path, name: str) -> Path:
    """Return the label file of an image, or its folder of label files; if there is neither, the expected file."""
    candidates = (folder / f"{name}{suffix}" for suffix in _LABELS)
    existing = (path for path in itertools.chain(candidates, [folder / name]) if path.exists())
    return next(existing, folder / f"{name}.png")


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and _is_visible_file(path))


def _is_visible_file(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_file()


def _label_files(path: Path) -> list[Path]:
    return _files(path, _LABELS) if path.is_dir() else [path]


def _misplaced(folder: Path) -> list[str]:
    """Return a problem for each image beside the folders of the splits, which would never be read."""
    images = folder / "images"
    if not (parts := _sub_folders(images)):
        return []
    return [
        f"{path} lies next to {' and '.join(f'{part}/' for part in parts)}. Move it into one of them."
        for path in _files(images, _IMAGES)
    ]


def _mismatched(folder: Path, split: str) -> list[str]:
    """Return a problem for each label without an image, and for each name shared by several files."""
    images, labels = folder / "images", folder / "labels"
    parts = [part for part in _SPLITS[split] if part in _sub_folders(images)] or ["."]
    problems = []
    for part in parts:
        by_name = _by_name(_files(images / part, _IMAGES))
        of_name = _by_name([*_files(labels / part, _LABELS), *_folders(labels / part)])
        for kind, files in (("images", by_name), ("labels", of_name)):
            problems += [
                f"{', '.join(map(str, paths))} are {len(paths)} {kind} of the same name. Keep one."
                for paths in files.values()
                if len(paths) > 1
            ]
        for name in sorted(of_name.keys() - by_name.keys()):
            problems.append(f"{of_name[name][0]} has no image {images / part / name}.*. Add it, or remove the label.")
    return problems


def _unlabelled(samples: Sequence[Sample]) -> list[str]:
    return [
        f"{sample.image_path} has no label {sample.truth_path}. Add it, or remove the image."
        for sample in samples
        if not sample.truth_path.exists()
    ]


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    is_split = folder.name == "labels" and _sub_folders(folder)
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and not is_split)


def _by_name(paths: list[Path]) -> dict[str, list[Path]]:
    paths_by_name: dict[str, list[Path]] = {}
    for path in paths:
        paths_by_name.setdefault(path.name if path.is_dir() else path.stem, []).append(path)
    return paths_by_name


def _label_problems(sample: Sample, shape: tuple[int, int, int] | None) -> list[str]:
    """Return the problems of the label files of an image of the given shape; reads only file headers."""
    problems: list[str] = []
    if not sample.truth_path.exists():
        return problems  # _unlabelled reports it
    files = _label_files(sample.truth_path)
    if not files:
        return [f"{sample.truth_path} holds no label map. Give one of {', '.join(_LABELS)} for each annotator."]
    for file in files:
        size = _or_problem(problems, array_files.read_shape, file)
        if size is not None and shape is not None and size != shape[:2]:
            problems.append(f"{file} is {size}, but {sample.image_path.name} is {shape[:2]} (rows, columns).")
    return problems


def _or_problem(problems: list[str], read: Callable[[Path], _T], path: Path) -> _T | None:
    try:
        return read(path)
    except SuperCutsError as error:
        problems.append(str(error))
        return None


UNLABELLED = -1
_FOLDERS = {"cifar10": ("CIFAR10", "cifar10", "cifar-10"), "stl10": ("STL10", "stl10")}
_ORIGINALS = {"cifar10": "cifar-10-batches-py", "stl10": "stl10_binary"}  # folders inside torchvision's archives


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image: name, class number (UNLABELLED: none) and the function that returns its (H, W, 3) uint8 pixels."""

    name: str
    label: int
    read: Callable[[], UInt8[np.ndarray, "height width 3"]]


@dataclass(frozen=True)
class LabelledImages:
    """The images of a split, and the names of classes 0, 1, ...; () if there are no classes.

    >>> data = open_labelled("cifar10", "data", "train")        # doctest: +SKIP
    >>> data.class_names[data.samples[0].label]                 # doctest: +SKIP
    'airplane'
    """

    samples: tuple[LabelledImage, ...] = field(repr=False)
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


def open_labelled(dataset: str, root: str | os.PathLike[str], split: str) -> LabelledImages:
    """Return one split ("train", "test", "val", ..., depending on the data set) of the named data set."""
    check_choice("dataset", dataset, OPENERS)
    return OPENERS[dataset](Path(root), split)


def class_folders(folder: Path) -> LabelledImages:
    """Return the images of FOLDER/CLASS/*, with classes and images sorted by name."""
    expected = f"Expected {folder}/CLASS/NAME.jpg, any of {', '.join(IMAGES)}, one folder for each class."
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise FileFormatError(f"No folder of a class in {folder.absolute()}.\n{expected}")
    samples = [
        LabelledImage(f"{class_folder.name}/{path.stem}", number, partial(read_image, path))
        for number, class_folder in enumerate(classes)
        for path in list_images(class_folder, expected)
    ]
    return LabelledImages(tuple(samples), tuple(class_folder.name for class_folder in classes))


def _open_small(dataset: str, root: Path, split: str) -> LabelledImages:
    """Open CIFAR10 or STL10 from class folders, else from torchvision's files."""
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
    """Read the original files with torchvision, which verifies their MD5 sums before unpickling."""
    from torchvision import datasets  # other data sets do not need torch

    check_choice("split", split, ("train", "test") if dataset == "cifar10" else ("train", "test", "unlabeled"))
    try:
        if dataset == "cifar10":
            opened: Any = datasets.CIFAR10(str(home), train=split == "train", download=False)
            pixels, labels = opened.data, opened.targets
        else:
            opened = datasets.STL10(str(home), split=split, download=False)
            pixels, labels = opened.data.transpose(0, 2, 3, 1), opened.labels
    except (RuntimeError, OSError) as error:  # raised by torchvision for missing or corrupted files
        raise FileFormatError(
            f"{home / _ORIGINALS[dataset]}: torchvision cannot read it ({error}). Unpack the original archive again."
        ) from error
    samples = [
        LabelledImage(f"{split}_{i:05d}", int(label), partial(np.array, image))
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True))
    ]
    return LabelledImages(tuple(samples), tuple(opened.classes))


def _open_voc(root: Path, split: str) -> LabelledImages:
    """Open VOC 2012; the class of an image is the class of the first object in its annotation."""
    samples = [
        LabelledImage(
            sample.name, CLASSES.index(read_classes(sample.truth_path)[0]), partial(read_image, sample.image_path)
        )
        for sample in VOC(root, 2012, split).samples
    ]
    return LabelledImages(tuple(samples), CLASSES)


def _open_bsds500(root: Path, split: str) -> LabelledImages:
    return _without_labels([sample.image_path for sample in BSDS500(root, split).samples])


def _open_folder(root: Path, split: str) -> LabelledImages:
    """Open ROOT/SPLIT, else ROOT/train, else ROOT, as class folders or as images without classes."""
    folder = next((candidate for candidate in (root / split, root / "train") if candidate.is_dir()), root)
    if not folder.is_dir():
        raise FileFormatError(f"{folder}: no such folder. Give a folder of images, or of a folder for each class.")
    if any(path.suffix.lower() in IMAGES for path in folder.iterdir()):
        return _without_labels(list_images(folder, "Expected images."))
    return class_folders(folder)


def _without_labels(paths: list[Path]) -> LabelledImages:
    return LabelledImages(tuple(LabelledImage(path.stem, UNLABELLED, partial(read_image, path)) for path in paths))


OPENERS: dict[str, Callable[[Path, str], LabelledImages]] = {
    "cifar10": partial(_open_small, "cifar10"),
    "stl10": partial(_open_small, "stl10"),
    "voc": _open_voc,
    "bsds500": _open_bsds500,
    "folder": _open_folder,
}
