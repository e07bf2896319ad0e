import warnings

import jaxtyping
import numpy as np
import pytest
import tifffile
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.images import georeference
from supercuts.images.georeference import Georeference, find_georeference

UTM = (0.3, 0.0, 500_000.1, 0.0, -0.3, 5_400_000.7)
SHAPE = (5, 7)


def write_scene(path, transform=UTM, crs="EPSG:32632", tags=None, **options):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": SHAPE[0], "width": SHAPE[1], "crs": crs}
    with rasterio.open(path, "w", **profile, transform=rasterio.Affine(*transform), **options) as file:
        file.write(np.zeros((1, *SHAPE), np.uint8))
        file.update_tags(**(tags or {}))
    with rasterio.open(path) as file:
        return tuple(file.transform)[:6], file.crs


@pytest.fixture
def as_installed():
    """Switch the annotations off, as they are outside the tests, so that our own refusals are reached."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def without_rasterio(monkeypatch):
    monkeypatch.setattr(georeference.importlib.util, "find_spec", lambda name: None)


def test_the_map_places_corners():
    north_up = Georeference((2, 0, 100, 0, -2, 50))
    np.testing.assert_array_equal(north_up.place(np.array([[0, 0], [3, 1]])), [[100, 50], [106, 48]])
    assert (north_up.is_mirrored, Georeference().is_mirrored) == (False, True)


@pytest.mark.parametrize(
    ("transform", "crs", "options"),
    [
        (UTM, "EPSG:32632", {}),
        ((0.25, 0.0, 13.4, 0.0, -0.125, 52.5), "EPSG:4326", {}),
        ((0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7), "EPSG:32632", {}),
        (UTM, "EPSG:32632", {"tags": {"AREA_OR_POINT": "Point"}}),
        ((0.3, 0.02, 5e5, 0.01, -0.3, 5.4e6), "EPSG:3857", {"tags": {"AREA_OR_POINT": "Point"}}),
        (UTM, "EPSG:25833", {"BIGTIFF": "YES"}),
    ],
    ids=["north up", "degrees", "rotated", "point", "rotated point", "BigTIFF"],
)
def test_tags_say_what_rasterio_says(tmp_path, without_rasterio, transform, crs, options):
    expected, system = write_scene(tmp_path / "a.tif", transform, crs, **options)
    found = find_georeference(tmp_path / "a.tif", SHAPE)
    assert found.transform == pytest.approx(expected, rel=0, abs=1e-9)
    assert found.crs == crs == system.to_string()


def test_a_system_without_a_number_is_asked_of_rasterio(tmp_path, monkeypatch):
    proj = "+proj=laea +lat_0=12 +lon_0=34 +datum=WGS84"
    expected, system = write_scene(tmp_path / "a.tif", crs=proj)
    found = find_georeference(str(tmp_path / "a.tif"), SHAPE)
    assert found.transform == expected
    assert system == type(system).from_wkt(found.crs)
    monkeypatch.setattr(georeference.importlib.util, "find_spec", lambda name: None)
    assert find_georeference(tmp_path / "a.tif", SHAPE) is None


def test_other_images_have_none(tmp_path):
    picture = np.zeros((*SHAPE, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture).save(tmp_path / "plain.tif")
    for source in (tmp_path / "a.png", tmp_path / "plain.tif", tmp_path / "none.tif", picture, Image.new("L", (7, 5))):
        assert find_georeference(source, SHAPE) is None
    write_scene(tmp_path / "a.tif")
    assert find_georeference(tmp_path / "a.tif", (7, 5)) is None


def test_pixels_that_are_turned_when_read_have_none(tmp_path):
    scale, tiepoint = (33550, "d", 3, (1.0, 1.0, 0.0)), (33922, "d", 6, (0.0, 0.0, 0.0, 9.0, 8.0, 0.0))
    keys = (34735, "H", 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632))
    pixels = np.zeros(SHAPE, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[scale, tiepoint, keys])
    assert find_georeference(tmp_path / "a.tif", SHAPE) == Georeference((1, 0, 9, 0, -1, 8), "EPSG:32632")
    tifffile.imwrite(tmp_path / "b.tif", pixels, extratags=[scale, tiepoint, keys, (274, "H", 1, 3)])
    assert find_georeference(tmp_path / "b.tif", SHAPE) is None


def test_damaged_tags_do_not_spoil_the_picture(tmp_path):
    write_scene(tmp_path / "a.tif")
    whole = (tmp_path / "a.tif").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for position in rng.integers(4, len(whole), 3).tolist():
            damaged[position] = int(rng.integers(256))
        (tmp_path / "b.tif").write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = find_georeference(tmp_path / "b.tif", SHAPE)
        assert found is None or isinstance(found, Georeference)


@pytest.mark.parametrize("transform", [(1, 0, 0, 0, 1), (1, 2, 0, 2, 4, 0), (1, 0, float("nan"), 0, 1, 0)])
def test_a_map_of_nothing_is_refused(as_installed, transform):
    with pytest.raises(InputError, match=r"places no pixels: give six finite numbers a b c d e f"):
        Georeference(transform)


def test_an_empty_system_is_refused():
    with pytest.raises(InputError, match=r'crs=\'\' is no text: give "EPSG:" and a number, or WKT, or None'):
        Georeference(crs="")
