import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.hierarchy.tree import Hierarchy


def test_rasterio_reads_labels_transform_and_crs(ragged, geotiff, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    ragged.export(tmp_path / "a.tif", "geotiff", like=geotiff)
    with rasterio.open(geotiff) as scene, rasterio.open(tmp_path / "a.tif") as file:
        assert (file.transform, file.crs, file.shape) == (scene.transform, scene.crs, scene.shape)
        assert file.descriptions == ("scene", "object", "part", "superpixels")
        np.testing.assert_array_equal(file.read(2), ragged.cut(level="object"))
        np.testing.assert_array_equal(file.read(4), ragged.labels)


def test_one_cut_is_one_band(ragged, geotiff, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    ragged.export(tmp_path / "a.tif", "geotiff", like=geotiff, regions=6)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.count == 1
        np.testing.assert_array_equal(file.read(1), ragged.cut(regions=6))


def test_it_needs_the_scene(small, tmp_path):
    with pytest.raises(
        InputError,
        match=r'does not know where on a map it lies: .* was segmented, like="scene.tif"',
    ):
        small.export(tmp_path / "a.tif", "geotiff")


def test_pixels_in_no_leaf_are_nodata(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    h = Hierarchy(
        np.array([[0, -1, 1]], np.int32), np.array([2, 2, 2], np.int32), np.array([0, 0, 0.5], np.float32),
        np.zeros((2, 0), np.float32),
    )  # fmt: skip
    profile = {"driver": "GTiff", "count": 1, "height": 1, "width": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "like.tif", "w", transform=rasterio.Affine(2, 0, 5, 0, -2, 9), **profile):
        pass
    h.export(tmp_path / "a.tif", "geotiff", like=tmp_path / "like.tif", regions=2)
    with rasterio.open(tmp_path / "a.tif") as written:
        assert written.nodata == 65535
        assert written.read(1, masked=True).tolist() == [[0, None, 1]]
