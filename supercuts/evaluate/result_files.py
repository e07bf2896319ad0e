"""Read a hierarchy that SuperCuts wrote, and tell it from other result files.

In   any result file
Out  its Hierarchy, or None
Not  no other formats (images/array_files.py), no scores
"""

import zipfile
from pathlib import Path

from supercuts.export import npz
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.array_files import refusing_damage


def read_hierarchy(path: Path) -> Hierarchy | None:
    """Return the hierarchy of an .npz written by SuperCuts, None of any other file."""
    if path.suffix.lower() != ".npz":
        return None
    with refusing_damage(path):
        with zipfile.ZipFile(path) as archive:
            is_hierarchy = "format_version.npy" in archive.namelist()
        return npz.read(path) if is_hierarchy else None
