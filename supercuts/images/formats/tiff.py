"""Read TIFFs; only this module opens them. GDAL reads maps and pictures, tifffile reads stacks.

tifffile reads the header and what GDAL lacks. Pillow reads inks and CIE Lab, stacks.py stacks of planes, GDAL the rest.
"""

import contextlib
import itertools
import math
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from supercuts.core.errors import FileFormatError, ImageError, ImageWarning, InputError
from supercuts.core.threads import thread_count
from supercuts.images.formats import pillow, stacks
from supercuts.images.formats.arrays import is_nodata, without_nan
from supercuts.images.formats.stored import DAMAGED, MAX_PIXELS, Raster, check_size, check_type, upright
from supercuts.images.georeference import Georeference, fit_points

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MIN_IS_WHITE, _RGB, _PALETTE, _INKS, _YCBCR, _LABS = 0, 2, 3, 5, 6, (8, 9, 10)
_PREMULTIPLIED = 1  # kind of extra sample
_ORIENTATION = 274
_GDAL_NODATA = 42113
_STRIP_BYTES = 32 << 20  # bytes read at a time
_MOST_BANDS = 4096
_CACHE_MB = 64  # size of GDAL's block cache while a file is open
# drivers of self-contained image files, by the first bytes of the file
_DRIVERS = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"\0\0\0\x0cjP": "JP2OpenJPEG"}
_ALONE = {"GDAL_PAM_ENABLED": "NO", "CPL_VSIL_CURL_ALLOWED_FILENAME": "none"}  # no .aux.xml files, no URLs
_warnings_lock = threading.Lock()


class _Header(NamedTuple):
    """Properties of a page that GDAL does not report or that select the reader."""

    size: tuple[int, int]
    n_samples: int
    photometric: int
    orientation: int
    extra: tuple[int, ...]
    is_absent: Bool[np.ndarray, "down across"] | None  # windows of the page that the file omits
    window: tuple[int, int]
    has_more: bool  # whether planes follow the first page


def read_tiff(
    path: Path,
    page: int | None = None,
    axes: str | None = None,
    as_bands: bool = False,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Raster:
    """Return the image in a TIFF.

    page      the page, or the plane of a stack (counted over times and depths, with all its channels), counted from 1
    axes      HWC or CHW, the axes of a file of several pages that does not name them
    as_bands  whether pages without a meaning of their own are bands; if not, the first is read, with a warning
    """
    name = str(path)
    with _tifffile(path) as tiff:
        header = _read_header(tiff, path, max_pixels)
        is_ordered = as_bands and page is None
        if axes is not None and header.has_more:
            is_ordered = len(tiff.series) == 1
        if header.has_more and (is_ordered or stacks.is_stack(tiff) or stacks.is_named(tiff)):
            stack = stacks.read_stack(tiff, name, max_pixels, page, axes and axes.upper(), as_bands)
            return _turned(stack, header.orientation)
        if header.has_more and page is None:
            if stacks.is_trailing(tiff):
                return _turned(stacks.read_stack(tiff, name, max_pixels), header.orientation)
            stacks.warn_of_rest(name, "several pages", "")
        number = _number_of_page(tiff, name, page)
        if number > 0:
            header = _read_header(tiff, path, max_pixels, number)
    if header.photometric in (_INKS, *_LABS) and number == 0:
        with path.open("rb") as file, contextlib.suppress(OSError, SyntaxError, KeyError, ValueError):
            return pillow.read_tiff(file, name, max_pixels)
    if header.photometric == _INKS and header.n_samples >= 4:  # GDAL may convert them, with other colours
        return _read_by_tifffile(path, header, number)
    try:
        return _read_gdal(path, header, max_pixels, number)
    except OSError as error:
        if "missing codec" not in str(error):
            raise
        return _read_by_tifffile(path, header, number)


def read_shape(path: Path) -> tuple[int, int, int]:
    """Return the shape (H, W, C) that read_tiff(path, as_bands=True) and to_bands return, from the header alone."""
    with _tifffile(path) as tiff:
        header = _read_header(tiff, path, MAX_PIXELS)
        check_type(str(path), np.dtype(tiff.pages.first.dtype or "V1"))
        if header.has_more:
            height, width, n_samples = stacks.read_shape(tiff, str(path))
        else:
            fewest = {_PALETTE: 1, _YCBCR: 1, _INKS: 4, **dict.fromkeys(_LABS, 2)}  # samples that are read as RGB
            is_picture = header.n_samples >= fewest.get(header.photometric, header.n_samples + 1)
            (height, width), n_samples = header.size, 3 if is_picture else header.n_samples
    return (width, height, n_samples) if header.orientation in (5, 6, 7, 8) else (height, width, n_samples)


@contextlib.contextmanager
def open_labels(path: Path) -> Iterator[tuple[Any, int]]:
    """Yield tifffile's series of a TIFF with one array, whatever its meaning, and its EXIF orientation.

    The values of a palette image are indices. The page of the series has the attribute photometric.
    """
    with _tifffile(path) as tiff:
        stacks.check_pages(tiff)
        if len(tiff.series) != 1:
            raise FileFormatError(
                f"{path} holds {len(tiff.series)} series of images. Expected one: save it separately."
            )
        yield tiff.series[0], int(tiff.pages.first.tags.valueof(_ORIENTATION, default=1))


def read_map(path: str | Path) -> tuple[Georeference | None, tuple[int, int]]:
    """Return the georeference of a file that GDAL reads, and its shape (H, W)."""
    with Path(path).open("rb") as file:
        start = file.read(16)
    driver = next((name for magic, name in _DRIVERS.items() if start.startswith(magic)), "GTiff")
    with open_gdal(path, driver, has_world_file=True) as source:
        return _georeference(source, str(path)), source.shape


@contextlib.contextmanager
def open_gdal(
    path: str | Path, driver: str = "GTiff", page: int | None = None, has_world_file: bool = False, **options: Any
) -> Iterator[Any]:
    """Yield rasterio's dataset, without the warning about images that have no georeference.

    has_world_file  whether a world file next to the file is read; no other file is
    options         options of the GDAL driver
    """
    import rasterio  # slow to import

    with contextlib.ExitStack() as stack:
        name = str(Path(path).absolute())  # GDAL could take a relative one for an address or an archive member
        try:
            name.encode()
        except UnicodeEncodeError:  # GDAL accepts UTF-8 names only
            name = f"/dev/fd/{stack.enter_context(Path(path).open('rb')).fileno()}"
        if page is not None:
            name = f"GTIFF_DIR:{page}:{name}"
        # GDAL opens .msk and .ovr files with any driver, and so whatever they refer to
        files = "TRUE" if has_world_file else "EMPTY_DIR"
        stack.enter_context(rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=files, GDAL_CACHEMAX=_CACHE_MB, **_ALONE))
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            source = stack.enter_context(rasterio.open(name, driver=driver, **options))
        yield source


@contextlib.contextmanager
def _tifffile(path: Path) -> Iterator[Any]:
    import tifffile  # slow to import, and few images need it

    with tifffile.TiffFile(path, _multifile=False) as tiff:  # an OME-TIFF may name any other files: do not open them
        yield tiff


def _read_header(tiff: Any, path: Path, max_pixels: int, number: int = 0) -> _Header:
    page: Any = tiff.pages.get(number).aspage() if number else tiff.pages.first
    height, width, n_samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if n_samples > _MOST_BANDS:  # GDAL opens such a file slowly
        raise ImageError(f"{path}: {n_samples} bands; at most {_MOST_BANDS} are accepted. Choose fewer of its bands.")
    n_bytes = n_samples * (page.dtype.itemsize if page.dtype is not None else 8)
    check_size(str(path), height, width, max_pixels, n_bytes)
    if math.prod(page.chunks) > 4 * max(height * width * n_samples, 1 << 20):  # a tile may claim more than the image
        raise ImageError(f"{path}: its tiles claim {page.chunks} values each. {DAMAGED}")
    return _Header(
        (height, width),
        n_samples,
        int(page.photometric),
        int(page.tags.valueof(_ORIENTATION, default=1)),
        tuple(int(kind) for kind in page.extrasamples),
        _absent_windows(page),
        (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width),
        _has_more_pages(tiff),
    )


def _own_pages(tiff: Any) -> Iterator[int]:
    """Yield the numbers of the pages, counted from 0, without smaller copies and masks of other pages."""
    yield 0
    if tiff.pages.is_multipage:
        for page in stacks.walk(tiff):
            if page.index and not page.aspage().subfiletype & stacks.REDUCED_OR_MASK:
                yield page.index


def _has_more_pages(tiff: Any) -> bool:
    """Return whether more planes follow the first page, as pages or within its data."""
    if len(list(itertools.islice(_own_pages(tiff), 2))) > 1:
        stacks.check_pages(tiff)  # else tifffile's list of series may be endless
        return True
    is_described = stacks.is_stack(tiff) or tiff.is_shaped
    return bool(is_described and math.prod(tiff.series[0].shape) > math.prod(tiff.pages.first.shape))


def _number_of_page(tiff: Any, name: str, page: int | None) -> int:
    """Return the index, from 0, of page `page`, counted from 1; raise InputError if it does not exist."""
    if page in (None, 1):
        return 0
    numbers = list(itertools.islice(_own_pages(tiff), max(page, 0)))
    if len(numbers) < page or page < 1:
        n_pages = len(list(_own_pages(tiff)))
        raise InputError(f"page={page}: {name} has {n_pages} pages. Give a number from 1 to {n_pages}.")
    return numbers[-1]


def _absent_windows(page: Any) -> np.ndarray | None:
    """Return the mask of windows, in rows and columns, that hold no byte in any plane; None if all hold bytes."""
    counts = np.asarray(page.databytecounts)
    if page.imagedepth != 1 or counts.size == 0 or counts.all():
        return None
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    grid = -(-page.imagelength // rows), -(-page.imagewidth // columns)
    if counts.size % math.prod(grid):
        return None
    absent: np.ndarray = (counts.reshape(-1, *grid) == 0).all(axis=0)
    return absent


def _read_by_tifffile(path: Path, header: _Header, number: int) -> Raster:
    """Return a page that GDAL does not read, such as one in JPEG 2000; its georeference is not read."""
    with _tifffile(path) as tiff:
        page = tiff.pages.get(number).aspage()
        values = page.asarray().reshape([n for n, axis in zip(page.shape, page.axes, strict=True) if axis in "SYX"])
        nodata = page.nodata if _GDAL_NODATA in page.tags else None
        table = page.colormap
    if values.ndim == 3 and page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    values = np.ascontiguousarray(values[..., None] if values.ndim == 2 else values)
    valid = None if nodata is None else ~is_nodata(values, (nodata,) * values.shape[2])
    if header.photometric == _PALETTE and table is not None:
        values = _colors_of(values[..., 0], (table >> 8).astype(np.uint8))
    if header.photometric == _MIN_IS_WHITE:
        values = _inverted(values)
    is_rgb = header.photometric in (_RGB, _YCBCR, _PALETTE) and values.shape[2] >= 3
    n_colors = 4 if header.photometric == _INKS else 3
    has_alpha = (is_rgb or n_colors == 4) and values.shape[2] == n_colors + 1 and header.extra[:1] in ((1,), (2,))
    alpha = np.ascontiguousarray(values[..., n_colors]) if has_alpha else None
    if n_colors == 4 and values.shape[2] >= 4:
        raster = replace(pillow.read_inks(values[..., :4], str(path), alpha), valid=valid)
    else:
        raster = Raster(values[..., :3] if has_alpha else values, valid, alpha, name=str(path), is_rgb=is_rgb)
    return without_nan(_turned(raster, header.orientation))


def _read_gdal(path: Path, header: _Header, max_pixels: int, number: int) -> Raster:
    with open_gdal(path, page=number + 1 if number else None, num_threads=thread_count()) as source:
        height, width = source.shape
        n_bytes = sum(np.dtype(name).itemsize for name in source.dtypes)
        check_size(str(path), height, width, max_pixels, n_bytes)
        if source.dtypes[0].startswith("complex"):
            raise ImageError(f"{path}: holds complex numbers. Save their magnitude, np.abs(values), as float32.")
        values, valid = _read_values(source)
        if header.is_absent is not None:
            present = np.ones(values.shape[:2], np.bool_)
            for down, across in np.argwhere(header.is_absent).tolist():
                top, left = down * header.window[0], across * header.window[1]
                present[top : top + header.window[0], left : left + header.window[1]] = False
            valid = present if valid is None else valid & present
        raster = _interpret(values, source, header, str(path))
        # wrong once pixels are turned
        georeference = _georeference(source, str(path)) if header.orientation == 1 else None
    if raster.alpha is not None:
        is_seen = raster.alpha != 0
        valid = is_seen if valid is None else valid & is_seen
    raster = _turned(replace(raster, valid=valid), header.orientation)
    valid = raster.valid
    if valid is not None and valid.all():
        valid = None
    if valid is not None and raster.values.dtype.kind == "f":
        raster.values[~valid] = 0
    return replace(raster, valid=valid, georeference=georeference)


def _read_values(source: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the values (H, W, C) as stored and the mask of pixels with data (None: all); reads strip by strip."""
    from rasterio.enums import ColorInterp, MaskFlags
    from rasterio.windows import Window

    height, width = source.shape
    values = np.empty((height, width, source.count), np.result_type(*source.dtypes))
    colors = [i for i, kind in enumerate(source.colorinterp) if kind != ColorInterp.alpha]
    nodata = tuple(source.nodatavals[i] for i in colors)
    has_nodata = None not in nodata
    flags = source.mask_flag_enums[0]
    has_mask = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
    is_float = values.dtype.kind == "f"
    valid = np.ones((height, width), np.bool_) if has_nodata or has_mask or is_float else None
    for top, n_rows in _strips(source, width * values.itemsize * source.count):
        window, rows = Window(0, top, width, n_rows), slice(top, top + n_rows)
        part = values[rows]
        source.read(window=window, out=np.moveaxis(part, -1, 0))  # GDAL writes the samples of a pixel side by side
        if valid is None:
            continue
        if has_nodata:
            valid[rows] &= ~is_nodata(part[..., colors] if len(colors) < source.count else part, nodata)
        if has_mask:
            valid[rows] &= source.read_masks(1, window=window) != 0
        if is_float:
            valid[rows] &= np.isfinite(part).all(axis=2)
    return values, valid


def _strips(source: Any, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the number of rows of each strip; strips are whole windows unless these are too large."""
    height, n_rows = source.height, source.block_shapes[0][0]
    fitting = max(_STRIP_BYTES // row_bytes, 1)
    step = max(fitting // n_rows, 1) * n_rows if n_rows <= 4 * fitting else fitting
    for top in range(0, height, step):
        yield top, min(step, height - top)


def _interpret(values: np.ndarray, source: Any, header: _Header, name: str) -> Raster:
    """Return the image that the samples encode: palette colours resolved, 0 black, transparency separate."""
    from rasterio.enums import ColorInterp

    if header.photometric == _PALETTE:
        table = np.zeros((4, 256 if values.dtype == np.uint8 else 65536), np.uint8)
        for index, color in source.colormap(1).items():
            table[:, index] = color
        return Raster(_colors_of(values[..., 0], table[:3]), name=name, is_rgb=True)
    values = _full_scale(values, int(source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 0)))
    if header.photometric == _MIN_IS_WHITE:
        values = _inverted(values)
    if header.photometric in _LABS and values.shape[2] > 1:
        if source.colorinterp[0] != ColorInterp.red:
            raise ImageError(
                f"{name}: CIE Lab of {values.shape[2]} samples of type {values.dtype} is not read. Save it as RGB."
            )
        return Raster(np.ascontiguousarray(values[..., :3]), name=name, is_rgb=True)
    alpha_bands = [i for i, kind in enumerate(source.colorinterp) if kind == ColorInterp.alpha]
    if alpha_bands and header.photometric == _YCBCR and not header.extra:  # GDAL adds alpha where it converts colours
        values = np.ascontiguousarray(np.delete(values, alpha_bands[0], axis=2))
        alpha_bands = []
    is_rgb = header.photometric in (_RGB, _YCBCR) and values.shape[2] - len(alpha_bands[:1]) >= 3
    if not alpha_bands:
        return Raster(values, name=name, is_rgb=is_rgb)
    alpha = np.ascontiguousarray(values[..., alpha_bands[0]])
    colors = np.ascontiguousarray(np.delete(values, alpha_bands[0], axis=2))
    if _PREMULTIPLIED in header.extra[:1] and values.dtype.kind == "u":
        largest = np.iinfo(values.dtype).max
        part = np.minimum(colors.astype(np.uint32) * largest // np.maximum(alpha, 1)[..., None], largest)
        colors = part.astype(values.dtype)
    return Raster(colors, alpha=alpha, name=name, is_rgb=is_rgb)


def _colors_of(indices: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the colours (H, W, 3) that indices (H, W) have in a palette (3, colours)."""
    rgb = np.empty((*indices.shape, 3), np.uint8)
    for channel in range(3):
        _look_up(indices, table[channel], rgb[..., channel])
    return rgb


def _look_up(indices: np.ndarray, table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Write the entries of a table into `values` strip by strip, because numpy converts indices to 8 bytes each."""
    n_rows = max(1, (1 << 18) // indices[0].size)
    for top in range(0, len(indices), n_rows):
        values[top : top + n_rows] = table.take(indices[top : top + n_rows], mode="clip")
    return values


def _inverted(values: np.ndarray) -> np.ndarray:
    """Return values whose lowest is white so that it is black."""
    top = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    inverted: np.ndarray = (top - values).astype(values.dtype, copy=False)
    return inverted


def _full_scale(values: np.ndarray, n_bits: int) -> np.ndarray:
    """Return unsigned values of fewer bits than their type scaled to its full range: 1 in 1 bit becomes 255 in 8."""
    if values.dtype.kind != "u" or not 0 < n_bits < 8 * values.itemsize or values.itemsize > 2:
        return values
    table = np.arange(1 << n_bits, dtype=np.uint32) * np.iinfo(values.dtype).max // ((1 << n_bits) - 1)
    return _look_up(values, table.astype(values.dtype), np.empty_like(values))


def _turned(raster: Raster, orientation: int) -> Raster:
    if orientation == 1:
        return raster
    values, alpha, valid = (
        None if array is None else np.ascontiguousarray(upright(array, orientation))
        for array in (raster.values, raster.alpha, raster.valid)
    )
    return raster if values is None else replace(raster, values=values, alpha=alpha, valid=valid)


def _georeference(source: Any, name: str) -> Georeference | None:
    """Return the georeference from the transform, else from ground control points, or None if there are neither.

    Warn about a transform that places no pixels.
    """
    crs = source.crs
    if not source.transform.is_identity or crs is not None:
        with contextlib.suppress(InputError):
            return Georeference(tuple(source.transform)[:6], crs.to_string() if crs else None)
        numbers = ", ".join(f"{number:g}" for number in source.transform[:6])
        message = f"{name}: its transform ({numbers}) places no pixels. The image counts as not georeferenced."
        warnings.warn(message, ImageWarning, stacklevel=2)
        return None
    points, system = source.gcps
    if not points:
        return None
    return fit_points(
        np.array([(point.col, point.row) for point in points]),
        np.array([(point.x, point.y) for point in points]),
        system.to_string() if system else None,
        name,
    )
