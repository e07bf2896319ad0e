"""Read TIFF stacks of microscopes and ImageJ: find the channel axis, choose a plane."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from supercuts.core.errors import ImageError, ImageWarning, InputError
from supercuts.images.formats.arrays import check_axes, without_nan
from supercuts.images.formats.stored import Raster, check_size

MAX_PAGES = 50_000
_UNNAMED = "QI"  # tifffile's letters for unnamed axes
_TRAILING = 16  # longest last axis that can be channels
_CHANNELS = "CS"
_NAMES = {"T": "times", "Z": "depths", "Q": "pages", "I": "pages", "R": "scenes", "P": "positions", "A": "angles"}
_KINDS = ("is_ome", "is_imagej", "is_lsm", "is_stk", "is_micromanager", "is_fluoview", "is_mmstack", "is_nih")
_RGB = 2
REDUCED_OR_MASK = 5  # bits of NewSubfileType: the page is a smaller copy or a mask of another page


def is_stack(tiff: Any) -> bool:
    """Return whether a microscope or ImageJ wrote the file, with names of its axes."""
    return any(getattr(tiff, kind, False) for kind in _KINDS)


def is_named(tiff: Any) -> bool:
    """Return whether tifffile wrote the file as one image with named axes."""
    return bool(tiff.is_shaped) and len(tiff.series) == 1 and not set(_UNNAMED) & set(tiff.series[0].axes)


def walk(tiff: Any) -> Iterator[Any]:
    """Yield the pages of a file; raise ValueError if they form a loop, which tifffile would follow forever."""
    seen = set[int]()
    tiff.pages.useframes = True  # reads a few tags of each page
    try:
        for index in range(MAX_PAGES + 1):
            try:
                page = tiff.pages.get(index)
            except IndexError:
                return
            if page.offset in seen or index == MAX_PAGES:
                raise ValueError(f"its pages repeat, or are more than {MAX_PAGES}")
            seen.add(page.offset)
            yield page
    finally:
        tiff.pages.useframes = False


def check_pages(tiff: Any) -> None:
    """Raise ValueError if the pages of a file form a loop or are too many."""
    if tiff.pages.is_multipage:
        for _ in walk(tiff):
            pass


def is_trailing(tiff: Any) -> bool:
    """Return whether a file without named axes holds an array (H, W, C), with each row stored as a page."""
    shape = tiff.series[0].shape
    is_unnamed = len(tiff.series) == 1 and len(shape) == 3 and tiff.series[0].axes[0] in _UNNAMED
    return bool(is_unnamed and shape[2] <= _TRAILING and 2 * shape[2] <= min(shape[:2]))


def read_stack(
    tiff: Any, name: str, max_pixels: int, page: int | None = None, order: str | None = None, as_bands: bool = False
) -> Raster:
    """Return plane `page`, counted over all images, with all its channels; if None, the first, with a warning.

    order  axes of a file that does not name them: HWC or CHW
    """
    images = [(series, _axes(tiff, series, name, order, as_bands)) for series in _images(tiff, name, as_bands)]
    planes = [_planes(series, axes) for series, axes in images]
    counts = [math.prod(lengths.values()) for lengths in planes]
    if page is None and sum(counts) > 1:
        listed = [f"{len(images)} images"] if len(images) > 1 else []
        listed += [f"{n} {_NAMES.get(axis, f'planes ({axis})')}" for axis, n in planes[0].items() if n > 1]
        warn_of_rest(name, " and ".join(listed), f" of {sum(counts)}")
    rest = 1 if page is None else page
    if not 1 <= rest <= sum(counts):
        raise InputError(f"page={page}: {name} has {sum(counts)} planes. Give a number from 1 to {sum(counts)}.")
    number = 0
    while rest > counts[number]:  # planes are counted over all images
        rest -= counts[number]
        number += 1
    (series, axes), lengths = images[number], planes[number]
    sizes = dict(zip(axes, series.shape, strict=True))
    n_channels = math.prod(sizes.get(axis, 1) for axis in _CHANNELS)
    check_size(name, sizes["Y"], sizes["X"], max_pixels, n_channels * series.dtype.itemsize)
    indices = dict(zip(lengths, np.unravel_index(rest - 1, tuple(lengths.values())), strict=True)) if lengths else {}
    values = _plane(series, axes, indices)
    photometric = getattr(series.keyframe, "photometric", None)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    is_rgb = photometric == _RGB and sizes.get("S", 1) >= 3 and sizes.get("C", 1) == 1
    return without_nan(Raster(values, name=name, is_rgb=is_rgb))


def read_shape(tiff: Any, name: str) -> tuple[int, int, int]:
    """Return the shape (H, W, C) that read_stack returns with as_bands."""
    (series,) = _images(tiff, name, True)
    axes = _axes(tiff, series, name, None, True)
    sizes = dict(zip(axes, series.shape, strict=True))
    n_channels = math.prod(sizes.get(axis, 1) for axis in _CHANNELS)
    check_size(name, sizes["Y"], sizes["X"], bytes_a_pixel=n_channels * series.dtype.itemsize)
    return sizes["Y"], sizes["X"], n_channels


def warn_of_rest(name: str, content: str, total: str) -> None:
    """Warn that only the first of several planes or pages is read."""
    bands = "; bands=(1, 2, 3) (--bands 1,2,3) reads pages as bands" if content.endswith("pages") else ""
    warnings.warn(
        f"{name}: holds {content}; the first{total} is read. page=2 (--page 2) reads the second, and so on{bands}.",
        ImageWarning,
        stacklevel=2,
    )


def _images(tiff: Any, name: str, as_bands: bool) -> list[Any]:
    """Return tifffile's series without smaller copies and masks; raise ImageError if there may be one only."""
    check_pages(tiff)
    images = [s for s in tiff.series if not getattr(s.keyframe, "subfiletype", 0) & REDUCED_OR_MASK] or tiff.series[:1]
    if len(images) > 1 and (as_bands or not is_stack(tiff)):
        shapes = ", ".join(str(series.shape) for series in images[:9])
        raise ImageError(f"{name}: holds {len(images)} images ({shapes}). Save the intended one alone.")
    return images


def _planes(series: Any, axes: str) -> dict[str, int]:
    """Return the length of each axis other than rows, columns and channels."""
    return {axis: n for axis, n in zip(axes, series.shape, strict=True) if axis not in f"YX{_CHANNELS}"}


def _axes(tiff: Any, series: Any, name: str, order: str | None, as_bands: bool) -> str:
    """Return the letters of the axes of an image; C is the axis chosen as channels."""
    axes, shape = str(series.axes), series.shape
    if axes[0] in _UNNAMED and order is not None and len(shape) == 3:
        check_axes(name, order, 3)
        axes = order.replace("H", "Y").replace("W", "X")
    elif axes[0] in _UNNAMED and is_trailing(tiff):
        axes = "YXC"
    elif as_bands and axes[0] in _UNNAMED:
        if len(shape) != 3:
            raise ImageError(
                f"{name}: {len(shape)} axes. Give (H, W) or (H, W, C); of a batch or video pass one image."
            )
        # in a file without named axes, bands are the shorter of the first and last axis
        axes = "CYX" if axes[2] in _CHANNELS or shape[0] <= shape[2] else "YXC"
        if series.axes[2] in _CHANNELS:
            raise ImageError(f"{name}: holds {shape[0]} pictures of several channels. Save the intended one alone.")
    if not {"Y", "X"} <= set(axes) or len(set(axes)) != len(axes):
        raise ImageError(f"{name}: its axes are {axes}, without rows (Y) and columns (X). Save one image separately.")
    return axes


def _plane(series: Any, axes: str, indices: dict[str, Any]) -> np.ndarray:
    """Return the plane (H, W, C) at the given positions of the other axes; reads no other plane."""
    index = tuple(int(indices[axis]) if axis in indices else slice(None) for axis in axes)
    rest = "".join(axis for axis in axes if axis not in indices)
    shape = tuple(n for axis, n in zip(axes, series.shape, strict=True) if axis not in indices)
    values: np.ndarray
    if series.dataoffset is not None:
        stored = series.dtype.newbyteorder(series.parent.byteorder)
        stack = series.parent.filehandle.memmap_array(stored, series.shape, series.dataoffset)
        values = np.array(stack[index])
    else:
        values = _by_pages(series, index, shape)
    order = [rest.index(axis) for axis in "YX"] + [rest.index(axis) for axis in _CHANNELS if axis in rest]
    turned: np.ndarray = values.transpose(order)
    return turned.reshape(values.shape[order[0]], values.shape[order[1]], -1)


def _by_pages(series: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Return the part of a series that `index` selects; decodes only the pages in it."""
    n_pages = len(series.pages)
    leading = next((i for i in range(len(series.shape) + 1) if math.prod(series.shape[:i]) == n_pages), None)
    if leading is None or any(not isinstance(part, slice) for part in index[leading:]):
        check_size(str(series.name), 1, 1, bytes_a_pixel=series.nbytes)
        part: np.ndarray = series.asarray()[index]
        return part
    numbers = np.arange(n_pages).reshape(series.shape[:leading])[index[:leading]]
    inner = series.shape[leading:]
    values = np.zeros((numbers.size, *inner), series.dtype)
    for place, number in enumerate(numbers.ravel().tolist()):
        page = series.pages[number]
        if page is not None:  # a truncated file lacks planes
            values[place] = page.asarray().reshape(inner)
    return values.reshape(shape)
