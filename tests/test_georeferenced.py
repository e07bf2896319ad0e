"""A GeoTIFF that rasterio writes, segmented, saved, read and exported: its map coordinates are kept."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import supercuts
from supercuts.core.errors import InputError
from supercuts.hierarchy.tree import Hierarchy
from supercuts.model import _georeferenced

SHAPE = (24, 32)


@pytest.fixture(scope="module")
def model():
    return supercuts.load("compact")


@pytest.fixture
def scene(tmp_path):
    """Return the path of an RGB GeoTIFF of a bright field on dark ground, in UTM, rotated on the map."""
    rasterio = pytest.importorskip("rasterio")
    pixels = np.zeros((3, *SHAPE), np.uint8)
    pixels[:, 6:18, 8:24] = 220
    transform = rasterio.Affine(0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": SHAPE[0], "width": SHAPE[1]}
    with rasterio.open(
        tmp_path / "scene.tif", "w", **profile, photometric="RGB", crs="EPSG:32632", transform=transform
    ) as file:
        file.write(pixels)
    return tmp_path / "scene.tif"


def corner_extent(transform):
    a, b, c, d, e, f = tuple(transform)[:6]
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, SHAPE[1]) for y in (0, SHAPE[0])]
    return [*np.min(corners, axis=0), *np.max(corners, axis=0)]


def test_every_map_lies_where_the_scene_does(model, scene, tmp_path):
    rasterio, geopandas = pytest.importorskip("rasterio"), pytest.importorskip("geopandas")
    model.segment(scene, superpixels=12).save(tmp_path / "scene.npz")
    h = supercuts.read(tmp_path / "scene.npz")
    with rasterio.open(scene) as file:
        transform, crs = file.transform, file.crs
    h.export(tmp_path / "labels.tif", "geotiff", regions=4)
    with rasterio.open(tmp_path / "labels.tif") as file:
        assert (file.transform, file.crs) == (transform, crs)
        np.testing.assert_array_equal(file.read(1), h.cut(regions=4))
    for name, format in (("a.geojson", "geojson"), ("a.gpkg", "gpkg")):
        h.export(tmp_path / name, format, regions=4)
        table = geopandas.read_file(tmp_path / name)
        assert table.crs.to_epsg() == crs.to_epsg() == 32632
        np.testing.assert_allclose(table.total_bounds, corner_extent(transform), rtol=0, atol=1e-6)
        # for each polygon, the map's area of a pixel times its number of pixels
        np.testing.assert_allclose(table.area, table["area_px"] * abs(transform.determinant), rtol=1e-6)


def test_a_scene_named_at_export_wins(model, scene, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    h = model.segment(str(scene), superpixels=4)
    with rasterio.open(scene, "r+") as file:
        file.transform = rasterio.Affine(2, 0, 7, 0, -2, 9)
    h.export(tmp_path / "a.tif", "geotiff", like=scene)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.transform == rasterio.Affine(2, 0, 7, 0, -2, 9)


def test_edits_and_refinement_stay_on_the_map(model, scene):
    h = model.segment(scene, superpixels=6)
    assert h.georeference.crs == "EPSG:32632"
    assert h.lock(0).undo().georeference == h.georeference
    assert model.segment(scene, superpixels=6, refiner="st").georeference == h.georeference


def test_maps_in_geojson_and_arrays_without_one(model, scene, tmp_path):
    """GeoJSON of a numbered system needs no further package; an array has no map."""
    h = model.segment(scene, superpixels=4)
    h.export(tmp_path / "a.json", "geojson", regions=1)
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    assert _georeferenced(h, None) is h
    bare = model.segment(h.image, superpixels=4)
    assert bare.georeference is None
    np.testing.assert_array_equal(bare.labels, h.labels)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("folder/photo.jpg", "photo.jpg"),
        (Path("a b [1].tif"), "a b [1].tif"),
        (os.fsdecode(b"caf\xe9.png"), "caf\ufffd.png"),
        (np.zeros((2, 2)), None),
        (Image.new("L", (2, 2)), None),
    ],
    ids=["a path", "brackets", "no UTF-8", "an array", "an opened image"],
)
def test_a_hierarchy_keeps_the_name_of_its_image(tmp_path, source, expected):
    one = np.zeros(1, np.float32)
    h = Hierarchy(np.zeros((2, 2), np.int32), np.zeros(1, np.int32), one, one[:, None][:, :0])
    h = _georeferenced(h, None, source)
    assert h.source_name == expected
    h.save(tmp_path / "a.npz")
    assert supercuts.read(tmp_path / "a.npz").source_name == expected
    h.export(tmp_path / "a_coco.json", "coco")
    document = json.loads((tmp_path / "a_coco.json").read_text("utf-8"))
    assert document["images"][0]["file_name"] == (expected or "a_coco")
    with pytest.raises(InputError, match="source_name"):
        replace(h, source_name="")
