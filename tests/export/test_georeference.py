from dataclasses import replace

import pytest
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.export.georeference import PIXELS, crs_of_rasterio, epsg_number, georeference_of, read_georeference
from supercuts.images.georeference import Georeference


def test_a_geotiff_tells_where_it_lies(geotiff, ragged):
    place = read_georeference(geotiff, ragged.shape)
    assert place.transform == (0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7)
    assert place.crs == "EPSG:32632"
    known = replace(ragged, georeference=Georeference((2, 0, 100, 0, -2, 50), "EPSG:4326"))
    assert georeference_of(known, geotiff) == place
    assert georeference_of(known, None) == known.georeference
    assert georeference_of(ragged, None) == PIXELS


def test_reference_systems_by_number_and_by_text():
    crs = pytest.importorskip("rasterio.crs").CRS
    assert epsg_number("EPSG:32632") == 32632
    assert epsg_number(crs.from_epsg(3857).to_wkt()) == 3857
    homemade = crs.from_proj4("+proj=laea +lat_0=12 +lon_0=34 +datum=WGS84").to_wkt()
    assert epsg_number(homemade) is None
    assert crs_of_rasterio(homemade) == crs.from_wkt(homemade)
    assert crs_of_rasterio(None) is None
    with pytest.raises(
        InputError, match=r"crs='EPSG:1' is no coordinate reference system that rasterio .* --like|like="
    ):
        crs_of_rasterio("EPSG:1")


def test_refusals(geotiff, ragged, tmp_path):
    with pytest.raises(InputError, match=r"19 rows and 26 columns, the hierarchy 3 and 4. Give the image that was"):
        read_georeference(geotiff, (3, 4))
    Image.fromarray(ragged.image).save(tmp_path / "plain.tif")
    with pytest.raises(InputError, match=r"plain.tif' is not georeferenced. Give a GeoTIFF with its transform"):
        read_georeference(tmp_path / "plain.tif", ragged.shape)
    with pytest.raises(FileFormatError, match=r"no.tif is no image that rasterio reads"):
        read_georeference(tmp_path / "no.tif", ragged.shape)
