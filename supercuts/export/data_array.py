"""A cut as an xarray DataArray with the coordinates of the image.

In   a hierarchy, how to cut it or None, on request the DataArray that was segmented
Out  DataArray (y, x) int32 of region ids, -1 where no region is
Not  no files: xarray writes netCDF and Zarr itself
"""

from typing import TYPE_CHECKING, Any

from supercuts.core.checks import check_installed
from supercuts.core.errors import InputError
from supercuts.export.partitions import partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.scenes import image_axes

if TYPE_CHECKING:
    import xarray


def to_data_array(hierarchy: Hierarchy, how: Granularity | None = None, like: Any = None) -> "xarray.DataArray":
    """Return the regions of one cut, without one the superpixels, with the axes and coordinates of `like`.

    Coordinates of its bands are left out, all others are kept.
    """
    check_installed(("xarray",), extra="export")
    import xarray

    part = partitions(hierarchy, how)[-1]
    if like is None:
        return xarray.DataArray(part.labels, dims=("y", "x"), name=part.name)
    axes = image_axes(like)
    if tuple(like.sizes[axis] for axis in axes) != hierarchy.shape:
        raise InputError(
            f"like has axes {dict(like.sizes)}, the hierarchy {hierarchy.shape}. Give the DataArray that was segmented."
        )
    coords = {name: value for name, value in like.coords.items() if set(value.dims) <= set(axes)}
    return xarray.DataArray(part.labels, dims=axes, coords=coords, name=part.name)
