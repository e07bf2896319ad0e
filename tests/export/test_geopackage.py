import numpy as np
import pytest

from supercuts.core.errors import InputError

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
