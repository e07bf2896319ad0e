"""Masks as COCO files write them: polygons and run-length encodings.

In   the "segmentation" entry of an annotation, the size of its image
Out  masks (H, W) bool
Not  no files; pycocotools is not needed
"""

from typing import Any

import numpy as np
from jaxtyping import Bool

from supercuts.core.errors import FileFormatError

_MOST_SHIFT = 60  # five bits a character: numbers of 64 bits


def decode_segmentation(segmentation: Any, height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
    """Return the mask of a list of polygons [x0, y0, x1, y1, ...], joined, or of {"size": [H, W], "counts": ...}.

    A pixel belongs to a polygon when its centre does; the pixel in the corner of the image has its centre at
    (0.5, 0.5).

    >>> decode_segmentation([[0, 0, 2, 0, 2, 1, 0, 1]], 2, 3).astype(int).tolist()
    [[1, 1, 0], [0, 0, 0]]
    >>> decode_segmentation({"size": [2, 3], "counts": [1, 3, 2]}, 2, 3).astype(int).tolist()
    [[0, 1, 0], [1, 1, 0]]
    """
    try:
        if isinstance(segmentation, dict):
            return _decode_runs(segmentation, height, width)
        return _draw_polygons(segmentation, height, width)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise FileFormatError(
            f"segmentation {str(segmentation)[:80]!r} of an image of {height} rows and {width} columns cannot be drawn "
            f"({error}). Expected polygons [[x0, y0, x1, y1, ...], ...] or a run-length encoding with size and counts."
        ) from error


def _draw_polygons(polygons: Any, height: int, width: int) -> np.ndarray:
    from skimage.draw import polygon  # slow to import

    mask = np.zeros((height, width), bool)
    for corners in polygons:
        xy = np.array(corners, np.float64).reshape(-1, 2)
        if len(xy) > 2:  # annotation tools leave clicks behind
            mask[polygon(xy[:, 1] - 0.5, xy[:, 0] - 0.5, mask.shape)] = True
    return mask


def _decode_runs(encoding: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Return the mask of runs of 0, 1, 0, ... down the columns."""
    if list(encoding["size"]) != [height, width]:
        raise ValueError(f"its size is {encoding['size']}")
    counts = encoding["counts"]
    runs = np.array(_unpack(counts) if isinstance(counts, str | bytes) else counts, np.int64)
    # each by itself: a sum of forged ones may come out right
    if ((runs < 0) | (runs > height * width)).any() or runs.sum() != height * width:
        raise ValueError(f"its runs are of {runs.sum()} pixels")
    values = np.arange(runs.size) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T.copy()


def _unpack(text: str | bytes) -> list[int]:
    """Return the runs in COCO's text form: five bits a character, lowest first, from the third run on as differences.

    Bit 32 says that more follow, bit 16 of the last one is the sign.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text.encode() if isinstance(text, str) else text:
        bits = character - 48
        if bits < 0 or bits > 63 or shift > _MOST_SHIFT:
            raise ValueError(f"its text has a run that no image has, at {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return runs
