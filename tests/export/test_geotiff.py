import numpy as np
import pytest

from supercuts.core.errors import InputError


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
