"""Which writer serves which export format.

In   a hierarchy, a path, the name of a format, options
Out  the file or folder, written by the module that serves the format
Not  no writing here; a new format is one module with write(path, hierarchy) and one line in WRITERS

A writer takes the options that its write() has parameters for: how (to cut), like, every_node; one that writes a folder
takes force, files are replaced here.
"""

import importlib
import inspect
import os
from pathlib import Path

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy

WRITERS = {
    "npz": "supercuts.export.npz",
    "ucm": "supercuts.export.ucm",
    "labels": "supercuts.export.labels",
    "masks": "supercuts.export.masks",
    "coco": "supercuts.export.coco",
    "sam": "supercuts.export.sam",
    "geojson": "supercuts.export.geojson",
    "gpkg": "supercuts.export.geopackage",
    "geotiff": "supercuts.export.geotiff",
    "svg": "supercuts.export.svg",
    "networkx-rag": "supercuts.export.networkx_rag",
    "networkx-tree": "supercuts.export.networkx_tree",
    "pyg": "supercuts.export.pyg",
    "pyg-levels": "supercuts.export.pyg_levels",
    "linkage": "supercuts.export.linkage",
    "ome-zarr": "supercuts.export.ome_zarr",
    "html": "supercuts.export.html_viewer",
}
_OPTIONS = {"how": "regions, level, altitude and granularity", "like": "like", "every_node": "every_node"}


def export(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    format: str,
    how: Granularity | None = None,
    like: str | os.PathLike[str] | None = None,
    every_node: bool = False,
    force: bool = False,
) -> None:
    """Write the hierarchy in one of the formats of WRITERS; what is at `path` is replaced with force only."""
    check_choice("format", format, WRITERS)
    write = importlib.import_module(WRITERS[format]).write
    taken = inspect.signature(write).parameters
    given = {"how": how, "like": like, "every_node": every_node or None}
    options: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in taken:
            raise InputError(f"format={format!r} does not take {_OPTIONS[name]}: leave it out.")
    if "force" in taken:
        options["force"] = force
    else:
        _check_target(Path(path), force)
    write(path, hierarchy, **options)


def _check_target(path: Path, force: bool) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder and this format is a file: give the path of a file in it.")
    if path.exists() and not force:
        raise InputError(f"{path} exists: choose another path, or replace it with force=True (--force).")
