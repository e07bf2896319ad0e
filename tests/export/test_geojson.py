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


def test_qupath_objects(ragged, tmp_path):
    """The keys are those that QuPath 0.5 writes; QuPath itself is not run."""
    ragged.export(tmp_path / "a_qupath.geojson", pixel_size=0.5)
    document = json.loads((tmp_path / "a_qupath.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    by_id = {feature["id"]: feature for feature in document["features"]}
    levels = ["scene", "object", "part", "superpixels"]
    counts = [ragged.cut_nodes(level=level).size for level in levels[:3]]
    names = [feature["properties"]["classification"]["name"] for feature in document["features"]]
    assert [names.count(level) for level in levels] == [*counts, ragged.n_leaves]
    shapes = {key: shapely.geometry.shape(feature["geometry"]) for key, feature in by_id.items()}
    for key, feature in by_id.items():
        properties = feature["properties"]
        level = properties["classification"]["name"]
        assert properties["objectType"] == ("detection" if level == "superpixels" else "annotation")
        assert properties["isLocked"] is False
        assert len(properties["classification"]["color"]) == 3
        area = ragged.areas()[int(properties["metadata"]["node"])]
        assert shapes[key].area == area == properties["measurements"]["Area px^2"]
        assert properties["measurements"]["Area \u00b5m^2"] == area / 4
        parent = properties["metadata"].get("parent")
        assert (parent is None) == (level == "scene")
        if parent is not None:
            assert shapes[parent].covers(shapes[key])
            assert levels.index(by_id[parent]["properties"]["classification"]["name"]) == levels.index(level) - 1
        for polygon in getattr(shapes[key], "geoms", [shapes[key]]):
            assert polygon.exterior.is_closed
    geopandas = pytest.importorskip("geopandas")
    assert len(geopandas.read_file(tmp_path / "a_qupath.geojson")) == len(by_id)


def test_qupath_takes_one_cut_and_positive_pixels(ragged, tmp_path):
    ragged.export(tmp_path / "a.geojson", "qupath", regions=4)
    cut = json.loads((tmp_path / "a.geojson").read_text())["features"]
    n_regions = ragged.cut_nodes(regions=4).size
    assert [feature["properties"]["name"] for feature in cut] == [f"cut {region}" for region in range(n_regions)]
    with pytest.raises(InputError, match="pixel_size"):
        ragged.export(tmp_path / "b.geojson", "qupath", pixel_size=0.0)
    with pytest.raises(InputError, match="format='svg' does not take pixel_size: leave it out"):
        ragged.export(tmp_path / "b.svg", pixel_size=1.0)
