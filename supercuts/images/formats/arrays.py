"""Read arrays in memory and in .npy files as images: numpy, masked arrays, torch tensors, xarray."""

import contextlib
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from supercuts.core.checks import check_choice
from supercuts.core.errors import ImageError, ImageWarning, InputError
from supercuts.images.formats.stored import Raster, describe_error

AXES = ("HW", "HWC", "CHW")
_COLUMNS = ("x", "lon", "longitude", "easting", "col", "column")  # names of an axis that comes second in an image
_BAND_AXES = ("band", "bands", "channel", "channels", "c", "wavelength")
_NO_FLOAT = 1e19  # magnitudes from here on mean no data, such as -3.4e38, 1e20 and 9.97e36
_SENTINELS = (99.0, 999.0, 9999.0, 99999.0, 999999.0, 32767.0, 32768.0, 2147483647.0, 2147483648.0, 1e10)
_NODATA = ("_FillValue", "nodata", "missing_value", "nodatavals")  # names in xarray's readers and rioxarray


def is_tensor(source: object) -> bool:
    """Return whether a source is a torch tensor, without importing torch."""
    return any(base.__name__ == "Tensor" and base.__module__.split(".")[0] == "torch" for base in type(source).__mro__)


def is_data_array(source: object) -> bool:
    """Return whether a source comes from xarray, without importing it."""
    return type(source).__module__.split(".")[0] == "xarray"


def from_array(array: np.ndarray, axes: str | None = None, name: str | None = None) -> Raster:
    """Return an array (H, W) or (H, W, C), or with the given axes, as a Raster.

    Pixels that a masked array masks in all bands are invalid.

    >>> from_array(np.zeros((3, 20, 30)), axes="CHW").values.shape
    (20, 30, 3)
    """
    name = name or f"array of shape {array.shape} and dtype {array.dtype}"
    if array.ndim not in (2, 3):
        raise ImageError(f"{name}: {array.ndim} axes. Give (H, W) or (H, W, C); of a batch or video pass one image.")
    order = check_axes(name, axes, array.ndim) or ("HW" if array.ndim == 2 else "HWC")
    values = _bands_last(np.ma.getdata(array, subok=False), order)
    if 0 in values.shape:
        height, width = values.shape[:2]
        raise ImageError(f"{name}: is empty ({width}x{height} pixels). Give at least one pixel and one band.")
    valid = None
    if np.ma.isMaskedArray(array) and array.mask is not np.ma.nomask:
        valid = np.asarray(~_bands_last(np.ma.getmaskarray(array), order).all(axis=2))
        values = np.where(valid[..., None], values, np.zeros((), values.dtype))
    return Raster(values, valid, name=name, is_rgb=values.shape[2] == 3)


def from_tensor(tensor: Any, axes: str | None = None) -> Raster:
    """Return a tensor (C, H, W), or with the given axes, as a Raster."""
    shape = tuple(tensor.shape)
    name = f"tensor of shape {shape} and dtype {tensor.dtype}"
    if axes is None and len(shape) != 3:
        remedies = {4: "Of a batch pass one image, tensor[0]."}
        remedy = remedies.get(len(shape), "For a grey (H, W) image pass tensor[None].")
        raise ImageError(f"{name}: tensors are (C, H, W) with C = 1, 3 or 4. {remedy}")
    try:
        values = tensor.detach().cpu()
        # numpy has no bfloat16
        array = (values.float() if values.is_floating_point() else values).numpy()
    except Exception as error:  # sparse, quantised, meta and functional tensors raise different types
        raise ImageError(
            f"{name}: has no numpy form ({describe_error(error)}). Pass a dense, strided tensor."
        ) from error
    return from_array(array, axes or "CHW", name)


def from_data_array(source: Any) -> Raster:
    """Return a DataArray with axes y, x and, in any position, bands as a Raster; NaN and fill values are invalid."""
    order = image_axes(source)
    values = source.transpose(*order, ...).to_numpy()
    values = values[..., None] if values.ndim == 2 else values
    valid = np.ones(values.shape[:2], np.bool_)
    for nodata in _fill_values(source, values.shape[2]):
        valid &= ~is_nodata(values, nodata)
    if limits := _valid_range(source):
        valid &= ((values >= limits[0]) & (values <= limits[1])).any(axis=2)
    name = f"{type(source).__name__} of axes {list(source.dims)}"
    raster = Raster(values, valid, name=name, is_rgb=values.shape[2] == 3)
    return without_nan(raster)


def as_colors(raster: Raster, is_tensor: bool = False) -> Raster:
    """Return an array of 1, 3 or 4 channels as grey, RGB, or RGB with transparency; else raise ImageError."""
    height, n_channels = raster.values.shape[0], raster.values.shape[2]
    if n_channels == 4:
        return replace(raster, values=raster.values[..., :3], alpha=raster.values[..., 3], is_rgb=True)
    if n_channels in (1, 3):
        return raster
    if is_tensor:
        raise ImageError(
            f"{raster.name}: tensors are (C, H, W) with C = 1, 3 or 4. For (H, W, C) pass tensor.permute(2, 0, 1)."
        )
    is_first = height in (1, 3, 4)
    remedy = "For (C, H, W) pass array.transpose(1, 2, 0)." if is_first else "Choose 1 or 3 of its bands."
    raise ImageError(f"{raster.name}: {n_channels} channels; 1 (grey), 3 (RGB) or 4 (RGBA) are accepted. {remedy}")


def check_order(raster: Raster, is_tensor: bool = False) -> None:
    """Raise ImageError if an array of unnamed axes looks like (C, H, W), or a tensor of unnamed axes like (H, W, C).

    An axis looks like channels if its length is at most 4 or at most half of each other axis, or if the other two are
    equal and differ from it. The convention holds if its axis of channels looks like channels or is the shortest. If
    only the other candidate looks like channels, raise ImageError. If neither does, warn and keep the convention.
    """
    height, width, n_channels = raster.values.shape
    shape, axis = ((n_channels, height, width), 0) if is_tensor else ((height, width, n_channels), 2)
    if _looks_like_channels(shape, axis) or shape[axis] < min(shape[1], shape[2 - axis]):
        return
    layout, other_layout = ("CHW", "HWC") if is_tensor else ("HWC", "CHW")
    turned = "tensor.permute(2, 0, 1)" if is_tensor else "array.transpose(1, 2, 0)"
    end, order = ("last", (2, 0, 1)) if is_tensor else ("first", (1, 2, 0))
    axes, looks_like = f"({', '.join(layout)})", f"({', '.join(other_layout)})"
    if _looks_like_channels(shape, 2 - axis):
        raise ImageError(
            f"{raster.name}: axes {axes} would be {height} rows, {width} columns and {n_channels} channels, and it "
            f"looks like {looks_like}. If its channels come {end}, transpose it to "
            f"{tuple(shape[i] for i in order)}: "
            f'pass {turned}, or axes="{other_layout}" (--axes {other_layout}); if it is {axes}, axes="{layout}".'
        )
    warnings.warn(
        f"{raster.name}: its axes are read as {axes}, {n_channels} channels of {height} rows and {width} columns; "
        f'axes="{other_layout}" (--axes {other_layout}) reads them as {looks_like}.',
        ImageWarning,
        stacklevel=2,
    )


def _looks_like_channels(shape: tuple[int, int, int], axis: int) -> bool:
    n, first, second = shape[axis], shape[1], shape[2 - axis]
    return n <= 4 or 2 * n <= min(first, second) or first == second != n


def read_npy(path: Path, axes: str | None = None) -> Raster:
    """Return the array in a .npy; its size is checked against the file's before memory is allocated."""
    mapped = open_npy(path)
    raster = from_array(mapped, axes, str(path))
    return replace(raster, values=np.array(raster.values))


def open_npy(path: Path) -> np.ndarray:
    """Return the array in a .npy, memory-mapped."""
    # mapping checks the size in the header against the file's before memory is allocated
    mapped = np.lib.format.open_memmap(path, mode="r")
    if mapped.dtype.itemsize == 0:  # any number of them fits in a file
        raise ValueError(f"values of type {mapped.dtype} have no bytes")
    return np.asarray(mapped)


def image_axes(source: Any) -> tuple[str, str]:
    """Return the names of the row and column axes of a DataArray, which may also have an axis of bands."""
    names = [str(name) for name in getattr(source, "dims", ())]
    axes = [name for name in names if name.lower() not in _BAND_AXES]
    if len(axes) != 2 or len(names) > 3 or not hasattr(source, "to_numpy"):
        raise InputError(
            f"{type(source).__name__} of axes {names} is not an image: pass a DataArray of two axes, rows then "
            f"columns, and at most one of bands, called one of {', '.join(_BAND_AXES)}."
        )
    if axes[0].lower() in _COLUMNS and axes[1].lower() not in _COLUMNS:
        axes.reverse()
    return axes[0], axes[1]


def is_nodata(values: np.ndarray, nodata: tuple[float | None, ...]) -> Bool[np.ndarray, "height width"]:
    """Return the mask of pixels that hold the nodata value in every band; all false if a band has none (None)."""
    is_empty = np.ones(values.shape[:2], np.bool_)
    for band, value in enumerate(nodata):
        if value is None or not _fits(value, values.dtype):
            return np.zeros_like(is_empty)
        is_empty &= values[..., band] == np.asarray(value).astype(values.dtype)
    return is_empty


def without_nan(raster: Raster) -> Raster:
    """Return the image with NaN and infinite pixels invalid, and the floats of invalid pixels set to 0."""
    if raster.values.dtype.kind != "f":
        return raster if raster.valid is None or not raster.valid.all() else replace(raster, valid=None)
    finite = np.isfinite(raster.values).all(axis=2)
    valid = finite if raster.valid is None else finite & raster.valid
    if valid.all():
        return replace(raster, valid=None)
    values = np.where(valid[..., None], raster.values, np.zeros((), raster.values.dtype))
    return replace(raster, values=values, valid=valid)


def without_sentinels(raster: Raster) -> tuple[Raster, str]:
    """Return the image with undeclared nodata pixels invalid, and a message about them ("" if there are none).

    Nodata are floats of magnitude 1e19 or more. The lowest value of signed types and the highest of floats are nodata
    too, if programs commonly write them for no data and they are further from all other values than these span.
    """
    values = raster.values
    if values.dtype.kind not in "if":
        return raster, ""
    sentinels = []
    is_counted = np.ones(raster.shape, np.bool_) if raster.valid is None else raster.valid
    if values.dtype.kind == "f" and max(abs(float(values.max())), abs(float(values.min()))) >= _NO_FLOAT:
        is_huge = (np.abs(values) >= _NO_FLOAT).any(axis=2)
        sentinels.append(f"magnitudes of {_NO_FLOAT:g} and more")
        is_counted = is_counted & ~is_huge
    for sign in (-1, 1) if values.dtype.kind == "f" else (-1,):
        find = np.max if sign == 1 else np.min
        if not sentinels and sign * float(find(values)) not in _SENTINELS:
            continue
        counted = values[is_counted].astype(np.float64)
        extreme = float(find(counted)) if counted.size else 0.0
        rest = counted[counted != extreme]
        # a lowest value may be the only other one; a highest may belong to a mask of two values
        if sign * extreme in _SENTINELS and rest.size and np.abs(rest - extreme).min() > np.ptp(rest) > min(sign, 0):
            is_counted = is_counted & ~(values == extreme).any(axis=2)
            sentinels.append(f"{extreme:g}")
    if not sentinels:
        return raster, ""
    n = int(np.count_nonzero(~is_counted if raster.valid is None else raster.valid & ~is_counted))
    note = (
        f"{raster.name}: {n} pixels of {' and '.join(sentinels)} are treated as nodata; replace them if they are data."
    )
    values = np.where(is_counted[..., None], values, np.zeros((), values.dtype))
    return replace(raster, values=values, valid=is_counted), note


def check_axes(name: str, axes: str | None, n_axes: int) -> str | None:
    """Return the order of axes in capitals, or None if `axes` is None; raise InputError if it does not fit."""
    if axes is None:
        return None
    order = axes.upper()
    check_choice("axes", order, AXES)
    if len(order) != n_axes:
        raise InputError(f'axes="{axes}" names {len(order)} axes, {name} has {n_axes}. Give one letter for each axis.')
    return order


def _bands_last(array: np.ndarray, order: str) -> np.ndarray:
    return array[..., None] if order == "HW" else np.moveaxis(array, 0, -1) if order == "CHW" else array


def _fill_values(source: Any, n_bands: int) -> list[tuple[float | None, ...]]:
    """Return the nodata values of each band, from the attributes and the encoding."""
    fill_values = []
    # unpacked nodata (scale and offset) is NaN already, and the encoding's fill value applies to packed numbers
    for notes in (source.attrs,) if _is_packed(source) else (source.attrs, source.encoding):
        for key in _NODATA:
            values = [_number(value) for value in np.ravel(notes.get(key, ())).tolist()]
            if len(values) == n_bands:
                fill_values.append(tuple(values))
            if key == "missing_value" or len(values) == 1:  # CF: each of several values is missing data
                fill_values += [(value,) * n_bands for value in values]
    return fill_values


def _valid_range(source: Any) -> list[float]:
    """Return the lowest and highest valid value that the attributes give, or nothing."""
    notes = {"valid_min": -math.inf, "valid_max": math.inf} | source.attrs
    ends = [notes["valid_range"]] if "valid_range" in notes else [notes["valid_min"], notes["valid_max"]]
    limits = [number for end in ends for value in np.ravel(end).tolist() if (number := _number(value)) is not None]
    return limits if len(limits) == 2 and not _is_packed(source) else []


def _is_packed(source: Any) -> bool:
    return bool({"scale_factor", "add_offset"} & source.encoding.keys())


def _number(value: object) -> float | None:
    """Return a nodata value, which some programs write as text; None if it is no number."""
    with contextlib.suppress(ValueError):
        value = float(value) if isinstance(value, str) else value
    return value if isinstance(value, int | float) else None


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Return whether a numeric type can hold a value; False for NaN, because non-finite pixels are found separately."""
    if not math.isfinite(value):
        return dtype.kind == "f" and math.isinf(value)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return float(value).is_integer() and info.min <= value <= info.max
    with np.errstate(over="ignore"):  # -3.4028235e+38, read from text, lies just beyond float32 and rounds to it
        return dtype.kind in "bf" and bool(np.isfinite(np.asarray(value).astype(dtype)))
