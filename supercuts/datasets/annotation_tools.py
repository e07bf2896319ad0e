"""Read masks of labelme, CVAT and Label Studio, as entries with a segmentation: an array or polygons."""

import base64
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from supercuts.core.errors import FileFormatError

Entry = dict[str, Any]  # its segmentation is a list of polygons or a mask of the image
_DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, OSError, ET.ParseError)


def read_annotation_file(path: Path) -> Any:
    """Return the content of a .json file, or the root element of an .xml file."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() != ".xml":
            return json.loads(text)
        if "<!" in text.replace("<!--", ""):
            raise ValueError("it declares entities")
        return ET.fromstring(text)
    except (OSError, ValueError, RecursionError, ET.ParseError) as error:
        kind = path.suffix[1:].upper()
        raise FileFormatError(
            f"{path} is not a {kind} file ({error}). Expected a file of COCO, SAM, labelme, CVAT or Label Studio."
        ) from error


def entries_of_tool(document: Any, shape: tuple[int, int], name: str | None) -> list[Entry] | None:
    """Return the masks of one image in a document of labelme, CVAT or Label Studio; None if it is of none of them.

    `name` is the file name of the image, which is needed only if a document has several.
    """
    for is_of, read in _TOOLS.values():
        if is_of(document):
            try:
                entries: list[Entry] = read(document, shape, name)
                return entries
            except _DAMAGED as error:
                raise FileFormatError(
                    f"priors hold an annotation that cannot be read ({type(error).__name__}: {error}). Export it again."
                ) from error
    return None


def _only(images: Sequence[tuple[str, Any]], name: str | None) -> Any:
    """Return the image of a name, or the only one."""
    fitting = [image for file_name, image in images if len(images) == 1 or PurePosixPath(file_name).name == name]
    if len(fitting) != 1:
        raise FileFormatError(f"priors hold {len(fitting)} of {len(images)} images named {name}. Give the file of one.")
    return fitting[0]


def _read_labelme(document: Any, shape: tuple[int, int], _: str | None) -> list[Entry]:
    return [_labelme_entry(record, shape) for record in document["shapes"]]


def _labelme_entry(record: Entry, shape: tuple[int, int]) -> Entry:
    points = np.array(record["points"], np.float64)
    kind = record.get("shape_type", "polygon")
    if kind == "mask":
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(record["mask"]))))
        x, y = points[0].astype(int).tolist()
        return {"segmentation": _placed(pixels > 0, (y, x), shape)}
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        return {"bbox": (x0, y0, x1 - x0, y1 - y0)}
    if kind != "polygon":
        raise ValueError(f"a {kind} is no region; draw polygons, rectangles or masks")
    return {"segmentation": [points.ravel().tolist()]}


def _placed(mask: np.ndarray, corner_yx: tuple[int, int], shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Return a mask of the image's shape from a mask of its box."""
    (y, x), (height, width) = corner_yx, mask.shape
    if min(y, x) < 0 or y + height > shape[0] or x + width > shape[1]:
        raise ValueError(f"a mask of {width} x {height} pixels at {x}, {y} exceeds an image of {shape[1]} x {shape[0]}")
    full = np.zeros(shape, bool)
    full[y : y + height, x : x + width] = mask
    return full


def _read_cvat(document: ET.Element, shape: tuple[int, int], name: str | None) -> list[Entry]:
    image = _only([(image.attrib["name"], image) for image in document.iter("image")], name)
    return [_CVAT[element.tag](element.attrib, shape) for element in image if element.tag in _CVAT]


def _cvat_mask(values: dict[str, str], shape: tuple[int, int]) -> Entry:
    size = int(values["height"]), int(values["width"])
    lengths = np.array(values["rle"].split(","), np.int64)
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1] or lengths.max() > shape[0] * shape[1]:
        raise ValueError(f"runs of {lengths.sum()} pixels in a mask of {size[1]} x {size[0]}")
    mask = np.repeat(np.arange(lengths.size) % 2 == 1, lengths).reshape(size)
    return {"segmentation": _placed(mask, (int(values["top"]), int(values["left"])), shape)}


def _cvat_polygon(values: dict[str, str], _: tuple[int, int]) -> Entry:
    return {"segmentation": [[float(number) for number in values["points"].replace(";", ",").split(",")]]}


def _cvat_box(values: dict[str, str], _: tuple[int, int]) -> Entry:
    x0, y0, x1, y1 = (float(values[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    return {"bbox": (x0, y0, x1 - x0, y1 - y0)}


_CVAT = {"mask": _cvat_mask, "polygon": _cvat_polygon, "box": _cvat_box}


def _read_label_studio(document: Any, shape: tuple[int, int], name: str | None) -> list[Entry]:
    tasks = [(list(task["data"].values())[0], task) for task in document]  # noqa: RUF015 (its error is caught)
    task = _only([(address.partition("?")[2] or address, task) for address, task in tasks], name)
    drawn = task.get("annotations") or task.get("predictions")
    return [
        _LABEL_STUDIO[result["type"]](result["value"], shape)
        for result in drawn[0]["result"]
        if result["type"] in _LABEL_STUDIO
    ]


def _brush(value: Entry, shape: tuple[int, int]) -> Entry:
    return {"segmentation": decode_brush(value["rle"], shape)}


def _percent_polygon(value: Entry, shape: tuple[int, int]) -> Entry:
    points = np.array(value["points"], np.float64) * [shape[1] / 100, shape[0] / 100]
    return {"segmentation": [points.ravel().tolist()]}


def _percent_box(value: Entry, shape: tuple[int, int]) -> Entry:
    scales = {"x": shape[1], "y": shape[0], "width": shape[1], "height": shape[0]}
    return {"bbox": [value[key] * scale / 100 for key, scale in scales.items()]}


_LABEL_STUDIO = {"brushlabels": _brush, "polygonlabels": _percent_polygon, "rectanglelabels": _percent_box}


def decode_brush(data: Sequence[int], shape: tuple[int, int]) -> Bool[np.ndarray, "{shape[0]} {shape[1]}"]:
    """Return the mask of Label Studio's run lengths, of four values for each pixel: where the last is not 0.

    >>> decode_brush([0, 0, 0, 8, 57, 27, 252, 127, 241, 128, 0], (1, 2)).tolist()
    [[True, False]]
    """
    bits = "".join(map(str, np.unpackbits(np.array(data, np.uint8)).tolist()))
    n_values, n_bits = int(bits[:32], 2), int(bits[32:37], 2) + 1
    sizes = [int(bits[start : start + 4], 2) + 1 for start in range(37, 53, 4)]
    if n_values != 4 * shape[0] * shape[1]:
        raise ValueError(f"run lengths of {n_values} values; expected 4 for each pixel of {shape[1]} x {shape[0]}")
    values = np.zeros(n_values, np.uint32)
    filled, at = 0, 53
    while filled < n_values:
        is_run, size = bits[at] == "1", sizes[int(bits[at + 1 : at + 3], 2)]
        end = filled + int(bits[at + 3 : at + 3 + size], 2) + 1
        at += 3 + size
        n_codes = 1 if is_run else end - filled
        codes = [int(bits[at + k * n_bits : at + (k + 1) * n_bits], 2) for k in range(n_codes)]
        values[filled:end] = codes[0] if is_run else codes
        filled, at = end, at + n_codes * n_bits
    mask: np.ndarray = values[3::4].reshape(shape) > 0
    return mask


def _is_label_studio(document: Any) -> bool:
    is_list = isinstance(document, list) and len(document) > 0
    return is_list and all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in document)


_TOOLS: dict[str, tuple[Any, Any]] = {  # whether a document is of the tool, and its reader
    "labelme": (lambda document: isinstance(document, dict) and "shapes" in document, _read_labelme),
    "cvat": (lambda document: isinstance(document, ET.Element), _read_cvat),
    "label studio": (_is_label_studio, _read_label_studio),
}
