"""Read an image as a Scene for the pipeline: the network's input, further bands, valid pixels, georeference."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8
from PIL import Image

from supercuts.core.errors import ImageError, ImageWarning, InputError
from supercuts.images.convert import as_stored, check_range, stretched, to_bands, to_rgb, to_unit
from supercuts.images.formats.arrays import as_colors, check_order, is_tensor, without_nan, without_sentinels
from supercuts.images.georeference import Georeference
from supercuts.images.raster import AS_USUAL, Raster, ReadOptions, read_raster, refuse_without_memory


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An image as the pipeline segments it.

    pixels        (H, W, 3) uint8 RGB, or (H, W, C) float32 in 0..1: the network's input
    bands         (H, W, K) uint8, uint16 or float32 in 0..1: bands that the network does not use; K = 0 for pictures
    valid         (H, W) bool mask of valid pixels, or None if all are valid
    georeference  transform to map coordinates, or None
    """

    pixels: UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width _"]
    bands: Shaped[np.ndarray, "height width _"]
    valid: Bool[np.ndarray, "height width"] | None = None
    georeference: Georeference | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.pixels.shape[:2]
        return height, width

    @property
    def is_plain(self) -> bool:
        """Whether every pixel is valid and the network uses every band."""
        return self.valid is None and self.bands.shape[2] == 0


def all_bands(scene: Scene) -> Float32[np.ndarray, "height width bands"]:
    """Return all bands of an image in 0..1: first the network's input, then the other bands."""
    return np.concatenate([to_unit(scene.pixels), to_unit(scene.bands)], axis=2)


@refuse_without_memory
def read_scene(
    source: object,
    channels: int | None = 3,
    bands: Sequence[int] | None = None,
    mask: Any = None,
    options: ReadOptions = AS_USUAL,
) -> Scene:
    """Return the image as a Scene for a network with the given number of channels.

    bands  the bands for the network, in its order, counted from 1; if None, the first ones. Without `bands`, arrays of
           four channels are RGB and transparency
    mask   (H, W), an array, tensor or list of bool, true where pixels are valid; or the file of a mask: a picture or an
           array that is nonzero where pixels are valid

    Nodata pixels, NaN and, in a TIFF, fully transparent pixels are invalid too.
    """
    as_bands = bands is not None or channels not in (None, 3)
    raster = without_nan(read_raster(source, options._replace(as_bands=as_bands)))
    raster, sentinel_note = without_sentinels(raster)
    valid = _joined(raster.valid, mask, raster.shape)
    if options.axes is None and raster.values.shape[2] != channels and _names_no_axes(source, raster.name):
        check_order(raster, is_tensor(source))
    raster = _with_channels(replace(raster, valid=valid), source, channels, bands)
    # a network of another number of channels was trained on values as stored
    raster, note = stretched(raster, "none" if options.stretch is None and channels != 3 else options.stretch)
    for message in filter(None, (sentinel_note, note if options.stretch is None else "")):
        warnings.warn(message, ImageWarning, stacklevel=3)
    pixels, other_bands = _split(raster, channels, bands)
    if not isinstance(source, str | os.PathLike | Image.Image):  # the owner of an array may change it
        pixels = pixels.copy() if np.may_share_memory(pixels, raster.values) else pixels
    return Scene(pixels, other_bands, valid, raster.georeference)


def read_mask(source: str | os.PathLike[str] | Image.Image) -> Bool[np.ndarray, "height width"]:
    """Return the mask of nonzero pixels of a picture or an array in a file, or of a PIL image."""
    raster = read_raster(source)
    pixels = to_rgb(raster) if raster.is_picture else raster.values
    return np.asarray((pixels != 0).any(axis=2))


def _joined(valid: np.ndarray | None, mask: Any, shape: tuple[int, int]) -> Bool[np.ndarray, "height width"] | None:
    """Return the mask of pixels that are valid and true in `mask`, or None if all are."""
    if mask is not None:
        given_mask = read_mask(mask) if isinstance(mask, str | os.PathLike | Image.Image) else np.asarray(mask)
        if given_mask.dtype != np.bool_ or given_mask.shape != shape:
            raise InputError(
                f"mask is {given_mask.dtype} {given_mask.shape}; expected bool {shape}, the height and width of the "
                "image, true where pixels are valid: compare it with its threshold (mask > 0)."
            )
        valid = given_mask if valid is None else given_mask & valid
    if valid is not None and not valid.any():
        raise InputError(
            "the image has no valid pixel: there is nothing to segment. Expected a mask that is true, or not 0, where "
            "pixels are valid, and data that is not all nodata."
        )
    return None if valid is None or valid.all() else valid


def _with_channels(raster: Raster, source: object, channels: int | None, bands: Sequence[int] | None) -> Raster:
    """Return the image with transparency separate, or as a channel if `channels` or `bands` count it."""
    is_array = isinstance(source, np.ndarray) or is_tensor(source)
    n_channels = raster.values.shape[2]
    if _names_no_axes(source, raster.name):
        if bands is None and channels == 3 and n_channels == 2 and not is_array:
            raise ImageError(_other_channels(raster.name, raster.values.shape, channels))
        if bands is None and channels == 3 and n_channels <= 4:
            return as_colors(raster, is_tensor(source))
        return raster
    is_counted = channels == n_channels + 1 or (bands is not None and n_channels + 1 in bands)
    if raster.alpha is not None and not raster.is_picture and is_counted:
        values = np.concatenate([raster.values, raster.alpha[..., None]], axis=2)
        return replace(raster, values=values, alpha=None)
    return raster


def _names_no_axes(source: object, name: str) -> bool:
    return isinstance(source, np.ndarray) or is_tensor(source) or name.lower().endswith(".npy")


def _split(raster: Raster, channels: int | None, bands: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the network's input and the other bands."""
    height, width = raster.shape
    n_bands = 3 if raster.is_picture else raster.values.shape[2]
    n_wanted = n_bands if channels is None else channels
    if bands is None and (n_bands <= n_wanted or n_bands < 3):
        return _seen(raster, n_wanted), np.zeros((height, width, 0), np.uint8)
    chosen = list(range(1, n_wanted + 1)) if bands is None else [int(band) for band in bands]
    if len(chosen) != n_wanted or len(set(chosen)) != n_wanted or not all(1 <= band <= n_bands for band in chosen):
        raise InputError(
            f"bands={tuple(chosen)} of an image of {n_bands} bands: expected {n_wanted} different numbers from 1 to "
            f"{n_bands}, the bands for the network."
        )
    values = to_rgb(raster) if raster.is_picture else raster.values
    alpha = None if raster.is_picture else raster.alpha
    other_bands = [band for band in range(n_bands) if band + 1 not in chosen]
    network_raster = replace(raster, values=values[..., [band - 1 for band in chosen]], alpha=alpha, is_picture=False)
    check_range(replace(raster, values=values))
    return _seen(network_raster, n_wanted), as_stored(values[..., other_bands])


def _seen(raster: Raster, channels: int) -> np.ndarray:
    """Return RGB bytes for a network of three channels, else bands in 0..1."""
    if channels == 3:
        if raster.values.shape[2] == 2:  # shown in red and green, like two channels of a microscope
            empty = np.zeros((*raster.shape, 1), raster.values.dtype)
            raster = replace(raster, values=np.concatenate([raster.values, empty], axis=2))
        return to_rgb(raster)
    stored = to_bands(raster if raster.is_picture else replace(raster, alpha=None))
    if stored.shape[2] != channels:
        raise ImageError(_other_channels(raster.name, stored.shape, channels))
    return to_unit(stored)


def _other_channels(name: str, shape: tuple[int, ...], channels: int) -> str:
    height, width, n_channels = shape
    turned = (
        f" If its channels come first, transpose it to ({width}, {n_channels}, {height})." if height == channels else ""
    )
    return (
        f"{name}: {height} rows, {width} columns and {n_channels} channels, but the model was trained on {channels}. "
        f"Give those {channels}, in their order.{turned}"
    )
