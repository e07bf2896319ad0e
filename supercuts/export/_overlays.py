"""Pictures that `supercuts segment` writes beside a hierarchy."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int32, UInt8

COLORS = {  # light on any photo, and one colour per view so that the files are told apart at a glance
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
    from supercuts.images.draw import draw_boundaries

    return draw_boundaries(photo, labels, COLORS[view], width=1 if view == "superpixels" else 2)


def overview(
    photo: UInt8[np.ndarray, "height width 3"],
    cuts: Mapping[str, Int32[np.ndarray, "_ _"]],
    contours: Float32[np.ndarray, "rows columns"],
    name: str,
    counts: Mapping[str, int] | None = None,
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Return two rows: photo and boundaries per view; contour strength and filled regions per view.

    Cuts may be `sampled` ones; their numbers of regions are then in `counts`.
    """
    from supercuts.images.draw import blend, contact_sheet, mean_color, random_colors

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
        captions.append(f"{count} superpixels" if is_fine else f"{view}: {count} region{'s' * (count > 1)}")
        notes.append("mean colours" if is_fine else view)
    return contact_sheet([*top, *bottom], [*captions, *notes], columns=len(top))


def _contour_picture(contours: Float32[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "height width 3"]:
    """Return boundary strength per pixel, dark on white, from a (2H+1, 2W+1) contour map."""
    rows, columns = contours.shape
    pairs = contours[:-1, :-1].reshape(rows // 2, 2, columns // 2, 2)
    strength = pairs.max(axis=(1, 3))  # a pixel and its boundaries above and to the left
    strength[0], strength[:, 0] = 0, 0  # the frame of a contour map is no boundary
    # relative to the strongest, square root: the lines of the lower merges stay visible
    grey = np.rint(255 * (1 - np.sqrt(strength / max(float(strength.max()), 1e-6)))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _tile_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = shape[:2]
    scale = _TILE_PX / max(height, width)
    if scale > 1:
        scale = max(1, int(scale))  # whole steps keep the pixels of a small picture square
    return max(1, round(height * scale)), max(1, round(width * scale))


def sampled(labels: Int32[np.ndarray, "height width"]) -> Int32[np.ndarray, "rows columns"]:
    """Return a label map of the size of a picture in the overview."""
    (height, width), (rows, columns) = labels.shape, _tile_shape(labels.shape)
    y, x = (np.arange(rows) * 2 + 1) * height // (2 * rows), (np.arange(columns) * 2 + 1) * width // (2 * columns)
    picked: np.ndarray = labels[y[:, None], x]
    return picked


def _resized(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns 3"]:
    from PIL import Image

    rows, columns = _tile_shape(picture.shape)
    how = Image.Resampling.NEAREST if rows >= picture.shape[0] else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(np.ascontiguousarray(picture)).resize((columns, rows), how))
