"""Attach the georeference and the file name of its image to a hierarchy."""

import os
from dataclasses import replace
from pathlib import Path

from supercuts.core.files import printable
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference


def georeferenced(h: Hierarchy, georeference: Georeference | None, source: object = None) -> Hierarchy:
    """Return the hierarchy with a georeference and the name of the file that was segmented, as far as there are any."""
    name = _name(source)
    if georeference is None and name is None:
        return h
    return replace(h, georeference=georeference or h.georeference, source_name=name or h.source_name)


def _name(source: object) -> str | None:
    """Return the name of a path, or of the file of a PIL image; bytes that are no UTF-8 become the sign for that."""
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "filename", None)
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        return None
    return printable(Path(os.fsdecode(path)).name) or None
