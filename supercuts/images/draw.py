"""Draw label maps as pictures: mean colours, distinct colours, boundary lines, overlays, captioned sheets."""

import functools
import math
from collections.abc import Container, Mapping, Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Float32, Int32, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError
from supercuts.images.convert import oklch_to_rgb

_GOLDEN, _PLASTIC = 0.618033988749895, 0.7548776662466927  # inverse golden ratio and inverse plastic number
_BLUR_PX = 1.1  # sigma; smooths the staircase of a slanted boundary and keeps its corners
_HALO_PX, _HALO_OPACITY = 1.1, 0.55
_GAP_PX = 12
_PAPER, _INK = (255, 255, 255), (48, 48, 48)
_NOWHERE = 128  # grey value of pixels in no region
_STRIP_PIXELS = 1 << 22  # pixels per strip when drawing lines; 60 bytes of memory each
_REACH_PX = 2  # radius of the window that finds boundaries


def mean_color(
    image: UInt8[np.ndarray, "height width 3"], labels: Integer[np.ndarray, "labels_height labels_width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture with every region filled by its mean colour.

    >>> mean_color(np.array([[[0, 0, 0], [4, 2, 0]]], dtype=np.uint8), np.array([[0, 0]])).tolist()
    [[[2, 1, 0], [2, 1, 0]]]
    """
    _check_picture("image", image)
    ids = _checked_labels(labels, image.shape[:2])
    ids = ids + 1 if ids.min() < 0 else ids  # pixels in no region (-1) form one more region
    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    from supercuts.images import _kernels  # imports numba

    means: np.ndarray = _kernels.region_means(pixels, ids.ravel(), int(ids.max()) + 1)
    return np.take(means, ids, axis=0)


def random_colors(labels: Integer[np.ndarray, "height width"], seed: int = 0) -> UInt8[np.ndarray, "height width 3"]:
    """Return regions in colours that depend only on id and seed; ids less than 50 apart get clearly different ones."""
    ids = _checked_labels(labels, labels.shape)
    start = np.random.default_rng(seed).random(2)
    steps = np.arange(int(ids.max()) + 1)
    # Hue alone repeats nearly every 21 or 55 golden steps; the second sequence gives those ids another lightness.
    turns, spread = (start[0] + _GOLDEN * steps) % 1, (start[1] + _PLASTIC * steps) % 1
    lightness = 0.64 + 0.22 * spread
    chroma = 0.125 - 0.3 * np.abs(lightness - 0.74)  # near the edge of sRGB, which is widest at middle lightness
    colors = oklch_to_rgb(np.stack([lightness, chroma, turns], axis=1))
    return np.take(np.concatenate([colors, np.full((1, 3), _NOWHERE, np.uint8)]), ids, axis=0, mode="wrap")


def draw_boundaries(
    image: UInt8[np.ndarray, "height width 3"],
    labels: Integer[np.ndarray, "labels_height labels_width"],
    color: tuple[int, int, int] = (255, 255, 255),
    width: int = 1,
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture with an antialiased line, 1 or 2 pixels wide, on every region boundary.

    A faint halo of the opposite lightness on both sides keeps the line visible on any background.
    """
    _check_picture("image", image)
    check_choice("width", width, (1, 2))
    _check_color(color)
    ids = _checked_labels(labels, image.shape[:2])
    height = image.shape[0]
    n_rows = max(_STRIP_PIXELS // image.shape[1], 1)
    drawn = np.empty_like(image)
    for top in range(0, height, n_rows):
        first, bottom = max(top - _REACH_PX, 0), min(top + n_rows, height)
        distance = _boundary_distance(ids[first : bottom + _REACH_PX])[top - first : bottom - first]
        drawn[top:bottom] = _draw_lines(image[top:bottom], distance, color, width)
    return drawn


def _draw_lines(
    image: UInt8[np.ndarray, "height width 3"],
    distance: Float32[np.ndarray, "height width"],
    color: tuple[int, int, int],
    width: int,
) -> UInt8[np.ndarray, "height width 3"]:
    # 0.15 more than half the width: a line centred between two pixel rows covers each only by half and looks pale
    half_width = width / 2 + 0.15
    line = np.clip(half_width + 0.5 - distance, 0, 1)[..., None]
    halo = np.clip(half_width + _HALO_PX + 0.5 - distance, 0, 1)[..., None] * _HALO_OPACITY * (1 - line)
    is_light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 127
    ground = image * (1 - halo) + (0 if is_light else 255) * halo
    return np.rint(ground * (1 - line) + np.array(color, dtype=np.float32) * line).astype(np.uint8)


def blend(
    image: UInt8[np.ndarray, "height width 3"],
    colors: UInt8[np.ndarray, "colors_height colors_width 3"],
    alpha: float = 0.5,
) -> UInt8[np.ndarray, "height width 3"]:
    """Return `colors` laid over the picture with opacity alpha: 0 gives the picture, 1 the colours.

    >>> blend(np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 200, np.uint8), 0.25).tolist()
    [[[50, 50, 50]]]
    """
    _check_picture("image", image)
    _check_picture("colors", colors)
    check_in_range("alpha", alpha, 0, 1, remedy="0 shows the image only, 1 the colours only.")
    if image.shape != colors.shape:
        raise InputError(f"image {image.shape} and colors {colors.shape} differ in shape: blend pictures of one size.")
    weight = np.float32(alpha)
    return np.rint(image * (1 - weight) + colors * weight).astype(np.uint8)


def contact_sheet(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], captions: Sequence[str], columns: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a sheet with all pictures in rows on white, with a small gap and a centred caption under each.

    All cells have the size of the largest picture; captions wider than their cell end in an ellipsis.
    """
    if len(pictures) != len(captions) or not pictures:
        raise InputError(f"{len(pictures)} pictures and {len(captions)} captions: give one caption each, at least one.")
    check_in_range("columns", columns, 1, len(pictures), remedy="Give at most one column per picture.")
    for index, picture in enumerate(pictures):
        _check_picture(f"pictures[{index}]", picture)
    cell_height, cell_width = max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)
    font_px = min(max(cell_width // 24, 12), 48)
    caption_px = 2 * font_px
    rows = math.ceil(len(pictures) / columns)
    size = (
        columns * (cell_width + _GAP_PX) + _GAP_PX,
        rows * (cell_height + caption_px) + (rows - 1) * _GAP_PX // 2 + _GAP_PX,
    )
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(font_px)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(index, columns)
        left = _GAP_PX + column * (cell_width + _GAP_PX)
        top = _GAP_PX + row * (cell_height + caption_px + _GAP_PX // 2)
        corner = (left + (cell_width - picture.shape[1]) // 2, top + (cell_height - picture.shape[0]) // 2)
        sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), corner)
        middle = (left + cell_width / 2, top + cell_height + caption_px / 2)
        pen.text(middle, _fitted(caption, pen, font, cell_width), fill=_INK, font=font, anchor="mm")
    return np.array(sheet)


def _boundary_distance(labels: Int32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Return the approximate distance in pixels from each pixel's centre to the nearest boundary; above 3 if beyond 2.

    Next to a straight boundary of any direction, the share of the pixel's own label under a Gaussian window is
    Phi(distance / sigma). At junctions and in thin regions the distance may be negative, which draws as a full line.
    """
    from supercuts.images import _kernels  # imports numba

    bell = np.exp(-0.5 * (np.arange(-2, 3) / _BLUR_PX) ** 2)
    window = np.outer(bell, bell)
    share = _kernels.own_label_share(labels, (window / window.sum()).astype(np.float32))
    distance: np.ndarray = _distances()[(share * 1023).astype(np.int32)]
    return distance


@functools.cache
def _distances() -> Float32[np.ndarray, "1024"]:
    """Return the distance in pixels from a straight boundary by the share of the own label, whose ends stay finite."""
    quantile = NormalDist(sigma=_BLUR_PX).inv_cdf  # scipy.special would take longer to import
    return np.array([quantile(share) for share in np.linspace(1e-3, 1 - 1e-3, 1024)], np.float32)


def _fitted(
    caption: str, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    line = " ".join(caption.split())  # a line break would run into the next row of pictures
    if pen.textlength(line, font=font) <= width:
        return line
    length = next((n for n in range(len(line), 0, -1) if pen.textlength(line[:n] + "...", font=font) <= width), 0)
    return line[:length].rstrip() + "..." if length else ""


def _check_picture(name: str, picture: np.ndarray) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise InputError(
            f"{name} of shape {picture.shape} and dtype {picture.dtype} is not an (H, W, 3) uint8 picture: convert it "
            "with read_image."
        )


def _check_color(color: tuple[int, int, int]) -> None:
    if len(color) != 3 or not all(0 <= value <= 255 for value in color):
        raise InputError(f"color={color} is not three values 0..255. Give (red, green, blue), such as (255, 255, 0).")


def _checked_labels(labels: np.ndarray, shape: tuple[int, ...]) -> Int32[np.ndarray, "height width"]:
    """Return the label map as contiguous int32 after checking that its ids can be 0..R-1, or 1..R."""
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise InputError(
            f"labels of shape {labels.shape} and dtype {labels.dtype} are not a label map: give integers (H, W), not "
            "empty."
        )
    if labels.shape != shape:
        raise InputError(f"labels {labels.shape} and image {shape} differ in size: give the labels of this image.")
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or high > labels.size:
        raise InputError(
            f"label ids {low}..{high} are outside 0..{labels.size - 1} or 1..{labels.size} for {labels.size} pixels "
            "(-1: none): renumber them with supercuts.core.arrays.relabel_consecutive."
        )
    return np.ascontiguousarray(labels, dtype=np.int32)


COLORS = {  # light enough for any photo; one colour per view to distinguish the files
    "superpixels": (255, 255, 255),
    "part": (255, 224, 102),
    "object": (88, 222, 255),
    "scene": (255, 112, 205),
}
_TILE_PX = 560  # long side of a picture in the overview
_TINT = 0.6


def overlay(
    photo: UInt8[np.ndarray, "height width 3"], labels: Int32[np.ndarray, "height width"], view: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the photo with the boundaries of a view, thin for superpixels."""

    return draw_boundaries(photo, labels, COLORS[view], width=1 if view == "superpixels" else 2)


def overview(
    photo: UInt8[np.ndarray, "height width 3"],
    cuts: Mapping[str, Int32[np.ndarray, "_ _"]],
    contours: Float32[np.ndarray, "rows columns"],
    name: str,
    counts: Mapping[str, int] | None = None,
    levels: Container[str] = ("part", "object", "scene"),
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Return two rows: photo and boundaries per view; contour strength and filled regions per view.

    If the cuts are already `sampled`, `counts` gives their numbers of regions. Views that are not in `levels` are
    cuts without a name.
    """

    small = _resized(photo)
    top, bottom = [small], [_resized(_contour_picture(contours))]
    captions, notes = [name], ["contours of the hierarchy"]
    for view, labels in cuts.items():
        ids = sampled(labels)
        is_fine = view == "superpixels"
        top.append(overlay(small, ids, view))
        tinted = overlay(blend(small, random_colors(ids), _TINT), ids, "superpixels")
        bottom.append(mean_color(small, ids) if is_fine else tinted)
        count = int(labels.max()) + 1 if counts is None else counts[view]
        title = f"{view}: " if view in levels else ""
        captions.append(f"{count} superpixels" if is_fine else f"{title}{count} region{'s' * (count > 1)}")
        notes.append("mean colours" if is_fine else view if view in levels else "")
    return contact_sheet([*top, *bottom], [*captions, *notes], columns=len(top))


def _contour_picture(contours: Float32[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "height width 3"]:
    """Return boundary strength per pixel, dark on white, from a (2H+1, 2W+1) contour map."""
    rows, columns = contours.shape
    pairs = contours[:-1, :-1].reshape(rows // 2, 2, columns // 2, 2)
    strength = pairs.max(axis=(1, 3))  # a pixel and its boundaries above and to the left
    strength[0], strength[:, 0] = 0, 0  # the frame of a contour map is not a boundary
    # the square root, relative to the strongest boundary, keeps the lines of low merges visible
    grey = np.rint(255 * (1 - np.sqrt(strength / max(float(strength.max()), 1e-6)))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _tile_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = shape[:2]
    scale = _TILE_PX / max(height, width)
    if scale > 1:
        scale = max(1, int(scale))  # integer scales keep the pixels of a small picture square
    return max(1, round(height * scale)), max(1, round(width * scale))


def sampled(labels: Int32[np.ndarray, "height width"]) -> Int32[np.ndarray, "rows columns"]:
    """Return a label map resampled to the size of a picture in the overview."""
    (height, width), (rows, columns) = labels.shape, _tile_shape(labels.shape)
    y, x = (np.arange(rows) * 2 + 1) * height // (2 * rows), (np.arange(columns) * 2 + 1) * width // (2 * columns)
    picked: np.ndarray = labels[y[:, None], x]
    return picked


def _resized(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns 3"]:
    from PIL import Image

    rows, columns = _tile_shape(picture.shape)
    filter_ = Image.Resampling.NEAREST if rows >= picture.shape[0] else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(np.ascontiguousarray(picture)).resize((columns, rows), filter_))
