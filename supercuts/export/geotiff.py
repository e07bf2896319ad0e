"""Write label maps as a GeoTIFF.

In   a hierarchy, a path ending in .tif or .tiff, the GeoTIFF that was segmented
Out  one band a cut, each described by its name, with region ids 0..R-1, transform and coordinate reference system
Not  no resampling
"""

import os
from pathlib import Path

import numpy as np

from supercuts.core.checks import check_choice, check_installed
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.export.georeference import read_georeference
from supercuts.export.labels import label_type
from supercuts.export.partitions import partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy


def write(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    how: Granularity | None = None,
    like: str | os.PathLike[str] | None = None,
) -> None:
    """Write one cut, without one every level and the superpixels, where `like` says that they lie."""
    check_choice("suffix of a GeoTIFF", Path(path).suffix.lower(), (".tif", ".tiff"))
    if like is None:
        raise InputError(
            'format="geotiff" needs the georeferenced image that was segmented: like="scene.tif" (--like). Without map '
            'coordinates use format="labels".'
        )
    check_installed(("rasterio",), extra="export")
    import rasterio

    place = read_georeference(like, hierarchy.shape)
    parts = partitions(hierarchy, how)
    (height, width), dtype = hierarchy.shape, label_type(hierarchy)
    profile = {"driver": "GTiff", "count": len(parts), "height": height, "width": width, "compress": "deflate"}
    # written in memory: GDAL reports a full disk as a warning, if at all
    with rasterio.MemoryFile() as memory:
        transform = rasterio.Affine(*place.transform)
        nodata = np.iinfo(dtype).max if hierarchy.is_masked else None  # what -1 becomes
        with memory.open(**profile, dtype=dtype, crs=place.crs, transform=transform, nodata=nodata) as target:
            for band, part in enumerate(parts, start=1):
                target.write(part.labels.astype(dtype), band)
                target.set_band_description(band, part.name)
        content = memory.read()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
