"""Write label maps as a GeoTIFF.

In   a hierarchy of a GeoTIFF, or that GeoTIFF beside it, a path ending in .tif or .tiff
Out  one band a cut, each described by its name, with region ids 0..R-1, transform and coordinate reference system
Not  no resampling
"""

import os
from pathlib import Path

import numpy as np

from supercuts.core.checks import check_choice, check_installed
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.export.georeference import crs_of_rasterio, georeference_of
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
    """Write one cut, without one every level and the superpixels, where `like`, else the hierarchy, says they lie."""
    check_choice("suffix of a GeoTIFF", Path(path).suffix.lower(), (".tif", ".tiff"))
    if like is None and hierarchy.georeference is None:
        raise InputError(
            'the hierarchy does not know where on a map it lies: format="geotiff" needs the georeferenced image that '
            'was segmented, like="scene.tif" (--like). Without map coordinates use format="labels".'
        )
    check_installed(("rasterio",), extra="export")
    import rasterio

    place = georeference_of(hierarchy, like)
    crs = crs_of_rasterio(place.crs)
    parts = partitions(hierarchy, how)
    (height, width), dtype = hierarchy.shape, label_type(hierarchy)
    profile = {"driver": "GTiff", "count": len(parts), "height": height, "width": width, "compress": "deflate"}
    # written in memory: GDAL reports a full disk as a warning, if at all
    with rasterio.MemoryFile() as memory:
        transform = rasterio.Affine(*place.transform)
        nodata = np.iinfo(dtype).max if hierarchy.is_masked else None  # what -1 becomes
        with memory.open(**profile, dtype=dtype, crs=crs, transform=transform, nodata=nodata) as target:
            for band, part in enumerate(parts, start=1):
                target.write(part.labels.astype(dtype), band)
                target.set_band_description(band, part.name)
        content = memory.read()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
