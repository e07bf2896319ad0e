"""Read an image as RGB bytes or as bands, a volume as it is stored; write pictures and label maps as PNG."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer, Shaped, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from supercuts.core.arrays import arrays_repr
from supercuts.core.checks import check_in_range, check_installed
from supercuts.core.errors import FileFormatError, ImageError, InputError, SuperCutsError
from supercuts.core.files import MARK, atomic_path
from supercuts.images.convert import Stored, to_bands, to_rgb, to_unit
from supercuts.images.formats.arrays import as_colors, is_tensor
from supercuts.images.formats.stored import MAX_BYTES, describe_error
from supercuts.images.raster import MAX_PIXELS, ReadOptions, read_raster, refuse_without_memory

_MAX_LABEL = 65535
_N_COLORS = 256  # largest palette


@refuse_without_memory
def read_image(source: object, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture in a source as a new C-contiguous RGB array.

    Files and PIL images are turned upright by their EXIF tag, transparency is blended over white, 16-bit and float
    values are scaled to 0..255.

    Parameters
    ----------
    source
        Path of a PNG, JPEG, WebP, AVIF, BMP, TIFF or GIF file, of which the first frame is read; a PIL image; an
        array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); or a torch tensor (C, H, W) with C in 1, 3, 4. Arrays and
        tensors hold uint8, uint16, bool or float in 0..1.
    max_pixels
        Largest height times width to accept, from 1.

    Returns
    -------
    uint8 (H, W, 3)
        RGB values.

    Raises
    ------
    ImageError
        If the source cannot be read as an image; the message names source and remedy.
    InputError
        If `max_pixels` is below 1.

    See Also
    --------
    read_bands : Read any number of bands.

    Examples
    --------
    >>> read_image(np.array([[0.0, 1.0]])).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    check_in_range("max_pixels", max_pixels, 1, float("inf"), remedy="Give the largest height times width to accept.")
    raster = read_raster(source, max_pixels=max_pixels)
    if isinstance(source, np.ndarray) or is_tensor(source):
        return np.array(to_rgb(as_colors(raster, is_tensor(source))))
    return to_rgb(raster)


@refuse_without_memory
def read_bands(source: object) -> Float32[np.ndarray, "height width bands"]:
    """Return the bands of an image in 0..1, as a new array.

    Parameters
    ----------
    source
        Path of a .npy of shape (H, W) or (H, W, C), of a TIFF with any number of bands, or of a picture, which yields
        RGB as in `read_image`; or an array (H, W) or (H, W, C) or a torch tensor (C, H, W) of uint8, uint16, bool or
        float in 0..1.

    Returns
    -------
    float32 (H, W, C)
        Values in 0..1.

    Raises
    ------
    ImageError
        As in `read_image`.

    Examples
    --------
    >>> read_bands(np.array([[[0, 255, 51, 102]]], np.uint8)).round(1).tolist()
    [[[0.0, 1.0, 0.20000000298023224, 0.4000000059604645]]]
    """
    return to_unit(_read_stored(source))


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A volume and the sizes of its voxels.

    Parameters
    ----------
    values
        (Z, H, W) or (Z, H, W, C), as stored.
    spacing
        Size of a voxel along z, y and x, in the unit of the file.

    Examples
    --------
    >>> Volume(np.zeros((2, 3, 4), np.uint8), (2.0, 1.0, 1.0))
    Volume(values=uint8 (2, 3, 4), spacing=(2.0, 1.0, 1.0))
    """

    values: Shaped[np.ndarray, "depth height width *channels"]
    spacing: tuple[float, float, float]

    __repr__ = arrays_repr


def read_volume(path: str | os.PathLike[str], *, level: int = 0, time: int = 0) -> Volume:
    """Return the image, or a label image, of an OME-Zarr of version 0.4 or 0.5.

    Parameters
    ----------
    path
        Folder of the image, or of one of its ``labels``.
    level
        Level of the pyramid, 0 the finest.
    time
        Number of the volume, from 0, where there are several.

    Returns
    -------
    Volume
        Voxels with channels last and their sizes; an image without z is one slice.

    Raises
    ------
    FileFormatError
        If the folder is no OME-Zarr image, is damaged or has no such level or time.
    ImageError
        If the volume takes more than 3 GB.
    MissingDependencyError
        If zarr is not installed.

    Examples
    --------
    >>> from supercuts.superpixels.volumes import segment_volume
    >>> volume = np.zeros((2, 4, 4), np.uint8)
    >>> segment_volume(volume, 4).export_ome_zarr("stack.zarr", volume, (2.0, 0.5, 0.5))
    >>> read_volume("stack.zarr")
    Volume(values=uint8 (2, 4, 4), spacing=(2.0, 0.5, 0.5))
    """
    check_installed(("zarr",), extra="export")
    import zarr

    try:
        group = zarr.open_group(Path(path), mode="r")
        attributes: Any = group.attrs.asdict()
        images = attributes.get("ome", attributes)["multiscales"][0]
        axes = "".join(axis["name"] for axis in images["axes"])
        stored = images["datasets"][level]
        array: Any = group[stored["path"]]
        # a scale of all levels multiplies that of each
        steps = [*stored["coordinateTransformations"], *images.get("coordinateTransformations", [])]
        scale = np.prod([step["scale"] for step in steps if step["type"] == "scale"], axis=0)
        if math.prod(array.shape) * array.dtype.itemsize > MAX_BYTES:
            raise ImageError(f"{path}: {array.shape} of {array.dtype} take more than 3 GB: read a higher level.")
        values = np.asarray(array[tuple(time if axis == "t" else slice(None) for axis in axes)])
        left = axes.replace("t", "")
        values = values.transpose([left.index(axis) for axis in "zyxc" if axis in left])
        sizes = dict(zip(axes, scale.tolist(), strict=True))
        spacing = (float(sizes.get("z", 1)), float(sizes["y"]), float(sizes["x"]))
        return Volume(values if "z" in axes else values[None], spacing)
    except SuperCutsError:
        raise
    except Exception as error:  # zarr and damaged metadata raise many types
        raise FileFormatError(
            f"{path} is not an OME-Zarr image with level {level} and time {time} ({describe_error(error)}). Give its "
            "folder, such as one that export_ome_zarr wrote."
        ) from error


@refuse_without_memory
def read_pixels(source: object) -> Stored:
    """Return the bands of an image in the smallest type that holds them; three bands become uint8, as in read_image."""
    stored = _read_stored(source)
    return read_image(stored) if stored.shape[2] == 3 and stored.dtype != np.uint8 else stored


@refuse_without_memory
def read_channels(
    source: object, channels: int | None = None
) -> UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width bands"]:
    """Return uint8 RGB if the image has three channels, else its channels as float32 in 0..1.

    Accepts the arrays and files that read_image and read_bands accept. Raise ImageError if the image does not have
    `channels` channels. If `channels` is 3, pictures are converted to RGB by read_image.
    """
    is_npy = isinstance(source, str | os.PathLike) and os.fsdecode(source).lower().endswith(".npy")
    if channels == 3 and not is_npy:
        return read_image(source)
    pixels = read_pixels(source)
    height, width, n_channels = pixels.shape
    if channels not in (None, n_channels):
        name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else f"{type(source).__name__} image"
        turned = (
            f" If its channels come first, transpose it to ({width}, {n_channels}, {height})."
            if height == channels
            else ""
        )
        raise ImageError(
            f"{name}: {height} rows, {width} columns and {n_channels} channels, but the model was trained on "
            f"{channels}. Give those {channels}, in their order.{turned}"
        )
    return pixels if n_channels == 3 else to_unit(pixels)


def write_png(path: str | os.PathLike[str], image: Shaped[np.ndarray, "..."]) -> None:
    """Write a picture (uint8, (H, W, 3) or (H, W)) or a 16-bit map (uint16, (H, W)) as PNG, atomically."""
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise InputError(f"{target} does not end in .png: write_png writes PNG only. Name it {target.stem}.png.")
    is_picture = image.dtype == np.uint8 and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    is_map = image.dtype.kind == "u" and image.dtype.itemsize == 2 and image.ndim == 2
    if not (is_picture or is_map) or image.size == 0:
        raise InputError(
            f"an array of shape {image.shape} and dtype {image.dtype} is not a PNG picture: give uint8 (H, W, 3) or "
            "(H, W), or uint16 (H, W), not empty. Label maps of another integer type go through write_labels_png."
        )
    native = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))
    with atomic_path(target) as temporary:
        # compression level 6 takes three times as long to save 2 %
        Image.fromarray(native).save(temporary, format="PNG", pnginfo=png_mark(), compress_level=2)


def png_mark() -> PngInfo:
    """Return the text by which a PNG is recognised as written by this package."""
    text = PngInfo()
    text.add_text("Software", MARK)
    return text


def write_labels_png(
    path: str | os.PathLike[str],
    labels: Integer[np.ndarray, "height width"],
    masked_label: int | None = None,
    palette: bool = False,
) -> None:
    """Write a label map as a 16-bit grey PNG whose pixel values are the ids 0..65535, atomically.

    `masked_label` is the value stored for pixels of label -1 and must exceed all ids; without it -1 raises InputError.
    With `palette`, values up to 255 are written as indices of distinct colours, 8 bits each, so that they can be seen.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise InputError(
            f"labels of shape {labels.shape} and dtype {labels.dtype} are not a label map: give integers (H, W), not "
            "empty. Use write_png for pictures."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < (0 if masked_label is None else -1) or high >= (_MAX_LABEL + 1 if masked_label is None else masked_label):
        raise InputError(
            f"label ids {low}..{high} do not fit a 16-bit PNG (0..{_MAX_LABEL}). Cut fewer regions, or save the "
            "hierarchy as .npz, which has no such limit."
        )
    stored = labels.astype(np.uint16)
    if masked_label is not None:
        stored[labels < 0] = masked_label
    if not palette or stored.max() >= _N_COLORS:
        write_png(path, stored)
        return
    from supercuts.images.draw import random_colors

    image = Image.fromarray(stored.astype(np.uint8))
    colors = random_colors(np.arange(1, _N_COLORS, dtype=np.int32)[None])
    image.putpalette(bytes(3) + colors.tobytes())  # 0, often no region, is black
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=png_mark())


def _read_stored(source: object) -> Stored:
    """Return the bands of an image in the smallest type that holds them, as a new array."""
    raster = read_raster(source, ReadOptions(as_bands=True))
    stored = to_bands(raster)
    return stored.copy() if np.may_share_memory(stored, raster.values) and not _is_new(source) else stored


def _is_new(source: object) -> bool:
    """Return whether an image read from the source shares no memory with it."""
    return isinstance(source, str | os.PathLike | Image.Image)
