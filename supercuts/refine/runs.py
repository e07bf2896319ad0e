"""Refine files into a folder: each image with its own network, or all of them with one network fitted to others.

An image's files are written atomically. Its document comes last and marks it as finished: a restarted run resumes with
the images that have no document.
"""

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int32, Integer
from PIL import Image

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.checks import check_in_range
from supercuts.core.config import load_config, save_resolved
from supercuts.core.errors import ImageError, InputError
from supercuts.core.files import MARK, atomic_path, atomic_paths, write_json
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import to_bands, to_rgb, to_unit
from supercuts.images.draw import random_colors
from supercuts.images.formats.array_files import read_variables
from supercuts.images.io import read_bands, read_image, write_labels_png, write_png
from supercuts.images.raster import ReadOptions, read_raster
from supercuts.refine.fit import Example, Step, Watch, fit, label
from supercuts.refine.refine_config import PartitionConfig, PreprocessConfig, RefineConfig
from supercuts.refine.refiner import KanezakiCNN, load_refiner, save_refiner


def prepare_run(
    image: Float32[np.ndarray, "height width channels"], config: PreprocessConfig
) -> Float32[np.ndarray, "new_height new_width channels"]:
    """Return the image cropped, blurred, resized (bilinear, smoothed first where it shrinks) and equalised.

    >>> prepare_run(np.zeros((70, 65, 1), np.float32), PreprocessConfig(crop_px=(0, 5, 0, 0), multiple=32)).shape
    (64, 64, 1)
    """
    image = _crop(image, config)
    if config.median_px > 1:
        from scipy.ndimage import median_filter

        image = median_filter(image, size=(config.median_px, config.median_px, 1))
    size = _size(image.shape[:2], config)
    if size != image.shape[:2]:
        from skimage.transform import resize

        image = resize(image, size, order=1, anti_aliasing=True)
    if config.clahe_clip > 0:
        image = _equalise(image, config)
    return np.ascontiguousarray(image.clip(0, 1), dtype=np.float32)


def prepare_labels(
    labels: Int32[np.ndarray, "height width"], config: PreprocessConfig
) -> Int32[np.ndarray, "new_height new_width"]:
    """Return a label map cropped and resized like its image; each pixel takes the nearest label, so none is new.

    >>> prepare_labels(np.array([[-1, 8], [3, 3]], np.int32), PreprocessConfig(size=(2, 4))).tolist()
    [[-1, -1, 8, 8], [3, 3, 3, 3]]
    """
    labels = _crop(labels, config)
    size = _size(labels.shape, config)
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(size, labels.shape, strict=True))
    return np.ascontiguousarray(labels[rows[:, None], columns])


def _crop(array: np.ndarray, config: PreprocessConfig) -> np.ndarray:
    top, bottom, left, right = config.crop_px
    height, width = array.shape[:2]
    if top + bottom >= height or left + right >= width:
        raise InputError(f"crop_px={list(config.crop_px)} leaves nothing of {height}x{width} pixels: crop less.")
    return array[top : height - bottom, left : width - right]


def _size(shape: tuple[int, ...], config: PreprocessConfig) -> tuple[int, int]:
    height, width = config.size or shape[:2]
    step = config.multiple
    # an image smaller than the multiple is enlarged to it
    return max(1, height // step) * step, max(1, width // step) * step


def _equalise(image: np.ndarray, config: PreprocessConfig) -> np.ndarray:
    from skimage.exposure import equalize_adapthist

    tile = [max(1, side // config.clahe_tiles) for side in image.shape[:2]]
    if image.shape[2] == 3:
        colored: np.ndarray = equalize_adapthist(image, tile, config.clahe_clip)
        return colored
    bands = [equalize_adapthist(image[..., i], tile, config.clahe_clip) for i in range(image.shape[2])]
    return np.stack(bands, axis=-1)


UNLABELLED = 255  # value without a class in files of scribbles
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def read_input(source: object, channels: int | None = 3) -> Float32[np.ndarray, "height width channels"]:
    """Return an image with this number of channels; if None, with all that are stored.

    3: RGB; grey pictures are converted. 1: grey; RGB is reduced to its luma. Other numbers: bands of .npy and .tif
    files and of arrays, as stored. A PNG or TIFF of 16 bits without transparency keeps its precision.

    >>> read_input(np.full((1, 2, 5), 65535, np.uint16), 5).shape
    (1, 2, 5)
    """
    pixels = _read_unit(source, channels)
    if channels == 3 and pixels.shape[2] == 1 and not str(source).lower().endswith(".npy"):
        return np.repeat(pixels, 3, axis=2)
    n = pixels.shape[2]
    if channels == 1 and n == 3:
        return np.ascontiguousarray((pixels @ _LUMA)[..., None])
    if channels not in (None, n):
        name = f"array of shape {source.shape}" if isinstance(source, np.ndarray) else str(source)
        raise ImageError(f"{name}: has {n} channels, not {channels}. Set channels={n} or give another image.")
    return pixels


def _read_unit(source: object, channels: int | None) -> Float32[np.ndarray, "height width channels"]:
    """Return an image in 0..1; 16-bit grey and RGB without transparency keep their precision."""
    if not isinstance(source, str | Path):
        return to_unit(read_image(source)) if channels == 3 else read_bands(source)
    raster = read_raster(source, ReadOptions(as_bands=channels != 3))
    is_npy = str(source).lower().endswith(".npy")
    values = raster.values[..., :3] if channels == 3 and raster.is_rgb else raster.values
    if raster.alpha is None and values.dtype == np.uint16 and values.shape[2] in (1, 3):
        return to_unit(values)
    return to_unit(to_rgb(raster) if channels == 3 and not is_npy else to_bands(raster))


def read_scribbles(path: Path) -> Int32[np.ndarray, "height width"]:
    """Return the classes of pixels, which are the values of a grey PNG; 255 means no class and becomes -1."""
    values = next(iter(read_variables(path).values()))
    if values.ndim != 2:
        raise ImageError(f"{path}: has shape {values.shape}; scribbles are a grey picture of classes, 255 for none.")
    return mark(values)


def mark(scribbles: Integer[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Return scribbles with -1 for 255 and for negative values.

    Parameters
    ----------
    scribbles
        (H, W) integers, class of each pixel; 255 and negative values mean unlabelled.

    Returns
    -------
    int32 (H, W)
        Class of each pixel, -1 if unlabelled.

    Raises
    ------
    InputError
        If the values are not integers.

    Examples
    --------
    >>> mark(np.array([[0, 8, 255]], np.uint8)).tolist()
    [[0, 8, -1]]
    """
    if scribbles.dtype.kind not in "iu":
        raise InputError(f"scribbles of type {scribbles.dtype}: give integers, the class of each pixel, 255 for none.")
    wide = scribbles.astype(np.int32)
    return np.where((wide == UNLABELLED) | (wide < 0), np.int32(-1), wide)


_FRAME_MS = 120
_MOST_FRAMES = 400  # maximum number of frames of the GIF, which is held in memory


class Preview:
    """Write a picture of every `every`-th step; call it with each step, then call finish."""

    def __init__(self, folder: Path, every: int = 10) -> None:
        """Set the folder, which is created."""
        check_in_range("every", every, 1, np.inf, remedy="Show each step by 1.")
        self.folder, self.every = folder, every
        self._frames: list[Path] = []

    def __call__(self, step: Step) -> None:
        """Write the step's labels if its number is a multiple of `every`."""
        if step.number % self.every:
            return
        picture, path = random_colors(step.labels), self.folder / f"{step.number:05d}.png"
        write_png(path, picture)
        write_png(self.folder / "live.png", picture)
        self._frames.append(path)

    def finish(self) -> Path | None:
        """Write the GIF and return its path; return None if there was no step."""
        if not self._frames:
            return None
        chosen = np.unique(np.linspace(0, len(self._frames) - 1, _MOST_FRAMES).round().astype(int))
        frames = []
        for i in chosen:
            with Image.open(self._frames[i]) as frame:
                frames.append(frame.convert("P", palette=Image.Palette.ADAPTIVE))
        path = self.folder.with_suffix(".gif")
        with atomic_path(path) as temporary:
            frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=_FRAME_MS, loop=0, comment=MARK)
        return path


def partition(
    image: Float32[np.ndarray, "height width channels"], config: PartitionConfig
) -> Int32[np.ndarray, "height width"]:
    """Return superpixels by "slic" (in Lab for RGB images) or "felzenszwalb"."""
    from skimage.segmentation import felzenszwalb, slic

    if config.method == "ssn":
        raise InputError("partition.method=ssn needs a model: give the labels of its superpixels, or slic.")
    if config.method == "felzenszwalb":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # more than three channels are intended
            labels = felzenszwalb(image, config.scale, config.sigma, config.min_size, channel_axis=-1)
    else:
        is_rgb = image.shape[2] == 3
        labels = slic(image, config.n_segments, config.compactness, channel_axis=-1, convert2lab=is_rgb, start_label=0)
    return relabel_consecutive(labels)[0]


SUFFIXES = ("_labels.png", "_colors.png", "_model.safetensors", "_refine.json")  # files per image with its own network
SHARED_SUFFIXES = ("_labels.png", "_colors.png", "_refine.json")
Tree = Callable[[np.ndarray, int], Hierarchy]  # arguments: image (H, W, C) float32, number of leaves


@dataclass(frozen=True, slots=True)
class Run:
    """Settings that all images of a run share.

    tree         computes superpixels of partition.method=ssn and initial labels; None: there are none
    show_every   number of steps from one picture to the next; None: no pictures
    overwrite    replace finished results, also those of other settings, instead of keeping them
    """

    out: Path
    config: RefineConfig
    tree: Tree | None = None
    show_every: int | None = None
    device: str = "cpu"
    overwrite: bool = False


def start(run: Run) -> None:
    """Write OUT/config.yaml; raise InputError if OUT holds results of other settings or the device is missing."""
    if run.device != "cpu" and not (run.device.startswith("cuda") and torch.cuda.is_available()):
        raise InputError(f"device={run.device!r} is not available: give cpu, or on a computer with a GPU cuda.")
    path = run.out / "config.yaml"
    if path.is_file() and not run.overwrite and load_config(path, RefineConfig) != run.config:
        raise InputError(
            f"{run.out} holds results of other settings ({path}): give another folder to --out, or --overwrite."
        )
    save_resolved(run.config, path)


def read_example(run: Run, path: Path, scribbles: Path | None = None) -> Example:
    """Return an image after preprocessing, with the superpixels that its method needs and its scribbles."""
    config = run.config
    image = read_input(path, config.channels)
    marks = None if scribbles is None else read_scribbles(scribbles)
    if marks is not None and marks.shape != image.shape[:2]:
        raise ImageError(
            f"{scribbles}: {marks.shape} pixels, the image {path} has {image.shape[:2]}: draw on that one."
        )
    image = prepare_run(image, config.preprocess)
    marks = None if marks is None else prepare_labels(marks, config.preprocess)
    h = None if run.tree is None else run.tree(image, config.partition.n_segments)
    return Example(image, superpixels_of(image, h, config), marks, initial_of(h, config))


def superpixels_of(image: np.ndarray, h: Hierarchy | None, config: RefineConfig) -> np.ndarray | None:
    """Return the superpixels in which method sp votes: the leaves of h, or superpixels of scikit-image."""
    if config.method != "sp":
        return None
    return h.labels if h is not None and config.partition.method == "ssn" else partition(image, config.partition)


def initial_of(h: Hierarchy | None, config: RefineConfig) -> np.ndarray | None:
    """Return the initial labels, a cut of h; None if there are none."""
    n_regions = min(config.initial_regions, config.n_classes)
    return h.cut(regions=min(n_regions, h.n_leaves)) if h is not None and n_regions else None


def refine_file(
    run: Run, path: Path, name: str, scribbles: Path | None = None, watch: Watch | None = None
) -> dict[str, Any]:
    """Fit a network to one image, write the results and return its document; a finished image is only read."""
    if not run.overwrite and (finished := read_document(run.out, name)) is not None:
        return finished
    example = read_example(run, path, scribbles)
    network, record, preview = fit_and_record([example], run, name, watch)
    return write_result(run, network, path, name, example, {**record, "files": preview}, SUFFIXES)


def train_file(run: Run, paths: Sequence[Path], watch: Watch | None = None) -> tuple[KanezakiCNN, dict[str, str]]:
    """Return one network fitted to all images, and the error message of each image that could not be read.

    The network is written to OUT/model.safetensors. If this file exists and was fitted to the same images, it is read.
    """
    weights, names = run.out / "model.safetensors", [str(path) for path in paths]
    if weights.is_file() and not run.overwrite:
        network, _, images = load_refiner(weights, run.device)
        if images != names:
            raise InputError(f"{weights} was fitted to other images: give another folder to --out.")
        return network, {}
    examples, failures = [], {}
    for path in paths:
        try:
            examples.append(read_example(run, path))
        except ImageError as error:
            failures[str(path)] = str(error)
    network, _, _ = fit_and_record(examples, run, "train", watch)
    save_refiner(weights, network, run.config, names)
    return network, failures


def label_file(run: Run, network: KanezakiCNN, path: Path, name: str, scribbles: Path | None = None) -> dict[str, Any]:
    """Label one image with a network that was fitted to others, write the results and return its document."""
    if not run.overwrite and (finished := read_document(run.out, name)) is not None:
        return finished
    return write_result(run, network, path, name, read_example(run, path, scribbles), {"files": []})


def fit_and_record(
    examples: Sequence[Example], run: Run, name: str, watch: Watch | None
) -> tuple[KanezakiCNN, dict[str, Any], list[str]]:
    """Return the network, a record of its steps, and the path of the GIF, if there is one."""
    preview = Preview(run.out / f"{name}_steps", run.show_every) if run.show_every else None
    last: list[Step] = []

    def follow(step: Step) -> None:
        last[:] = [step]
        for listener in (watch, preview):
            if listener is not None:
                listener(step)

    begin = time.perf_counter()
    network = fit(examples, run.config, follow, run.device)
    (step,) = last
    frames = preview.finish() if preview is not None else None
    record = {
        "steps": step.number + 1,
        "loss": round(step.loss, 6),
        "terms": {key: round(value, 6) for key, value in step.terms._asdict().items()},
        "seconds": round(time.perf_counter() - begin, 2),
    }
    return network, record, [] if frames is None else [str(frames)]


def write_result(
    run: Run,
    network: KanezakiCNN,
    path: Path,
    name: str,
    example: Example,
    record: dict[str, Any],
    suffixes: Sequence[str] = SHARED_SUFFIXES,
) -> dict[str, Any]:
    """Write the files of an image, its document last, or none of them; return the document."""
    labels = label(network, example, run.config)
    files = [run.out / f"{name}{suffix}" for suffix in suffixes]
    document = {
        "image": str(path),
        "height": labels.shape[0],
        "width": labels.shape[1],
        "labels": int(np.unique(labels).size),
        "superpixels": None if example.superpixels is None else int(example.superpixels.max()) + 1,
        "torch": torch.__version__,
        **record,
    }
    document["files"] = [str(file) for file in files] + record["files"]
    with atomic_paths(files) as staged:
        write_labels_png(staged[0], labels)
        write_png(staged[1], random_colors(labels))
        if suffixes == SUFFIXES:
            save_refiner(staged[2], network, run.config, [str(path)])
        write_json(staged[-1], document)
    return document


def read_document(out: Path, name: str) -> dict[str, Any] | None:
    """Return the document of a finished image; None if it is not finished or its document is damaged."""
    path = out / f"{name}_refine.json"
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    is_whole = isinstance(document, dict) and isinstance(document.get("files"), list)
    return {**document, "resumed": True} if is_whole else None
