"""Read any image source once, as a Raster.

In   a path, PIL image, numpy or masked array, torch tensor, xarray DataArray
Out  Raster: values as stored, the mask of valid pixels, the georeference; (H, W, C) of a file from its header
Not  conversion (convert.py) or file formats (formats/)
"""

import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from PIL import Image

from supercuts.core.checks import check_choice, check_whole
from supercuts.core.errors import ImageError, InputError, SuperCutsError
from supercuts.core.files import CONVERT, unread_format
from supercuts.images.convert import STRETCHES
from supercuts.images.formats import arrays, pillow, tiff
from supercuts.images.formats.stored import (
    DAMAGED,
    MAX_PIXELS,
    Raster,
    check_is_file,
    check_size,
    check_type,
    describe_error,
)

__all__ = ["MAX_PIXELS", "Raster", "ReadOptions", "read_raster", "read_shape"]

_FORMATS = "PNG, JPEG, WebP, AVIF, BMP, TIFF or GIF"
_NPY_START, _ZIP_START = b"\x93NUMPY", b"PK\x03\x04"
_JPEG_2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_Reader = TypeVar("_Reader", bound=Callable[..., Any])


class ReadOptions(NamedTuple):
    """Options for sources that can be read in several ways.

    axes      order of axes of an array, a .npy or a TIFF that does not name its own: "HWC", "CHW" or "HW"; None:
              (H, W, C), for tensors (C, H, W)
    page      the page or frame of a file, or the plane of a stack, counted from 1; None: the first, with a warning
              if a TIFF has more
    stretch   none, percentile or minmax; None: percentile if the values use less than a tenth of their range
    as_bands  whether TIFF pages without a meaning of their own are bands
    """

    axes: str | None = None
    page: int | None = None
    stretch: str | None = None
    as_bands: bool = False


AS_USUAL = ReadOptions()


def read_raster(source: object, options: ReadOptions = AS_USUAL, max_pixels: int = MAX_PIXELS) -> Raster:
    """Return the image in a source, upright.

    Raise ImageError, which names the source and the remedy, if the source cannot be read as an image.
    """
    check_options(options)
    if isinstance(source, str | os.PathLike):
        name = os.fsdecode(source)
        check_is_file(name)
        with image_errors(name):
            return _read_file(Path(name), options, max_pixels)
    if isinstance(source, Image.Image):
        return _from_pil(source, options.page, max_pixels)
    raster = _from_memory(source, options)
    check_size(raster.name, *raster.shape, max_pixels)
    return raster


def read_shape(path: Path) -> tuple[int, int, int]:
    """Return the shape (H, W, C) that read_bands returns for a file, from the file's header alone."""
    name = os.fsdecode(path)
    check_is_file(name)
    with image_errors(name):
        with path.open("rb") as file:
            start = file.read(16)
        if start.startswith(tiff.TIFF_STARTS):
            return tiff.read_shape(path)
        if _is_npy(path, start):
            mapped = arrays.open_npy(path)
            raster = arrays.from_array(mapped, name=name)
            check_type(name, raster.values.dtype)
            shape: tuple[int, int, int] = raster.values.shape
        else:
            shape = _picture_shape(path)
        check_size(name, *shape[:2])
        return shape


def too_large(name: str, error: MemoryError) -> ImageError:
    """Return the error for an image for which there is not enough memory."""
    remedy = "Shrink it, cut it into parts, or choose fewer of its bands."
    return ImageError(f"{name}: does not fit in memory ({describe_error(error)}). {remedy}")


def refuse_without_memory(function: _Reader) -> _Reader:
    """Make a function of an image raise ImageError, not MemoryError, where there is not enough memory."""

    @functools.wraps(function)
    def read(source: object, *args: Any, **options: Any) -> Any:
        try:
            return function(source, *args, **options)
        except MemoryError as error:
            name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else "the image"
            raise too_large(name, error) from error

    return cast(_Reader, read)


@contextmanager
def image_errors(name: str) -> Iterator[None]:
    """Turn every exception of a file reader into an ImageError that names the file."""
    for library in ("PIL", "tifffile"):
        log = logging.getLogger(library)
        if not log.handlers:  # without a handler, messages about damaged tags go to stderr
            log.addHandler(logging.NullHandler())
    try:
        yield
    except ImageError as error:
        if name in str(error):
            raise
        raise ImageError(f"{name}: {error}") from error
    except SuperCutsError:
        raise
    except MemoryError as error:
        raise too_large(name, error) from error
    except Image.DecompressionBombError as error:
        raise ImageError(pillow.pillow_limit(name)) from error
    except OSError as error:
        if error.errno is None:  # raised by a decoder, not by the operating system
            raise ImageError(f"{name}: cannot be decoded ({error}). {DAMAGED}") from error
        raise ImageError(f"{name}: cannot be read ({error.strerror}). Check the file's permissions.") from error
    except Exception as error:  # damaged bytes: decoders raise struct, syntax, key, memory and other errors
        raise ImageError(f"{name}: cannot be decoded ({describe_error(error)}). {DAMAGED}") from error


def _read_file(path: Path, options: ReadOptions, max_pixels: int) -> Raster:
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        if pillow.is_known(start):
            return pillow.read_file(file, start, str(path), max_pixels, options.page)
    is_tiff = start.startswith(tiff.TIFF_STARTS)
    if is_tiff and unread_format(path, is_tiff) is None:
        return tiff.read_tiff(path, options.page, options.axes, options.as_bands, max_pixels=max_pixels)
    if _is_npy(path, start):
        _check_single(str(path), options.page)
        raster = arrays.read_npy(path, options.axes)
        check_size(raster.name, *raster.shape, max_pixels)
        return raster
    raise ImageError(f"{path}: is {_what(path, start)}")


def _what(path: Path, start: bytes) -> str:
    """Return what a file is that is no image of a format that is read, and the remedy."""
    if start.startswith(_ZIP_START) and path.suffix.lower() == ".npz":
        return (
            "an .npz file, not an image. A hierarchy is segmented already: read it with supercuts.read, or use "
            "supercuts info, cut, view or export."
        )
    if path.suffix.lower() == ".safetensors":
        return "a file of weights, not an image. Give it as the model (--model)."
    if unread := ("JPEG 2000", CONVERT) if start.startswith(_JPEG_2000) else unread_format(path):
        return f"{unread[0]}, which is not read: {unread[1]}."
    return f"not {_FORMATS}: it starts with {start!r}. Convert it to PNG or JPEG."


def _picture_shape(path: Path) -> tuple[int, int, int]:
    try:
        return (*pillow.read_size(path), 3)
    except ImageError:
        raise
    except Exception as error:  # damaged bytes: decoders raise struct, syntax, key, memory and other errors
        raise ImageError(
            f"{path}: is not a readable image ({describe_error(error)}). Copy it again, or re-save it from "
            "another program."
        ) from error


def _is_npy(path: Path, start: bytes) -> bool:
    return start.startswith(_NPY_START) or path.suffix.lower() == ".npy"


def _from_memory(source: object, options: ReadOptions) -> Raster:
    is_tensor = arrays.is_tensor(source)
    if is_tensor or isinstance(source, np.ndarray):
        raster = (
            arrays.from_array(source, options.axes)
            if isinstance(source, np.ndarray)
            else arrays.from_tensor(source, options.axes)
        )
        _check_single(raster.name, options.page)
        return raster
    if arrays.is_data_array(source):
        return arrays.from_data_array(source)
    raise ImageError(
        f"{type(source).__name__} is not an image source. Pass one path, PIL image, numpy array or torch tensor; "
        "for bytes pass PIL.Image.open(io.BytesIO(data)), for nested lists np.array(..., dtype=np.uint8)."
    )


def check_options(options: ReadOptions) -> None:
    """Raise InputError if an option has an unknown value."""
    if options.axes is not None:
        check_choice("axes", str(options.axes).upper(), arrays.AXES)
    if options.stretch is not None:
        check_choice("stretch", options.stretch, STRETCHES)
    if options.page is not None:
        check_whole("page", options.page, remedy="Give the number of a page, counted from 1.")


def _check_single(name: str, page: int | None) -> None:
    if page not in (None, 1):
        raise InputError(f"page={page}: {name} has one page. Leave page out; of a stack in an array pass stack[i].")


def _from_pil(image: Image.Image, page: int | None, max_pixels: int) -> Raster:
    name = f"PIL image of mode {image.mode} and size {image.width}x{image.height}"
    try:
        return pillow.read_image(image, name, max_pixels, page)
    except SuperCutsError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(pillow.pillow_limit(name)) from error
    except Exception as error:  # PIL may decode only now: see image_errors
        raise ImageError(
            f"{name}: cannot be decoded ({describe_error(error)}). Pass an open image from an undamaged file, of a "
            'usual mode such as image.convert("RGB").'
        ) from error
