"""Read any usual picture as (H, W, 3) uint8 RGB, and write pictures and label maps as PNG.

In   a path, PIL image, numpy array or torch tensor; pictures (H, W, 3) or (H, W), label maps (H, W)
Out  a C-contiguous (H, W, 3) uint8 array that shares no memory with its source; PNG files
Not  no colour management (profiles are ignored), no resizing, no network, no torch import
"""

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Integer, Shaped, UInt8
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from supercuts.core.checks import check_in_range
from supercuts.core.errors import ImageError, InputError
from supercuts.core.files import atomic_path

MAX_PIXELS = 150_000_000

_MAX_LABEL = 65535
_FORMATS = "PNG, JPEG, WebP, BMP, TIFF or GIF"
_DTYPES = "uint8, uint16, bool, or float in 0..1"
_DAMAGED = "The file is truncated or damaged: copy or download it again, or re-save it from another program."
_EXIF_ORIENTATION = 274
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_MIN_IS_WHITE, _TIFF_PALETTE, _TIFF_CMYK = 0, 3, 5

# The plugins are called directly because Image.open tries every format it knows (one starts Ghostscript) and warns of
# large images by a limit that only a global of Pillow can change.
_PLUGINS: dict[bytes, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
}
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ALPHA_MODES = ("1", "L", "RGB", "P", "LA", "La", "PA", "RGBA", "RGBa")  # modes Pillow turns into RGBA

_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF orientation
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
_bomb_filter_lock = threading.Lock()


def read_image(source: object, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture in `source` as a new C-contiguous RGB array.

    A str or path names a PNG, JPEG, WebP, BMP, TIFF or GIF file (of several frames, the first). Arrays are (H, W),
    (H, W, 1), (H, W, 3) or (H, W, 4), torch tensors (C, H, W) with C in 1, 3, 4; both hold uint8, uint16, bool or
    float in 0..1. Files and PIL images are turned upright by their EXIF tag, transparency is laid over white, 16-bit
    and float values are scaled to 0..255. Anything else raises one ImageError that names the source and the remedy.

    >>> read_image(np.array([[0.0, 1.0]])).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    check_in_range("max_pixels", max_pixels, 1, float("inf"), remedy="Give the largest height times width to accept.")
    if isinstance(source, (str, os.PathLike)):
        return _read_file(os.fsdecode(source), max_pixels)
    if isinstance(source, Image.Image):
        return _from_pil(source, max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source, f"array of shape {source.shape} and dtype {source.dtype}", max_pixels)
    if any(base.__name__ == "Tensor" and base.__module__.split(".")[0] == "torch" for base in type(source).__mro__):
        return _from_tensor(source, max_pixels)
    raise ImageError(
        f"{type(source).__name__} is not an image source. Pass one path, PIL image, numpy array or torch tensor; "
        "for bytes pass PIL.Image.open(io.BytesIO(data)), for nested lists np.array(..., dtype=np.uint8)."
    )


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
        Image.fromarray(native).save(temporary, format="PNG")


def write_labels_png(
    path: str | os.PathLike[str], labels: Integer[np.ndarray, "height width"], nowhere: int | None = None
) -> None:
    """Write a label map as a 16-bit grey PNG whose pixel values are the ids 0..65535, atomically.

    nowhere: what pixels of label -1 become, which must be no id; without it -1 is refused.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise InputError(
            f"labels of shape {labels.shape} and dtype {labels.dtype} are not a label map: give integers (H, W), not "
            "empty. Use write_png for pictures."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < (0 if nowhere is None else -1) or high >= (_MAX_LABEL + 1 if nowhere is None else nowhere):
        raise InputError(
            f"label ids {low}..{high} do not fit a 16-bit PNG (0..{_MAX_LABEL}). Cut fewer regions, or save the "
            "hierarchy as .npz, which has no such limit."
        )
    stored = labels.astype(np.uint16)
    if nowhere is not None:
        stored[labels < 0] = nowhere
    write_png(path, stored)


def _read_file(name: str, max_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
    _check_is_file(name)
    try:
        with Path(name).open("rb") as file:
            start = file.read(16)
            file.seek(0)
            if start.startswith(TIFF_STARTS):
                return _finish(*_decode_tiff(file, name, max_pixels), name)
            plugin = next((plugin for magic, plugin in _PLUGINS.items() if start.startswith(magic)), None)
            if plugin is None:
                raise ImageError(_unknown_format(name, start))
            with _without_bomb_warning(start.startswith(b"GIF8")):  # this plugin warns while it reads the header
                image = plugin(file)
            return _finish(*_pil_to_array(image, name, max_pixels), name)
    except ImageError:
        raise
    except OSError as error:
        if error.errno is None:  # Pillow's own complaint, not the operating system's
            raise ImageError(f"{name}: cannot be decoded ({error}). {_DAMAGED}") from error
        raise ImageError(f"{name}: cannot be read ({error.strerror}). Check the file's permissions.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_pillow_limit(name)) from error
    except Exception as error:  # damaged bytes: decoders raise struct, syntax, key, memory and other errors
        raise ImageError(f"{name}: cannot be decoded ({_describe(error)}). {_DAMAGED}") from error


def _check_is_file(name: str) -> None:
    try:
        path = Path(name)
        is_there, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
        is_empty = is_file and path.stat().st_size == 0
    except (OSError, ValueError) as error:  # a name too long, a NUL inside it, a folder that may not be entered
        raise ImageError(f"{name!r:.200}: is not a usable path ({error}). Check the path.") from error
    if not is_there:
        hint = " Download it first: only local files are read." if "://" in name else ""
        raise ImageError(f"{name!r}: no such file. Check the path; it is taken relative to {Path.cwd()}.{hint}")
    if is_folder:
        raise ImageError(f"{name}: is a folder, not an image. Pass one image file of it at a time.")
    if not is_file:
        raise ImageError(f"{name}: is not a regular file. Copy its content into an image file ({_FORMATS}) first.")
    if is_empty:
        raise ImageError(f"{name}: is empty (0 bytes). Copy or download it again.")


def _from_pil(image: Image.Image, max_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
    name = f"PIL image of mode {image.mode} and size {image.width}x{image.height}"
    try:
        return _finish(*_pil_to_array(image, name, max_pixels), name)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(_pillow_limit(name)) from error
    except Exception as error:  # it may decode only now: see _read_file
        raise ImageError(
            f"{name}: cannot be decoded ({_describe(error)}). Pass an open image from an undamaged file, of a usual "
            'mode such as image.convert("RGB").'
        ) from error


def _pil_to_array(image: Image.Image, name: str, max_pixels: int) -> tuple[np.ndarray, int]:
    """Decode, and return the values as (H, W) or (H, W, 3 or 4) with their EXIF orientation."""
    _check_size(name, image.height, image.width, max_pixels)
    limit = Image.MAX_IMAGE_PIXELS
    with _without_bomb_warning(limit is not None and image.height * image.width > limit):
        image.load()
    orientation = _exif_orientation(image)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return np.asarray(image), orientation
    is_transparent = image.mode in _ALPHA_MODES and image.has_transparency_data
    if image.mode == "La":  # premultiplied grey: Pillow takes it to LA only
        image = image.convert("LA")
    return np.asarray(image.convert("RGBA" if is_transparent else "RGB")), orientation


def _exif_orientation(image: Image.Image) -> int:
    try:
        # asked after load(): the TIFF plugin turns the picture itself then and forgets the tag
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block raises nearly any type, and does not spoil the picture
        return 1


def _decode_tiff(file: IO[bytes], name: str, max_pixels: int) -> tuple[np.ndarray, int]:
    """Decode with Pillow up to 8 bits a sample (it knows more compressions), beyond that with tifffile."""
    try:
        image = TiffImagePlugin.TiffImageFile(file)
        bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,))
    except Exception:  # kinds of pixels Pillow does not know, such as float RGB
        bits = (16,)
    if max(bits) <= 8:
        return _pil_to_array(image, name, max_pixels)
    file.seek(0)
    return _decode_deep_tiff(file, name, max_pixels)


def _decode_deep_tiff(file: IO[bytes], name: str, max_pixels: int) -> tuple[np.ndarray, int]:
    import tifffile  # slow to import, and few images need it

    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages.first
        values, orientation = decode_tiff_page(page, name, max_pixels)
        photometric = page.photometric
    values = _to_uint8(values, name)
    if photometric == _TIFF_MIN_IS_WHITE:
        values = 255 - values
    if photometric == _TIFF_CMYK:
        values = np.asarray(Image.fromarray(np.ascontiguousarray(values), "CMYK").convert("RGB"))
    return values, orientation


def decode_tiff_page(page: Any, name: str, max_pixels: int) -> tuple[np.ndarray, int]:
    """Return the values of tifffile's page as stored, (H, W) or (H, W, C), and their orientation."""
    _check_size(name, page.imagelength, page.imagewidth, max_pixels)
    n_samples = page.samplesperpixel
    if page.imagedepth != 1 or n_samples not in (1, 2, 3, 4) or page.photometric == _TIFF_PALETTE:
        raise ImageError(
            f"{name}: a TIFF of {n_samples} samples a pixel, depth {page.imagedepth} and photometric "
            f"{page.photometric} is not a picture. Choose 1 (grey) or 3 (RGB) of its bands and save those."
        )
    if int(np.prod(page.chunks)) > 4 * max(max_pixels, 1 << 20):  # a tile may claim more than the whole image
        raise ImageError(f"{name}: its tiles claim {page.chunks} values each. {_DAMAGED}")
    values = page.asarray().reshape(page.shape)
    values = np.moveaxis(values, 0, -1) if page.axes.startswith("S") else values
    return values, int(page.tags.valueof(_EXIF_ORIENTATION, default=1))


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image (H, W, C) as its EXIF orientation wants it seen."""
    turn = _UPRIGHT.get(orientation)
    return values if turn is None else turn(values)


def _from_array(array: np.ndarray, name: str, max_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
    if array.ndim not in (2, 3):
        raise ImageError(f"{name}: {array.ndim} axes. Give (H, W) or (H, W, C); of a batch or video pass one image.")
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        is_channels_first = array.shape[0] in (1, 3, 4)
        remedy = "For (C, H, W) pass array.transpose(1, 2, 0)." if is_channels_first else "Choose 1 or 3 of its bands."
        raise ImageError(f"{name}: {array.shape[2]} channels; 1 (grey), 3 (RGB) or 4 (RGBA) are accepted. {remedy}")
    _check_size(name, array.shape[0], array.shape[1], max_pixels)
    return _finish(np.asarray(array), 1, name)


def _from_tensor(tensor: Any, max_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
    shape = tuple(tensor.shape)
    name = f"tensor of shape {shape} and dtype {tensor.dtype}"
    if len(shape) != 3 or shape[0] not in (1, 3, 4):
        remedies = {4: "Of a batch pass one image, tensor[0].", 3: "For (H, W, C) pass tensor.permute(2, 0, 1)."}
        remedy = remedies.get(len(shape), "For a grey (H, W) image pass tensor[None].")
        raise ImageError(f"{name}: tensors are (C, H, W) with C = 1, 3 or 4. {remedy}")
    _check_size(name, shape[1], shape[2], max_pixels)
    try:
        values = tensor.detach().cpu()
        # numpy has no bfloat16
        array = (values.float() if values.is_floating_point() else values).numpy()
    except Exception as error:  # sparse, quantised, meta and functional tensors, each with its own type
        raise ImageError(f"{name}: has no numpy form ({_describe(error)}). Pass a dense, strided tensor.") from error
    return _finish(array.transpose(1, 2, 0), 1, name)


def _finish(values: np.ndarray, orientation: int, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Scale to uint8, lay over white, spread grey to RGB, turn upright."""
    pixels = _to_uint8(values, name)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] in (2, 4):
        pixels = _over_white(pixels[..., :-1], pixels[..., -1:])
    turned = upright(pixels, orientation)
    rgb = np.empty((*turned.shape[:2], 3), dtype=np.uint8)
    rgb[...] = turned
    return rgb


def _to_uint8(values: np.ndarray, name: str) -> np.ndarray:
    kind, n_bytes = values.dtype.kind, values.dtype.itemsize
    if kind == "u" and n_bytes == 1:
        return values
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind == "u" and n_bytes == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if kind != "f":
        raise ImageError(
            f"{name}: values of type {values.dtype} have no fixed range; accepted are {_DTYPES}. "
            "If they are 0..255 pass array.astype(np.uint8), if 0..65535 array.astype(np.uint16)."
        )
    with np.errstate(invalid="ignore"):
        low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise ImageError(f"{name}: holds NaN or infinite values. Replace them first, for example by np.nan_to_num.")
    if low < -1e-6 or high > 1 + 1e-6:  # the slack is for rounding, which callers cannot see
        remedy = (
            "Undo its normalisation (times std, plus mean)." if low < 0 else "Divide by 255, or by 65535 if 16-bit."
        )
        raise ImageError(f"{name}: float values span {low:g}..{high:g}, accepted are 0..1. {remedy}")
    wide = values.astype(np.float32) if n_bytes < 4 else values  # float16 is too coarse to be multiplied by 255
    scaled: np.ndarray = np.rint(np.clip(wide, 0, 1) * 255).astype(np.uint8)
    return scaled


def _over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha.astype(np.uint16)  # 255 * 255 + 127 still fits
    return ((color * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def _check_size(name: str, height: int, width: int, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{name}: is empty ({width}x{height} pixels). Give at least one pixel.")
    if height * width > max_pixels:
        raise ImageError(
            f"{name}: {width}x{height} = {height * width} pixels, above the limit of {max_pixels}. "
            "Shrink or tile the image, or raise max_pixels."
        )


@contextmanager
def _without_bomb_warning(is_needed: bool) -> Iterator[None]:
    """Silence Pillow's warning of large images: max_pixels has been checked instead."""
    if not is_needed:  # warning filters belong to the whole process: leave them alone for all but huge images
        yield
        return
    with _bomb_filter_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _pillow_limit(name: str) -> str:
    return (
        f"{name}: has more pixels than Pillow decodes. Shrink or tile the image, or raise PIL.Image.MAX_IMAGE_PIXELS "
        "together with max_pixels."
    )


def _unknown_format(name: str, start: bytes) -> str:
    return f"{name}: is not {_FORMATS}: it starts with {start!r}. Convert it to PNG or JPEG."


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
