"""Write label maps as a 16-bit PNG or a TIFF.

In   a hierarchy, a path ending in .png, .tif or .tiff
Out  region ids 0..R-1: a PNG of one cut; a TIFF of one page a cut, each described by its name. Where the hierarchy has
     no leaf the highest value that the type holds
Not  no map coordinates (geotiff.py), no colours
"""

import os
from pathlib import Path

import numpy as np

from supercuts.core.checks import check_choice
from supercuts.core.files import atomic_path
from supercuts.export.partitions import partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.io import write_labels_png


def write(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write one cut; without one the superpixels to a PNG, every level and the superpixels to a TIFF."""
    suffix = Path(path).suffix.lower()
    check_choice("suffix of a label map", suffix, (".png", ".tif", ".tiff"))
    parts = partitions(hierarchy, how)
    if suffix == ".png":
        write_labels_png(path, parts[-1].labels, nowhere=np.iinfo(np.uint16).max if hierarchy.is_masked else None)
        return
    import tifffile  # slow to import

    dtype = label_type(hierarchy)
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary) as tiff:
        for part in parts:
            labels = part.labels.astype(dtype)  # -1 becomes the highest value
            tiff.write(
                labels, description=part.name, compression="zlib", contiguous=False, metadata=None, rowsperstrip=256
            )


def label_type(hierarchy: Hierarchy) -> type[np.unsignedinteger]:
    """Return the smaller type that GIS and microscopy programs read which holds every region id and one more."""
    return np.uint16 if hierarchy.n_leaves < np.iinfo(np.uint16).max else np.uint32
