import json

import numpy as np
import pytest

from supercuts.core.errors import InputError

shapely = pytest.importorskip("shapely")


def read_layers(path):
    """Return the features of each layer as geopandas reads them."""
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.read_file(path)
    return {name: part.reset_index(drop=True) for name, part in frame.groupby("layer")}, frame.crs


def check_tiles(frame, labels):
    """Check that the polygons are the regions of a label map in pixels: no gap, no overlap."""
    assert frame.geometry.is_valid.all()
    assert shapely.area(frame.geometry.values).sum() == labels.size == shapely.union_all(frame.geometry).area
    rows, columns = np.indices(labels.shape)
    points = shapely.points(columns.ravel() + 0.5, rows.ravel() + 0.5)
    for region, shape in zip(frame["region"], frame.geometry, strict=True):
        np.testing.assert_array_equal(shapely.contains(shape, points).reshape(labels.shape), labels == region)


def test_geopandas_reads_the_regions_of_every_level(ragged, tmp_path):
    ragged.export(tmp_path / "a.geojson", "geojson")
    layers, _ = read_layers(tmp_path / "a.geojson")
    for level in ("scene", "object", "part"):
        check_tiles(layers[level], ragged.cut(level=level))
        np.testing.assert_array_equal(layers[level]["node"], ragged.cut_nodes(level=level))
    check_tiles(layers["superpixels"], ragged.labels)


def test_one_cut_and_every_node(ragged, tmp_path):
    ragged.export(tmp_path / "a.json", "geojson", regions=6)
    layers, _ = read_layers(tmp_path / "a.json")
    check_tiles(layers["cut"], ragged.cut(regions=6))
    ragged.export(tmp_path / "b.json", "geojson", every_node=True)
    layers, _ = read_layers(tmp_path / "b.json")
    np.testing.assert_array_equal(shapely.area(layers["nodes"].geometry.values), ragged.areas())
    np.testing.assert_array_equal(layers["nodes"]["parent"], ragged.parents)


def test_on_a_map_borders_are_shared_to_the_last_bit(ragged, geotiff, tmp_path):
    ragged.export(tmp_path / "a.geojson", "geojson", like=geotiff)
    layers, crs = read_layers(tmp_path / "a.geojson")
    assert crs.to_epsg() == 32632
    pixel_area = 0.3 * 0.3 + 0.02 * 0.01
    for level, frame in layers.items():
        assert frame.geometry.is_valid.all()
        assert shapely.coverage_is_valid(frame.geometry.values), level
        np.testing.assert_allclose(frame.geometry.area, frame["area_px"] * pixel_area, rtol=1e-6)


def test_wgs84_needs_no_name_and_others_need_a_number(ragged, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    height, width = ragged.shape
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": height, "width": width}
    transform = rasterio.Affine(0.01, 0, 10, 0, -0.01, 50)
    for crs, name in (("EPSG:4326", "a.tif"), ("+proj=laea +lat_0=12 +lon_0=7 +ellps=bessel", "b.tif")):
        with rasterio.open(tmp_path / name, "w", **profile, transform=transform, crs=crs) as file:
            file.write(np.zeros((1, height, width), np.uint8))
    ragged.export(tmp_path / "a.geojson", "geojson", like=tmp_path / "a.tif")
    assert "crs" not in json.loads((tmp_path / "a.geojson").read_text())
    assert read_layers(tmp_path / "a.geojson")[1].to_epsg() == 4326
    with pytest.raises(InputError, match=r"EPSG number, and that of the image has none: use format=\"gpkg\""):
        ragged.export(tmp_path / "b.geojson", "geojson", like=tmp_path / "b.tif")
