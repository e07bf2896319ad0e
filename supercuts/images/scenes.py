"""An image as it is segmented: what the network sees, the bands beside it, the pixels that are valid.

In   what read_image and read_bands take, or an xarray DataArray; which bands the network sees; a mask
Out  Scene
Not  no segmentation, no map coordinates (export/georeference.py)
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8

from supercuts.core.errors import InputError
from supercuts.images.bands import read_channels, read_pixels, to_unit
from supercuts.images.io import read_image
from supercuts.images.windows import read_tiff

_ROWS = 512  # converted at a time
_BAND_AXES = ("band", "bands", "channel", "channels", "c", "wavelength")
_TIFFS = (".tif", ".tiff")


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An image.

    pixels  (H, W, 3) uint8 RGB, or (H, W, C) float32 in 0..1: what the network sees
    bands   (H, W, K) uint8, uint16 or float32 in 0..1: what it does not, K = 0 of pictures
    valid   (H, W) bool, or None if all pixels are
    """

    pixels: UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width _"]
    bands: Shaped[np.ndarray, "height width _"]
    valid: Bool[np.ndarray, "height width"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.pixels.shape[:2]
        return height, width

    @property
    def is_plain(self) -> bool:
        """Whether every pixel is valid and the network sees every band."""
        return self.valid is None and self.bands.shape[2] == 0


def all_bands(scene: Scene) -> Float32[np.ndarray, "height width bands"]:
    """Return all bands of an image in 0..1: those that the network sees, then the others."""
    return np.concatenate([to_unit(scene.pixels), to_unit(scene.bands)], axis=2)


def read_scene(
    source: object,
    channels: int | None = 3,
    bands: Sequence[int] | None = None,
    mask: Bool[np.ndarray, "height width"] | str | os.PathLike[str] | None = None,
) -> Scene:
    """Return the image for a network of so many channels.

    bands  those that the network sees, in its order, counted from 1; unless given, the first ones of an image that has
           more than the network, of which four are taken for RGB and transparency
    mask   true where pixels are valid, or a file of it: a picture or array that is not 0 there

    Pixels without data of a GeoTIFF, and those that are NaN in a DataArray, are not valid either.
    """
    values, valid = _read(source, channels, bands)
    scene = _split(values, channels, bands, valid)
    if mask is not None:
        given = mask if isinstance(mask, np.ndarray) else read_mask(mask)
        if given.dtype != np.bool_ or given.shape != scene.shape:
            raise InputError(
                f"mask is {given.dtype} {given.shape}; expected bool {scene.shape}, the height and width of the image, "
                "true where pixels are valid: compare it with its threshold (mask > 0)."
            )
        valid = given if valid is None else given & valid
    if valid is not None and not valid.any():
        raise InputError(
            "the image has no valid pixel: there is nothing to segment. Expected a mask that is true, or not 0, where "
            "pixels are valid, and data that is not all nodata."
        )
    return Scene(scene.pixels, scene.bands, None if valid is None or valid.all() else valid)


def read_mask(path: str | os.PathLike[str]) -> Bool[np.ndarray, "height width"]:
    """Return where a picture or an array of one band is not 0."""
    pixels = read_pixels(path)
    return np.asarray((pixels != 0).any(axis=2))


def image_axes(source: Any) -> tuple[str, str]:
    """Return the names of the axes of a DataArray that count rows and columns; a third may count bands."""
    names = [str(name) for name in getattr(source, "dims", ())]
    axes = [name for name in names if name.lower() not in _BAND_AXES]
    if len(axes) != 2 or len(names) > 3 or not hasattr(source, "to_numpy"):
        raise InputError(
            f"{type(source).__name__} of axes {names} is no image: give a DataArray of two axes, rows then columns, "
            f"and at most one of bands, called one of {', '.join(_BAND_AXES)}."
        )
    return axes[0], axes[1]


def _read(
    source: object, channels: int | None, bands: Sequence[int] | None
) -> tuple[np.ndarray, Bool[np.ndarray, "height width"] | None]:
    """Return the image as stored, or already as the network sees it, and its valid pixels."""
    if type(source).__module__.split(".")[0] == "xarray":
        return _from_xarray(source)
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
        raster = read_tiff(path) if path.suffix.lower() in _TIFFS and path.is_file() else None
        if raster is not None:
            return _without_nan(raster.values), raster.valid
    n_bands = _count_bands(source)
    if bands is None and (n_bands is None or n_bands <= 4 or n_bands == channels):
        return read_channels(source, channels), None
    return read_pixels(source), None


def _count_bands(source: object) -> int | None:
    """Return the bands of an array or a file of arrays, None of a picture."""
    if isinstance(source, np.ndarray):
        return int(source.shape[2]) if source.ndim == 3 else 1
    if isinstance(source, str | os.PathLike) and os.fsdecode(source).lower().endswith(".npy"):
        return int(read_pixels(source).shape[2])
    shape = getattr(source, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) == 3 else None  # a tensor (C, H, W)


def _split(values: np.ndarray, channels: int | None, bands: Sequence[int] | None, valid: np.ndarray | None) -> Scene:
    height, width, n_bands = values.shape
    wanted = n_bands if channels is None else channels
    if bands is None and (n_bands <= wanted or n_bands < 3):
        pixels = values if values.dtype == np.uint8 and n_bands == 3 else _seen(values, wanted)
        return Scene(pixels, np.zeros((height, width, 0), np.uint8), valid)
    if bands is None and height == wanted:  # (C, H, W), which would be an image of few rows and many bands
        read_channels(values, channels)  # refuses it, and says how to transpose it
    chosen = list(range(1, wanted + 1)) if bands is None else [int(band) for band in bands]
    if len(chosen) != wanted or len(set(chosen)) != wanted or not all(1 <= band <= n_bands for band in chosen):
        raise InputError(
            f"bands={tuple(chosen)} of an image of {n_bands} bands: expected {wanted} different numbers from 1 to "
            f"{n_bands}, those that the network sees."
        )
    others = [band for band in range(n_bands) if band + 1 not in chosen]
    pixels = _seen(values[..., [band - 1 for band in chosen]], wanted)
    return Scene(pixels, np.ascontiguousarray(values[..., others]), valid)


def _seen(values: np.ndarray, channels: int) -> np.ndarray:
    """Return RGB bytes for a network of three channels, else bands in 0..1; a few rows at a time."""
    if channels != 3:
        return read_channels(values, channels) if values.dtype.kind == "u" else to_unit(values)
    if values.dtype == np.uint8 and values.shape[2] == 3:
        return np.ascontiguousarray(values)
    rgb = np.empty((*values.shape[:2], 3), np.uint8)
    for top in range(0, len(rgb), _ROWS):
        rgb[top : top + _ROWS] = read_image(values[top : top + _ROWS])
    return rgb


def _without_nan(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values, copy=False, nan=0, posinf=0, neginf=0) if values.dtype.kind == "f" else values


def _from_xarray(source: Any) -> tuple[np.ndarray, Bool[np.ndarray, "height width"] | None]:
    """Return (H, W, C) and the valid pixels of a DataArray of axes y, x and, in any place, bands."""
    axes = image_axes(source)
    values = source.transpose(*axes, ...).to_numpy()
    values = values[..., None] if values.ndim == 2 else values
    valid = None
    nodata = source.attrs.get("_FillValue", source.attrs.get("nodata"))
    if nodata is not None:
        valid = ~(values == nodata).all(axis=2)
    if values.dtype.kind == "f":
        finite = np.isfinite(values).all(axis=2)
        valid = finite if valid is None else finite & valid
        values = np.where(valid[..., None], values, 0)
    return read_pixels(values), valid
