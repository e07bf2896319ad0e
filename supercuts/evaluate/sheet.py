"""A contact sheet of cases: each image, what people drew on it, what was found in it.

In   Cases: an image with label maps, boxes or keypoints
Out  one picture of three tiles a case; a PNG or JPEG file, written atomically
Not  no choice of cases but the lowest scores, no predictions
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.images.draw import blend, contact_sheet, draw_boundaries, random_colors

N_CASES = 12
SUFFIXES = (".png", ".jpg", ".jpeg")
_TILE_PX = 320  # long side
_TRUE, _FOUND = (255, 224, 102), (88, 222, 255)
_TINT = 0.45
_POINT_PX = 3


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image with what is true and what was found.

    image  (H, W, 3) uint8 RGB
    truth, found  (H, W) int32  0 nothing, from 1 on objects or parts
    true_boxes_yxyx, found_boxes_yxyx  (K, 4) int64  y0, x0, y1, x1, ends exclusive; drawn besides
    true_points_yx  (V, 2) float64  drawn in both
    """

    name: str
    caption: str
    image: UInt8[np.ndarray, "height width 3"]
    truth: Int32[np.ndarray, "height width"]
    found: Int32[np.ndarray, "height width"]
    true_boxes_yxyx: Int[np.ndarray, "boxes 4"] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    found_boxes_yxyx: Int[np.ndarray, "found 4"] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    true_points_yx: Float[np.ndarray, "points 2"] = field(default_factory=lambda: np.zeros((0, 2)))


def worst(scores: Mapping[str, float], n: int = N_CASES) -> list[str]:
    """Return the names of the n lowest scores, lowest first.

    >>> worst({"a": 0.5, "b": 0.1, "c": 0.9}, 2)
    ['b', 'a']
    """
    return sorted(scores, key=lambda name: (scores[name], name))[:n]


def draw_cases(cases: Sequence[Case]) -> UInt8[np.ndarray, "height width 3"]:
    """Return the cases, two in a row: image, truth, found; captions are the name, "truth" and the case's caption."""
    if not cases:
        raise InputError("There are no cases to draw: give at least one.")
    tiles, captions = [], []
    for case in cases:
        rows, columns = _tile_shape(case.image.shape)
        picture = np.array(Image.fromarray(case.image).resize((columns, rows), Image.Resampling.LANCZOS))
        scale = np.array([rows, columns]) / case.image.shape[:2]
        points = case.true_points_yx * scale
        truth = draw_regions(picture, case.truth, _TRUE, case.true_boxes_yxyx, scale)
        found = draw_regions(picture, case.found, _FOUND, case.found_boxes_yxyx, scale)
        tiles += [picture, _with_points(truth, points), _with_points(found, points)]
        captions += [case.name, "truth", case.caption]
    return contact_sheet(tiles, captions, columns=3 if len(cases) == 1 else 6)


def check_sheet(path: str | os.PathLike[str]) -> None:
    """Refuse a path that is no picture's."""
    name = os.fspath(path)
    if not name.lower().endswith(SUFFIXES):
        raise InputError(f"{name} does not end in {', '.join(SUFFIXES)}: give the sheet one of these suffixes.")


def write_sheet(path: str | os.PathLike[str], cases: Sequence[Case]) -> None:
    """Write the sheet of the cases."""
    check_sheet(path)
    sheet = Image.fromarray(draw_cases(cases))
    with atomic_path(path) as temporary:
        sheet.save(temporary, quality=90)


def draw_regions(
    picture: UInt8[np.ndarray, "rows columns 3"],
    labels: Int32[np.ndarray, "height width"],
    color: tuple[int, int, int],
    boxes: Int[np.ndarray, "boxes 4"],
    scale: Float[np.ndarray, "2"],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the picture with regions tinted and outlined, and boxes outlined; of one region the rest is left as is.

    labels and boxes (y0, x0, y1, x1) are of the whole image; the picture is `scale` times as large, in rows, columns.
    """
    rows, columns = picture.shape[:2]
    y, x = (
        (np.arange(n) * 2 + 1) * full // (2 * n) for n, full in ((rows, labels.shape[0]), (columns, labels.shape[1]))
    )
    ids = labels[y[:, None], x]
    if labels.max() > 1:
        tinted = blend(picture, random_colors(ids), _TINT)
        picture = np.where((ids > 0)[..., None], tinted, picture)
    if ids.any():
        picture = draw_boundaries(picture, ids, color, width=2)
    for y0, x0, y1, x1 in np.rint(boxes * np.tile(scale, 2)).astype(int):
        inside = np.zeros((rows, columns), np.int32)
        inside[max(y0, 1) : min(y1, rows - 1), max(x0, 1) : min(x1, columns - 1)] = 1  # an edge on the frame shows too
        picture = draw_boundaries(picture, inside, color, width=2)
    return picture


def _with_points(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the picture with a dark-rimmed dot at each point."""
    y, x = np.indices(picture.shape[:2])
    drawn = picture.copy()
    for point_y, point_x in points:
        squared = (y - point_y) ** 2 + (x - point_x) ** 2
        drawn[squared <= (_POINT_PX + 1) ** 2] = 0
        drawn[squared <= _POINT_PX**2] = _TRUE
    return drawn


def _tile_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = _TILE_PX / max(shape[:2])
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
