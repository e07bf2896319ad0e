"""Read pictures with Pillow: PNG, JPEG, WebP, AVIF, BMP, GIF, HEIC, TIFF of inks or CIE Lab, and PIL images."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Shaped
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from supercuts.core.errors import ImageError, InputError
from supercuts.images.formats.stored import Raster, check_size, upright

_EXIF_ORIENTATION = 274
_PLANES = 284  # tag PlanarConfiguration: 1, or 2 where each band is stored separately
_ORIENTED = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # names of PNG data in which Pillow looks for it
_DEEP_RGB = "RGB;16B"  # Pillow's name for 16-bit RGB in a file

# The plugins are called directly because Image.open tries every format (one starts Ghostscript) and warns about large
# images by a limit that only a global of Pillow can change.
_PLUGINS: dict[bytes, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
}
_AVIF = (b"ftypavif", b"ftypavis")
_HEIF = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_ALPHA_MODES = ("1", "L", "RGB", "P", "LA", "La", "PA", "RGBA", "RGBa")  # modes Pillow turns into RGBA
_bomb_filter_lock = threading.Lock()


def is_known(start: bytes) -> bool:
    """Return whether the first bytes of a file are those of a picture that Pillow reads."""
    return start.startswith(tuple(_PLUGINS)) or start.startswith((*_AVIF, *_HEIF), 4)


def read_file(file: IO[bytes], start: bytes, name: str, max_pixels: int, page: int | None = None) -> Raster:
    """Return the picture in an open file: the first frame, or frame `page`, counted from 1."""
    with _open(file, start) as image:
        stored = image.tile[0][3] if start.startswith(b"\x89PNG") and image.tile else None
        if stored == _DEEP_RGB and not image.has_transparency_data:
            check_size(name, image.height, image.width, max_pixels, 6)
            _choose_frame(image, name, page)
            return _read_deep_png(file, image, name)
        return read_image(image, name, max_pixels, page)


def read_tiff(file: IO[bytes], name: str, max_pixels: int) -> Raster:
    """Return a TIFF of inks or CIE Lab, 8 bits per sample, as RGB."""
    image = TiffImagePlugin.TiffImageFile(file)
    if image.tag_v2.get(_PLANES, 1) != 1:
        raise ValueError("Pillow reads planes of 16 bits and of CIE Lab wrongly")
    return read_image(image, name, max_pixels)


def read_inks(
    values: Shaped[np.ndarray, "height width 4"], name: str, alpha: Shaped[np.ndarray, "height width"] | None = None
) -> Raster:
    """Return inks (cyan, magenta, yellow, black) of 8 or 16 bits as RGB."""
    rgb = np.array(Image.fromarray(_as_bytes(values), "CMYK").convert("RGB"))
    opacity = None if alpha is None else _as_bytes(alpha)
    return Raster(rgb, alpha=opacity, name=name, is_picture=True, is_rgb=True)


def _as_bytes(values: np.ndarray) -> np.ndarray:
    largest = np.iinfo(values.dtype).max // 255
    return ((values.astype(np.uint32) + largest // 2) // largest).astype(np.uint8)


def read_image(image: Image.Image, name: str, max_pixels: int, page: int | None = None) -> Raster:
    """Return a PIL image as an upright Raster."""
    check_size(name, image.height, image.width, max_pixels)
    _choose_frame(image, name, page)
    limit = Image.MAX_IMAGE_PIXELS
    with _without_bomb_warning(limit is not None and image.height * image.width > limit):
        image.load()
    turn = orientation(image)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        values = upright(np.asarray(image)[..., None], turn)
        return Raster(np.array(values, values.dtype.newbyteorder("="), order="C"), name=name, is_picture=True)
    is_transparent = image.mode in _ALPHA_MODES and image.has_transparency_data
    if image.mode == "La":  # premultiplied grey: Pillow converts it to LA only
        image = image.convert("LA")
    values = upright(np.asarray(image.convert("RGBA" if is_transparent else "RGB")), turn)
    rgb, alpha = np.array(values[..., :3], order="C"), values[..., 3] if is_transparent else None
    return Raster(rgb, alpha=alpha, name=name, is_picture=True, is_rgb=True)


def read_size(path: Path) -> tuple[int, int]:
    """Return the upright size (H, W) of a picture from its header; verifies all checksums of a PNG."""
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        with _open(file, start) as image:
            height, width = image.height, image.width
            is_png = start.startswith(b"\x89PNG")
            # reading the EXIF block decodes a PNG, unless the block precedes the pixels
            is_late = is_png and "exif" not in image.info and _holds_orientation(path)
            has_exif = not is_png or "exif" in image.info or is_late
            is_turned = has_exif and orientation(image) in (5, 6, 7, 8)
            if is_png and not is_late:
                image.verify()  # checksums detect a truncated file without decoding it
    return (width, height) if is_turned else (height, width)


@contextmanager
def open_png(path: Path) -> Iterator[Image.Image]:
    """Yield a PNG without decoding it."""
    with path.open("rb") as file, PngImagePlugin.PngImageFile(file) as image:
        yield image


def pillow_limit(name: str) -> str:
    """Return the error message for a DecompressionBombError."""
    return (
        f"{name}: has more pixels than Pillow decodes. Shrink or tile the image, or raise PIL.Image.MAX_IMAGE_PIXELS "
        "together with max_pixels."
    )


def _open(file: IO[bytes], start: bytes) -> ImageFile.ImageFile:
    plugin = next((plugin for magic, plugin in _PLUGINS.items() if start.startswith(magic)), None)
    if start.startswith(_AVIF, 4):
        plugin = AvifImagePlugin.AvifImageFile
    elif start.startswith(_HEIF, 4):
        plugin = _heif_plugin()
    if plugin is None:
        raise ImageError(f"is not an image: it starts with {start!r}. Convert it to PNG or JPEG.")
    with _without_bomb_warning(start.startswith(b"GIF8")):  # this plugin warns while it reads the header
        return plugin(file)


def _heif_plugin() -> Callable[[IO[bytes]], ImageFile.ImageFile]:
    try:
        from pillow_heif import as_plugin
    except ImportError as error:
        raise ImageError(
            "HEIC needs another package: pip install pillow-heif, or convert the image to JPEG or PNG."
        ) from error
    plugin: Callable[[IO[bytes]], ImageFile.ImageFile] = as_plugin.HeifImageFile
    return plugin


def _choose_frame(image: Image.Image, name: str, page: int | None) -> None:
    if page is None:
        return
    n_frames = getattr(image, "n_frames", 1)
    if not 1 <= page <= n_frames:
        raise InputError(f"page={page}: {name} has {n_frames} page(s). Give a number from 1 to {n_frames}.")
    if n_frames > 1:
        image.seek(page - 1)
        check_size(name, image.height, image.width)


def _read_deep_png(file: IO[bytes], image: Image.Image, name: str) -> Raster:
    """Return a 16-bit RGB PNG with all 16 bits; Pillow keeps 8."""
    import imagecodecs  # slow to import, and few images need it

    file.seek(0)
    content = file.read()
    values = imagecodecs.png_decode(content)
    if values.shape != (image.height, image.width, 3):
        raise ValueError(f"its pixels are {values.shape}, its header claims {image.height} rows of {image.width}")
    if any(mark in content for mark in _ORIENTED):
        image.load()  # the EXIF block may come after the pixels
    values = np.ascontiguousarray(upright(values, orientation(image)))
    return Raster(values, name=name, is_picture=True, is_rgb=True)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a decoded image, 1 if it has none."""
    try:
        # read after load(), where the TIFF plugin turns the picture itself and removes the tag
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block raises nearly any type; the picture is intact
        return 1


def _holds_orientation(path: Path) -> bool:
    """Return whether a PNG may hold an orientation before or after its pixels; compressed bytes may match by chance."""
    content = path.read_bytes()
    return any(mark in content for mark in _ORIENTED)


@contextmanager
def _without_bomb_warning(is_needed: bool) -> Iterator[None]:
    """Silence Pillow's warning about large images, because max_pixels has been checked."""
    if not is_needed:  # warning filters are global to the process: change them for huge images only
        yield
        return
    with _bomb_filter_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield
