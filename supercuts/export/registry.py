"""Which writer serves which export format.

In   a hierarchy, a path, the name of a format
Out  the file or folder, written by the module that serves the format
Not  no writing here; a new format is one module with write(path, hierarchy) and one line in WRITERS
"""

import importlib
import os

from supercuts.core.checks import check_choice
from supercuts.hierarchy.tree import Hierarchy

WRITERS = {
    "npz": "supercuts.export.npz",
    "ucm": "supercuts.export.ucm",
    "masks": "supercuts.export.masks",
    "html": "supercuts.export.html_viewer",
}


def export(path: str | os.PathLike[str], hierarchy: Hierarchy, format: str) -> None:
    """Write the hierarchy in one of the formats of WRITERS."""
    check_choice("format", format, WRITERS)
    importlib.import_module(WRITERS[format]).write(path, hierarchy)
