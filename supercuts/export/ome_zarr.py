"""Write image and label maps as OME-Zarr.

In   a hierarchy with its image, the path of a new or empty folder
Out  an image (channel, y, x) and below labels/ one label image a cut, whose ids are 1..R: 0 is background there
Not  no pyramid, no physical pixel size; version 0.5 of the format, which lies on Zarr 3
"""

import os
from typing import Any

import numpy as np

from supercuts.core.checks import check_installed
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_folder
from supercuts.export.labels import label_type
from supercuts.export.partitions import partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy

_VERSION = "0.5"
_COLORS = ("FF0000", "00FF00", "0000FF")


def write(
    path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None, *, force: bool = False
) -> None:
    """Write one cut; without one every level and the superpixels; force replaces an older OME-Zarr."""
    if hierarchy.image is None:
        raise InputError("OME-Zarr labels belong to an image, and the hierarchy holds none: save it with image=True.")
    check_installed(("zarr",), extra="export")
    import zarr

    parts, dtype = partitions(hierarchy, how), label_type(hierarchy)
    with atomic_folder(path, "zarr.json", force) as folder:
        image = zarr.create_group(folder, attributes={"ome": {**_multiscales("image", "cyx"), "omero": _channels()}})
        _add(image, np.moveaxis(hierarchy.image, -1, 0), "cyx")
        names = [part.name for part in parts]
        labels = image.create_group("labels", attributes={"ome": {"version": _VERSION, "labels": names}})
        for part in parts:
            source = {"image-label": {"version": _VERSION, "source": {"image": "../../"}}}
            group = labels.create_group(part.name, attributes={"ome": {**_multiscales(part.name, "yx"), **source}})
            _add(group, (part.labels + 1).astype(dtype), "yx")


def _add(group: Any, array: np.ndarray, axes: str) -> None:
    group.create_array("0", data=np.ascontiguousarray(array), dimension_names=list(axes))


def _multiscales(name: str, axes: str) -> dict[str, Any]:
    kinds = [{"name": axis, "type": "channel" if axis == "c" else "space"} for axis in axes]
    scale = [{"type": "scale", "scale": [1.0] * len(axes)}]
    dataset = {"path": "0", "coordinateTransformations": scale}
    return {"version": _VERSION, "multiscales": [{"name": name, "axes": kinds, "datasets": [dataset]}]}


def _channels() -> dict[str, Any]:
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    return {"channels": [{"color": color, "window": window, "active": True} for color in _COLORS]}
