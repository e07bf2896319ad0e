"""Registry of the export formats: writer, suffix and extra of each.

A writer accepts the options that are its parameters: how (to cut), like, every_node, start, pixel_size. Writers of
folders also accept overwrite; for single files, export() checks it.
"""

import errno
import importlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError
from supercuts.core.files import check_replaceable

if TYPE_CHECKING:  # the command line lists the formats without importing numba
    from supercuts.hierarchy.cuts import Granularity
    from supercuts.hierarchy.tree import Hierarchy


@dataclass(frozen=True, slots=True)
class Format:
    """An export format.

    writer  module:function, imported only when the format is written
    suffix  ending that batches add to an image's name to name the output file or folder
    extra   optional dependency group of this package that the writer needs; empty if it needs none
    others  further suffixes that the writer accepts
    """

    writer: str
    suffix: str
    extra: str = ""
    others: tuple[str, ...] = ()

    def write(self) -> Callable[..., Any]:
        """Return the function that writes the format."""
        module, name = self.writer.split(":")
        function: Callable[..., Any] = getattr(importlib.import_module(f"supercuts.export.{module}"), name)
        return function


FORMATS = {
    "npz": Format("npz:write_npz", ".npz"),
    "ucm": Format("rasters:write_ucm", "_ucm.mat", others=(".npy",)),
    "labels": Format("rasters:write_labels", "_labels.tif", others=(".tiff", ".png")),
    "labels-tiff": Format("rasters:write_labels_tiff", "_labels_from_1.tif", others=(".tiff",)),
    "masks": Format("rasters:write_masks", "_masks"),
    "coco": Format("annotation_tools:write_coco", "_coco.json", "export"),
    "labelme": Format("annotation_tools:write_labelme", "_labelme.json"),
    "cvat": Format("annotation_tools:write_cvat", "_cvat.xml"),
    "label-studio": Format("annotation_tools:write_label_studio", "_label-studio.json"),
    "label-studio-polygons": Format("annotation_tools:write_label_studio_polygons", "_label-studio-polygons.json"),
    "sam": Format("sam:write_sam", "_sam.json", "export"),
    "geojson": Format("vectors:write_geojson", ".geojson", others=(".json",)),
    "qupath": Format("vectors:write_qupath", "_qupath.geojson"),
    "gpkg": Format("vectors:write_geopackage", ".gpkg", "export"),
    "geotiff": Format("rasters:write_geotiff", "_geotiff.tif", others=(".tiff",)),
    "svg": Format("vectors:write_svg", ".svg"),
    "networkx-rag": Format("graphs:write_rag", "_rag.graphml", others=(".json",)),
    "networkx-tree": Format("graphs:write_tree", "_tree.graphml", others=(".json",)),
    "pyg": Format("graphs:write_pyg", "_pyg.pt", others=(".pth",)),
    "pyg-levels": Format("graphs:write_pyg_levels", "_pyg-levels.pt", others=(".pth",)),
    "linkage": Format("graphs:write_linkage", "_linkage.npy"),
    "ome-zarr": Format("rasters:write_ome_zarr", "_ome.zarr", "export"),
    "html": Format("html_viewer:write_html", ".html"),
}
_OPTIONS = {
    "how": "regions, level, altitude and granularity",
    "like": "like",
    "every_node": "every_node",
    "start": "start",
    "pixel_size": "pixel_size",
}


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format that a path's ending names; raise InputError unless it is exactly one.

    >>> format_of("scene.geojson"), format_of("scene_coco.json")
    ('geojson', 'coco')
    """
    name, suffix = Path(path).name.lower(), Path(path).suffix.lower()
    if named := [key for key, entry in FORMATS.items() if "_" in entry.suffix and name.endswith(entry.suffix)]:
        return named[0]
    if exact := [key for key, entry in FORMATS.items() if entry.suffix == suffix]:
        return exact[0]
    possible = [
        key for key, entry in FORMATS.items() if suffix and suffix in (Path("x" + entry.suffix).suffix, *entry.others)
    ]
    if len(possible) == 1:
        return possible[0]
    what = f"may be any of {', '.join(possible)}" if possible else f"is no format's; formats: {', '.join(FORMATS)}"
    raise InputError(f"{path}: the suffix {suffix!r} {what}. Give format= (--format).")


def export(
    path: str | os.PathLike[str],
    hierarchy: "Hierarchy",
    format: str | None = None,
    how: "Granularity | None" = None,
    like: str | os.PathLike[str] | None = None,
    every_node: bool = False,
    overwrite: bool = False,
    start: int | None = None,
    pixel_size: float | None = None,
) -> None:
    """Write the hierarchy in one of the formats of FORMATS, by default the one that the path's ending names.

    An existing output is replaced only with overwrite=True.
    """
    format = format_of(path) if format is None else format
    check_choice("format", format, FORMATS)
    write = FORMATS[format].write()
    taken = inspect.signature(write).parameters
    if pixel_size is not None:
        check_in_range("pixel_size", pixel_size, 1e-9, 1e9, remedy="Give the side of a pixel in micrometres.")
    arguments = {"how": how, "like": like, "every_node": every_node or None, "start": start, "pixel_size": pixel_size}
    options: dict[str, object] = {name: value for name, value in arguments.items() if value is not None}
    for name in options:
        if name not in taken:
            raise InputError(f"format={format!r} does not take {_OPTIONS[name]}: leave it out.")
    if "overwrite" in taken:
        options["overwrite"] = overwrite
    else:
        _check_target(Path(path), overwrite)
    write(path, hierarchy, **options)


def _check_target(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        message = f"{path} is a folder and this format is a file: give the path of a file in it."
        raise InputError(message) from IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    check_replaceable(path, overwrite)
