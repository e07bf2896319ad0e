"""Keep with a hierarchy where on Earth its pixels lie.

In   Hierarchy, the image that was segmented
Out  the same with the georeference of the image if that is a GeoTIFF
Not  no export: those that write maps take it from the hierarchy
"""

from dataclasses import replace

from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import find_georeference


def georeferenced(h: Hierarchy, source: object) -> Hierarchy:
    """Return the hierarchy with the georeference of its source, as it is if that has none."""
    found = find_georeference(source, h.shape)
    return h if found is None else replace(h, georeference=found)
