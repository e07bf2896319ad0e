"""Prepare images as programs for micrographs do: crop, median blur, size, adaptive histogram equalisation.

In   (H, W, C) float32 in 0..1; scribbles (H, W)
Out  the same, prepared; of labels only what moves pixels
Not  no random changes: superpixels are made once, of the image that the network sees

CLAHE works on each channel, of RGB on the value of HSV; its tiles follow the size of the image.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Integer

from supercuts.core.errors import ImageError, InputError
from supercuts.images.array_files import read_variables
from supercuts.images.bands import read_bands, to_unit
from supercuts.images.deep import read_deep
from supercuts.images.io import read_image
from supercuts.refine.config import PreprocessConfig


def prepare(
    image: Float32[np.ndarray, "height width channels"], config: PreprocessConfig
) -> Float32[np.ndarray, "new_height new_width channels"]:
    """Return the image cropped, blurred, resized (bilinear, smoothed first where it shrinks) and equalised.

    >>> prepare(np.zeros((70, 65, 1), np.float32), PreprocessConfig(crop_px=(0, 5, 0, 0), multiple=32)).shape
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
    """Return what `prepare` makes of a label map: each pixel takes the nearest one's label, so that none is new.

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
    # an image smaller than the multiple is brought up to it
    return max(1, height // step) * step, max(1, width // step) * step


def _equalise(image: np.ndarray, config: PreprocessConfig) -> np.ndarray:
    from skimage.exposure import equalize_adapthist

    tile = [max(1, side // config.clahe_tiles) for side in image.shape[:2]]
    if image.shape[2] == 3:
        colored: np.ndarray = equalize_adapthist(image, tile, config.clahe_clip)
        return colored
    bands = [equalize_adapthist(image[..., i], tile, config.clahe_clip) for i in range(image.shape[2])]
    return np.stack(bands, axis=-1)


UNLABELLED = 255  # in files of scribbles
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def read_input(source: object, channels: int | None = 3) -> Float32[np.ndarray, "height width channels"]:
    """Return an image of so many channels; None: as many as are stored.

    3: RGB, which grey pictures are turned into. 1: grey, the luma of RGB. Other numbers: bands of .npy and .tif files
    and of arrays, as stored. A PNG or TIFF of 16 bits without transparency keeps them.

    >>> read_input(np.full((1, 2, 5), 65535, np.uint16), 5).shape
    (1, 2, 5)
    """
    deep = read_deep(source) if isinstance(source, str | Path) else None
    if channels == 3 and not str(source).lower().endswith(".npy"):
        pixels = to_unit(read_image(source) if deep is None else deep)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    pixels = read_bands(source) if deep is None else to_unit(deep)  # read_pixels keeps 8 bits of three bands
    found = pixels.shape[2]
    if channels == 1 and found == 3:
        return np.ascontiguousarray((pixels @ _LUMA)[..., None])
    if channels not in (None, found):
        name = f"array of shape {source.shape}" if isinstance(source, np.ndarray) else str(source)
        raise ImageError(f"{name}: has {found} channels, not {channels}. Set channels={found} or give another image.")
    return pixels


def read_scribbles(path: Path) -> Int32[np.ndarray, "height width"]:
    """Return the classes that a grey PNG gives pixels: its values are the classes, 255 is none and becomes -1."""
    values = next(iter(read_variables(path).values()))
    if values.ndim != 2:
        raise ImageError(f"{path}: has shape {values.shape}; scribbles are a grey picture of classes, 255 for none.")
    return mark(values)


def mark(scribbles: Integer[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Return scribbles with -1 for 255 and for negative values.

    >>> mark(np.array([[0, 8, 255]], np.uint8)).tolist()
    [[0, 8, -1]]
    """
    if scribbles.dtype.kind not in "iu":
        raise InputError(f"scribbles of type {scribbles.dtype}: give integers, the class of each pixel, 255 for none.")
    wide = scribbles.astype(np.int32)
    return np.where((wide == UNLABELLED) | (wide < 0), np.int32(-1), wide)
