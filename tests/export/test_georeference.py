import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.export.georeference import PIXELS, Georeference, read_georeference


def test_the_map_places_corners():
    north_up = Georeference((2, 0, 100, 0, -2, 50))
    np.testing.assert_array_equal(north_up.place(np.array([[0, 0], [3, 1]])), [[100, 50], [106, 48]])
    assert (north_up.is_mirrored, PIXELS.is_mirrored) == (False, True)


def test_a_geotiff_tells_where_it_lies(geotiff, ragged):
    place = read_georeference(geotiff, ragged.shape)
    assert place.transform == (0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7)
    assert place.crs.to_epsg() == 32632


def test_refusals(geotiff, ragged, tmp_path):
    with pytest.raises(InputError, match=r"19 rows and 26 columns, the hierarchy 3 and 4. Give the image that was"):
        read_georeference(geotiff, (3, 4))
    Image.fromarray(ragged.image).save(tmp_path / "plain.tif")
    with pytest.raises(InputError, match=r"plain.tif' is not georeferenced. Give a GeoTIFF with its transform"):
        read_georeference(tmp_path / "plain.tif", ragged.shape)
    with pytest.raises(FileFormatError, match=r"no.tif is no image that rasterio reads"):
        read_georeference(tmp_path / "no.tif", ragged.shape)
