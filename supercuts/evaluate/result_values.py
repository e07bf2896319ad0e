"""Turn the arrays of a result file into label maps and boundary strengths, or say what keeps them from being so.

In   an array as stored, the path it came from (for messages), the shape it must have
Out  labels (H, W) int32 with ids 0..N-1; strengths in 0..1, floating
Not  no files
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int32, Shaped

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.errors import FileFormatError

_ID_LIMIT = 2**53  # from there, floats do not tell integers apart
_ROUNDING = 1e-6  # how far strengths may leave 0..1, which their writers cannot see
_IDS = "Expected ids of superpixels: integers from 0."


def check_size(path: Path, found: tuple[int, ...], expected: tuple[int, int], what: str) -> None:
    """Refuse an array of another shape than its image asks for; a transposed one is called so."""
    if found == expected:
        return
    if found == expected[::-1]:
        raise FileFormatError(
            f"{path} is transposed: {found}. Expected {expected} (rows, columns) of {what}. Transpose it before it is "
            "saved: x.' in MATLAB, x.T in NumPy."
        )
    raise FileFormatError(
        f"{path} is {found}. Expected {expected} (rows, columns) of {what}. It belongs to another image or was "
        "resized or cropped: save the result at the size of its own image."
    )


def is_integral(array: Shaped[np.ndarray, "..."]) -> bool:
    """Return whether the array holds integers, be they stored as floats."""
    if array.dtype.kind == "f":
        return bool((array == np.rint(array)).all())
    return array.dtype.kind in "biu"


def as_labels(path: Path, array: Shaped[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Return integers, be they stored as floats, as ids 0..N-1 in the same order.

    >>> as_labels(Path("seg.mat"), np.array([[1.0, 1.0, 7.0]])).tolist()
    [[0, 0, 1]]
    """
    if array.dtype.kind not in "biuf":
        raise FileFormatError(f"{path} holds values of type {array.dtype}. {_IDS} Save them as int32.")
    values = array.astype(np.float64)
    is_wrong = ~((values >= 0) & (values < _ID_LIMIT) & (values == np.rint(values)))
    if is_wrong.any():
        y, x = np.argwhere(is_wrong)[0].tolist()
        raise FileFormatError(
            f"{path} holds {array[y, x].item()} at row {y}, column {x}, and {int(is_wrong.sum())} such values in all. "
            f"{_IDS} {_label_remedy(float(values[y, x]))}"
        )
    return relabel_consecutive(array.astype(np.int64))[0]


def _label_remedy(value: float) -> str:
    if np.isnan(value) or value == -1:
        return "Give every pixel to a superpixel: a pixel without one cannot be scored."
    if value < 0 or value >= _ID_LIMIT:
        return "Renumber the ids."
    return "A map of strengths is scored by `supercuts evaluate hierarchy`."


def as_strength(path: Path, array: Shaped[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Return floats in 0..1 as they are; uint8 and uint16 divided by 255 and 65535; False and True as 0 and 1.

    >>> as_strength(Path("soft.png"), np.array([[0, 51, 255]], np.uint8)).tolist()
    [[0.0, 0.2, 1.0]]
    """
    if array.dtype.kind == "b":
        return array.astype(np.float64)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return _scaled(path, array)
    if array.dtype.kind != "f":
        values = f"{array.min()}..{array.max()} of" if array.dtype.kind in "iu" else "values of"
        raise FileFormatError(
            f"{path} holds {values} type {array.dtype}. Expected strengths as float in 0..1, uint8 or uint16: "
            "save them as float, divided by the highest that is possible."
        )
    if (n_nan := int(np.isnan(array).sum())) > 0:
        raise FileFormatError(
            f"{path} holds NaN at {n_nan} of {array.size} values. Expected strengths in 0..1: replace NaN, by 0 say."
        )
    low, high = float(array.min()), float(array.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise FileFormatError(
            f"{path} holds values {low:g}..{high:g}. Expected strengths in 0..1: divide all results by the highest "
            "value that is possible (255 if they were uint8), not each by its own. Ids of regions are scored with "
            "--form segmentations."
        )
    precision = np.float32 if array.dtype.itemsize <= 4 else np.float64
    return np.ascontiguousarray(np.clip(array, 0, 1), precision)


def _scaled(path: Path, array: np.ndarray) -> Float[np.ndarray, "height width"]:
    full = 255 if array.dtype.itemsize == 1 else 65535
    if int(array.max()) == 1:  # nearly 0 everywhere once it is scaled, and scored so without a word
        raise FileFormatError(
            f"{path} holds only 0 and 1 as {array.dtype}. Expected strengths 0..{full}: save {full} on boundaries, "
            "or the map as bool or float."
        )
    return np.ascontiguousarray(array) / np.float64(full)
