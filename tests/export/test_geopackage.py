from dataclasses import replace

import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.export.vectors import zonal_statistics

shapely = pytest.importorskip("shapely")
pyogrio = pytest.importorskip("pyogrio")
geopandas = pytest.importorskip("geopandas")


def test_geopandas_reads_a_layer_for_every_level(ragged, geotiff, tmp_path):
    ragged.export(tmp_path / "a.gpkg", "gpkg", like=geotiff)
    assert pyogrio.list_layers(tmp_path / "a.gpkg")[:, 0].tolist() == ["scene", "object", "part", "superpixels"]
    for level in ("scene", "object", "part"):
        frame = geopandas.read_file(tmp_path / "a.gpkg", layer=level)
        assert frame.crs.to_epsg() == 32632
        assert frame["node"].tolist() == ragged.cut_nodes(level=level).tolist()
        assert frame["area_px"].tolist() == np.bincount(ragged.cut(level=level).ravel()).tolist()
        assert shapely.coverage_is_valid(frame.geometry.values)
        assert frame["level"].tolist() == ragged.region_table().level[frame["node"]].tolist()


def test_without_a_map_coordinates_are_pixels(ragged, tmp_path):
    ragged.export(tmp_path / "a.gpkg", "gpkg", every_node=True)
    frame = geopandas.read_file(tmp_path / "a.gpkg")
    assert frame.geometry.is_valid.all()
    np.testing.assert_array_equal(frame.geometry.area, ragged.areas())
    assert frame.geometry.total_bounds.tolist() == [0, 0, *ragged.shape[::-1]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.gpkg"]


def test_another_suffix_is_refused(small, tmp_path):
    with pytest.raises(InputError, match=r"suffix of a GeoPackage='.shp' is unknown"):
        small.export(tmp_path / "a.shp", "gpkg")


def test_regions_have_the_statistics_of_every_band(ragged, geotiff, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(geotiff) as file:
        profile = file.profile | {"count": 5, "dtype": "uint16"}
    bands = np.random.default_rng(0).integers(60_000, 65_535, (5, *ragged.shape)).astype(np.uint16)
    with rasterio.open(tmp_path / "five.tif", "w", **profile) as file:
        file.write(bands)
    ragged.export(tmp_path / "a.gpkg", "gpkg", like=tmp_path / "five.tif")
    for level, labels in (("object", ragged.cut(level="object")), ("superpixels", ragged.labels)):
        frame = geopandas.read_file(tmp_path / "a.gpkg", layer=level)
        for k, band in enumerate(bands.astype(float), start=1):
            slopes = np.hypot(*np.gradient(band))
            zones = [labels == region for region in range(labels.max() + 1)]
            np.testing.assert_allclose(frame[f"band_{k}_mean"], [band[zone].mean() for zone in zones])
            np.testing.assert_allclose(frame[f"band_{k}_std"], [band[zone].std() for zone in zones], atol=1e-6)
            np.testing.assert_allclose(frame[f"band_{k}_texture"], [slopes[zone].mean() for zone in zones])
        for extent, zone in zip(frame["extent"], zones, strict=True):
            rows, columns = np.nonzero(zone)
            assert extent == pytest.approx(zone.sum() / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1)))


def test_masked_pixels_are_in_no_statistic(small):
    image = small.image.astype(float)
    image[0, 0] = np.nan
    labels = small.labels.copy()
    labels[0, 0] = -1
    values = zonal_statistics(replace(small, labels=labels), image)
    assert values["band_1_mean"][0] == image[0, 1, 0]
    assert values["band_1_std"][0] == 0
    assert np.isfinite(values["band_1_mean"]).all()
