"""Read images of any number of bands.

In   a path (.npy and .tif: bands; other files: RGB), PIL image, numpy array or torch tensor
Out  (H, W, C) float32 in 0..1; or uint8, uint16, float32 as stored; (H, W, C) of a file without decoding it
Not  no colour conversion, no map coordinates, no resizing, no torch import

Bands are taken as stored: a grey .tif has one, the alpha of another counts as one. Three bands are always RGB.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from PIL import Image

from supercuts.core.errors import FileFormatError, ImageError
from supercuts.images.array_files import read_variables, refusing_damage
from supercuts.images.io import MAX_PIXELS, read_image
from supercuts.images.tiff_pages import check_pages

_TIFFS = (".tif", ".tiff")
_PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_EXIF_ORIENTATION = 274
_ORIENTED = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # where Pillow looks for it
_PHOTO_KINDS = (3, 5, 6, 8)  # photometrics of TIFF whose samples are no bands: palette, CMYK, YCbCr, CIE Lab
_PHOTO_RGB = 2
_ACCEPTED = "uint8, uint16, bool, or float in 0..1"
_REMEDY = "Save values divided by the highest that is possible as float32, or array.astype(np.uint16) if 0..65535."

Stored = (
    UInt8[np.ndarray, "height width bands"]
    | UInt16[np.ndarray, "height width bands"]
    | Float32[np.ndarray, "height width bands"]
)


def read_bands(source: object) -> Float32[np.ndarray, "height width bands"]:
    """Return the bands of an image in 0..1, as a new array.

    A path to a .npy of (H, W) or (H, W, C), to a .tif of any bands, or to a picture that read_image knows, which gives
    RGB. Arrays are (H, W) or (H, W, C), torch tensors (C, H, W). Values are uint8, uint16, bool, or float in 0..1.
    Anything else raises one ImageError that names the source and the remedy.

    >>> read_bands(np.array([[[0, 255, 51, 102]]], np.uint8)).round(1).tolist()
    [[[0.0, 1.0, 0.20000000298023224, 0.4000000059604645]]]
    """
    return to_unit(_read_stored(source))


def read_pixels(source: object) -> Stored:
    """Return what read_bands reads in the smallest type that holds it; of three bands RGB as uint8, as read_image."""
    stored = _read_stored(source)
    return read_image(stored) if stored.shape[2] == 3 else stored


def read_channels(
    source: object, channels: int | None = None
) -> UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width bands"]:
    """Return uint8 RGB of an image of three channels, else its channels as float32 in 0..1.

    Arrays and files are as read_image and read_bands take them. An image of another number of channels than asked for
    is refused; asked for three, pictures are turned into RGB as read_image does.
    """
    is_npy = isinstance(source, str | os.PathLike) and os.fsdecode(source).lower().endswith(".npy")
    if channels == 3 and not is_npy:
        return read_image(source)
    pixels = read_pixels(source)
    height, width, found = pixels.shape
    if channels not in (None, found):
        name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else f"{type(source).__name__} image"
        turned = (
            f" If its channels come first, transpose it to ({width}, {found}, {height})." if height == channels else ""
        )
        raise ImageError(
            f"{name}: {height} rows, {width} columns and {found} channels, but the model was trained on {channels}. "
            f"Give those {channels}, in their order.{turned}"
        )
    return pixels if found == 3 else to_unit(pixels)


def to_unit(values: Stored) -> Float32[np.ndarray, "height width bands"]:
    """Return uint8 and uint16 scaled to 0..1, floats as they are."""
    full = {"uint8": 255, "uint16": 65535}.get(values.dtype.name, 1)
    return values if full == 1 else values.astype(np.float32) / np.float32(full)


def read_shape(path: Path) -> tuple[int, int, int]:
    """Return (H, W, C) of a file as read_bands would give it, from its header alone."""
    suffix = path.suffix.lower()
    with _image_errors(path):
        if suffix == ".npy":
            with refusing_damage(path):
                header = np.lib.format.open_memmap(path, mode="r")
            _check_type(str(path), header.dtype)
            return _shape_of(str(path), tuple(header.shape))
        if suffix in _TIFFS:
            with _open_tiff(path) as series:
                if series is not None:
                    return _tiff_layout(path, series)[0]
        return _picture_shape(path)


def preview(bands: Stored) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture of the first three bands, of fewer bands the first in grey; uint8 of three bands as it is.

    >>> preview(np.array([[[0.0, 1.0]]], np.float32)).tolist()
    [[[0, 0, 0]]]
    """
    if bands.dtype == np.uint8 and bands.shape[2] == 3:
        return bands
    return read_image(bands[..., :3] if bands.shape[2] >= 3 else bands[..., 0])


def _read_stored(source: object) -> Stored:
    if isinstance(source, np.ndarray):
        return _check(source, f"array of shape {source.shape} and dtype {source.dtype}")
    if any(base.__name__ == "Tensor" and base.__module__.split(".")[0] == "torch" for base in type(source).__mro__):
        return _from_tensor(source)
    if not isinstance(source, (str, os.PathLike)):
        return read_image(source)
    path = Path(os.fsdecode(source))
    suffix = path.suffix.lower()
    with _image_errors(path):
        if suffix == ".npy":
            return _check(read_variables(path)["array"], str(path))
        if suffix in _TIFFS:
            with _open_tiff(path) as series:
                if series is not None:
                    _, is_first = _tiff_layout(path, series)  # before memory is asked for
                    values = series.asarray()
                    return _check(np.moveaxis(values, 0, -1) if is_first else values, str(path))
    return read_image(path)


@contextmanager
def _image_errors(path: Path) -> Iterator[None]:
    """Turn what readers of arrays refuse into the error that readers of images raise."""
    try:
        yield
    except FileFormatError as error:
        raise ImageError(str(error)) from error


@contextmanager
def _open_tiff(path: Path) -> Iterator[Any]:
    """Yield the one series of a TIFF of bands, None of a TIFF that is a picture."""
    import tifffile  # slow to import, and few images need it

    with refusing_damage(path):
        check_pages(path)
    with refusing_damage(path), tifffile.TiffFile(path) as tiff:
        if len(tiff.series) != 1:
            shapes = ", ".join(str(series.shape) for series in tiff.series)
            raise ImageError(f"{path}: holds {len(tiff.series)} images ({shapes}). Save the one that is meant alone.")
        series = tiff.series[0]
        page: Any = series.keyframe
        is_rgb = page.photometric == _PHOTO_RGB and page.samplesperpixel == 3
        yield None if is_rgb or page.photometric in _PHOTO_KINDS else series


def _tiff_layout(path: Path, series: Any) -> tuple[tuple[int, int, int], bool]:
    """Return (H, W, C) and whether bands come first; in a file that does not name its axes they are the shorter end."""
    shape, axes = tuple(series.shape), series.axes
    is_first = len(shape) == 3 and (axes[0] in "SC" or (axes[2] not in "SC" and shape[0] <= shape[2]))
    _check_type(str(path), series.dtype)
    return _shape_of(str(path), (*shape[1:], shape[0]) if is_first else shape), is_first


def _picture_shape(path: Path) -> tuple[int, int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is MAX_PIXELS
            with Image.open(path, formats=_PICTURES) as image:
                height, width = image.height, image.width
                # asked for its EXIF block, a PNG is decoded unless one comes before the pixels
                is_late = image.format == "PNG" and "exif" not in image.info and _holds_orientation(path)
                has_exif = image.format != "PNG" or "exif" in image.info or is_late
                turned = has_exif and image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
                if image.format == "PNG" and not is_late:
                    image.verify()  # checksums alone: a file that was cut is found, nothing is decoded
    except Exception as error:  # damaged bytes: decoders raise struct, syntax, key, memory and other errors
        raise ImageError(
            f"{path}: is no picture that can be read ({type(error).__name__}: {str(error)[:200]}). Copy it again, or "
            "re-save it from another program."
        ) from error
    return _shape_of(str(path), (width, height, 3) if turned else (height, width, 3))


def _holds_orientation(path: Path) -> bool:
    """Return whether a PNG may say, before its pixels or after, which way up it is; compressed bytes may look so."""
    content = path.read_bytes()
    return any(mark in content for mark in _ORIENTED)


def _from_tensor(tensor: Any) -> Stored:
    name = f"tensor of shape {tuple(tensor.shape)} and dtype {tensor.dtype}"
    if len(tensor.shape) != 3:
        raise ImageError(
            f"{name}: tensors are (C, H, W). Of a batch pass one image, tensor[0]; of (H, W) tensor[None]."
        )
    try:
        values = tensor.detach().cpu()
        # numpy has no bfloat16
        array = (values.float() if values.is_floating_point() else values).numpy()
    except Exception as error:  # sparse, quantised and meta tensors, each with its own type
        raise ImageError(f"{name}: has no numpy form ({error}). Pass a dense, strided tensor.") from error
    return _check(array.transpose(1, 2, 0), name)


def _check(values: np.ndarray, name: str) -> Stored:
    """Return a new (H, W, C) array of one of the types that are stored."""
    shape = _shape_of(name, values.shape)
    _check_type(name, values.dtype)
    bands = values.reshape(shape)
    if bands.dtype.kind == "b":
        return bands.astype(np.uint8) * np.uint8(255)
    if bands.dtype.kind == "u":
        return np.array(bands, dtype=bands.dtype.newbyteorder("="), order="C")
    low, high = float(bands.min()), float(bands.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise ImageError(f"{name}: holds NaN or infinite values. Replace them first, for example by np.nan_to_num.")
    if low < -1e-6 or high > 1 + 1e-6:  # the slack is for rounding, which callers cannot see
        raise ImageError(f"{name}: float values span {low:g}..{high:g}, accepted are 0..1. {_REMEDY}")
    return np.ascontiguousarray(np.clip(bands, 0, 1).astype(np.float32))


def _check_type(name: str, dtype: np.dtype[Any]) -> None:
    if not (dtype.kind in "bf" or (dtype.kind == "u" and dtype.itemsize <= 2)):
        raise ImageError(f"{name}: values of type {dtype} have no fixed range; accepted are {_ACCEPTED}. {_REMEDY}")


def _shape_of(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) not in (2, 3):
        raise ImageError(f"{name}: {len(shape)} axes. Give (H, W) or (H, W, C); of a batch or video pass one image.")
    height, width, n_bands = (*shape, 1)[:3]
    if 0 in shape:
        raise ImageError(f"{name}: is empty, {shape}. Give at least one pixel and one band.")
    if height * width > MAX_PIXELS:
        raise ImageError(f"{name}: {width}x{height} pixels, above the limit of {MAX_PIXELS}. Shrink or tile the image.")
    return height, width, n_bands
