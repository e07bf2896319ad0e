"""Prepare images as programs for micrographs do: crop, median blur, size, adaptive histogram equalisation.

In   (H, W, C) float32 in 0..1; scribbles (H, W)
Out  the same, prepared; of labels only what moves pixels
Not  no random changes: superpixels are made once, of the image that the network sees

CLAHE works on each channel, of RGB on the value of HSV; its tiles follow the size of the image.
"""

import numpy as np
from jaxtyping import Float32, Int32

from supercuts.core.errors import InputError
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
