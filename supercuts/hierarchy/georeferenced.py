"""Keep with a hierarchy where on Earth its pixels lie.

In   Hierarchy, the georeference of the image that was segmented
Out  the same with it
Not  no export: those that write maps take it from the hierarchy
"""

from dataclasses import replace

from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference


def georeferenced(h: Hierarchy, georeference: Georeference | None) -> Hierarchy:
    """Return the hierarchy with a georeference, as it is if that is None."""
    return h if georeference is None else replace(h, georeference=georeference)
