import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.export.rasters import to_data_array
from supercuts.model import Model

xarray = pytest.importorskip("xarray")


def test_coordinates_of_the_image_are_kept(small):
    y, x = [10.0, 9.0], [1.0, 2.0, 3.0]
    like = xarray.DataArray(
        np.zeros((4, 2, 3)), dims=("band", "lat", "lon"), coords={"lat": y, "lon": x, "band": range(4), "crs": 4326}
    )
    array = small.to_xarray(like, level="object")
    assert array.dims == ("lat", "lon")
    assert array.sel(lat=9.0, lon=3.0).item() == small.cut(level="object")[1, 2]
    assert set(array.coords) == {"lat", "lon", "crs"}
    np.testing.assert_array_equal(to_data_array(small), small.labels)
    with pytest.raises(InputError, match="Give the DataArray that was segmented"):
        small.to_xarray(like.isel(lat=[0]))


def test_data_array_in_and_out():
    rng = np.random.default_rng(0)
    image = xarray.DataArray(rng.integers(0, 256, (3, 20, 30), dtype=np.uint8), dims=("band", "y", "x"))
    image = image.assign_coords(y=np.arange(20)[::-1] * 0.5, x=np.arange(30) * 2.0)
    h = Model(None).segment(image, 12)
    regions = h.to_xarray(image, regions=4)
    assert regions.max() == 3
    xarray.testing.assert_equal(regions.coords["y"], image.coords["y"])
