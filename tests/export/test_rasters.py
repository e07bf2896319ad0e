import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import skimage.measure
import tifffile
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.export import rasters
from supercuts.export.rasters import label_type, partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.formats.array_files import read_variables


def test_png_holds_the_cut_in_16_bits(ragged, tmp_path):
    ragged.export(tmp_path / "a.png", "labels")
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "I;16"
    np.testing.assert_array_equal(np.array(image), ragged.labels)
    ragged.export(tmp_path / "b.png", "labels", regions=5)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "b.png")), ragged.cut(regions=5))


def test_tiff_has_a_page_for_every_level(ragged, tmp_path):
    ragged.export(tmp_path / "a.tif", "labels")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        pages = {page.description: page.asarray() for page in file.pages}
    assert list(pages) == ["scene", "object", "part", "superpixels"]
    assert pages["part"].dtype == np.uint16
    np.testing.assert_array_equal(pages["object"], ragged.cut(level="object"))
    np.testing.assert_array_equal(pages["superpixels"], ragged.labels)


def test_many_regions_take_32_bits(small, monkeypatch):
    assert label_type(small) == np.uint16
    monkeypatch.setattr(type(small), "n_leaves", 65535)
    assert label_type(small) == np.uint32


def test_another_suffix_is_refused(small, tmp_path):
    with pytest.raises(InputError, match=r"suffix of a label map='.jpg' is unknown. Choose one of: .png, .tif, .tiff"):
        small.export(tmp_path / "a.jpg", "labels")


EXPECTED = [
    [0, 0, 0, 0, 0.25, 0, 0],
    [0, 0, 0, 0, 0.25, 0, 0],
    [0.75] * 7,
    [0] * 7,
    [0] * 7,
]


def test_npy_is_float32(small, tmp_path):
    small.export(tmp_path / "h.npy", format="ucm")
    np.testing.assert_array_equal(np.load(tmp_path / "h.npy"), np.array(EXPECTED, np.float32), strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["h.npy"]


def test_mat_has_the_benchmarks_key_and_type(small, tmp_path):
    small.export(tmp_path / "h.mat", format="ucm")
    ucm = scipy.io.loadmat(tmp_path / "h.mat")["ucm2"]
    np.testing.assert_array_equal(ucm, np.array(EXPECTED, np.float64), strict=True)


def test_refuses_other_suffixes(small, tmp_path):
    with pytest.raises(InputError, match=r"'.png' is unknown. Choose one of: .npy, .mat"):
        small.export(tmp_path / "h.png", format="ucm")


def test_masks_tile_the_image_at_every_level(small, tmp_path):
    small.export(tmp_path / "out", format="masks")
    index = json.loads((tmp_path / "out/index.json").read_text())
    assert index["shape"] == [2, 3]
    assert index["levels"] == small.levels
    for level, n_regions in (("scene", 1), ("object", 2), ("part", 3)):
        entries = [entry for entry in index["masks"] if entry["level"] == level]
        assert len(entries) == n_regions
        labels = small.cut(level=level)
        for entry in entries:
            mask = np.array(Image.open(tmp_path / "out" / entry["file"]))
            np.testing.assert_array_equal(mask, np.where(labels == entry["region"], 255, 0))
            ys, xs = np.nonzero(mask)
            assert entry["bbox_yxyx"] == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
            assert (entry["area"], entry["centroid_yx"]) == (ys.size, [ys.mean(), xs.mean()])
    assert [entry["node"] for entry in index["masks"]] == [4, 3, 2, 0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_filled_and_a_full_one_refused(small, tmp_path):
    (tmp_path / "out").mkdir()
    rasters.write_masks(tmp_path / "out", small)
    with pytest.raises(
        InputError, match=r"exists and is not an empty folder: choose another path, or replace it with overwrite"
    ):
        rasters.write_masks(tmp_path / "out", small)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"not an empty folder"):
        rasters.write_masks(tmp_path / "file", small)


def test_a_failed_write_leaves_nothing(small, tmp_path, monkeypatch):
    monkeypatch.setattr(rasters.json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rasters.write_masks(tmp_path / "out", small)
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_hierarchy_without_levels(small, tmp_path):
    without = Hierarchy(small.labels, small.parents, small.altitudes, small.embeddings)
    with pytest.raises(InputError, match=r"has none: segment with a model that carries levels"):
        rasters.write_masks(tmp_path / "out", without)


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
        match=r'has no map coordinates: .* was segmented, like="scene.tif"',
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


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize(("format", "suffix"), [("labels", ".png"), ("labels", ".tif"), ("labels-tiff", ".tif")])
def test_labels_count_from_1_for_programs_that_use_0_as_background(ragged, tmp_path, format, suffix, is_masked):
    labels = ragged.labels.copy()
    if is_masked:
        labels[0, np.flatnonzero(np.bincount(labels.ravel())[labels[0]] > 1)[:1]] = -1
    h = replace(ragged, labels=labels)
    start = {} if format == "labels-tiff" else {"start": 1}
    h.export(tmp_path / f"a{suffix}", format, regions=5, **start)
    written = read_variables(tmp_path / f"a{suffix}")["array"]
    np.testing.assert_array_equal(written, h.cut(regions=5) + 1)
    regions = skimage.measure.regionprops(written.astype(int))
    assert [region.label for region in regions] == list(range(1, h.cut(regions=5).max() + 2))
    assert sum(region.area for region in regions) == (labels >= 0).sum()
    h.export(tmp_path / f"b{suffix}", format, start=0, regions=5)
    if not is_masked:
        assert np.min(read_variables(tmp_path / f"b{suffix}")["array"]) == 0


def test_a_label_tiff_is_one_page(ragged, tmp_path):
    ragged.export(tmp_path / "a.tif", "labels-tiff")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), ragged.labels + 1)
    with pytest.raises(InputError, match=r"start=2 is unknown. Choose one of: 0, 1"):
        ragged.export(tmp_path / "b.tif", "labels-tiff", start=2)
    with pytest.raises(InputError, match=r"format='svg' does not take start"):
        ragged.export(tmp_path / "b.svg", "svg", start=1)
    with pytest.raises(InputError, match=r"suffix of a label TIFF='.png'"):
        ragged.export(tmp_path / "b.png", "labels-tiff")


def test_without_a_cut_every_level_and_the_superpixels(ragged):
    parts = partitions(ragged)
    assert [part.name for part in parts] == ["scene", "object", "part", "superpixels"]
    for part in parts[:3]:
        np.testing.assert_array_equal(part.labels, ragged.cut(level=part.name))
        np.testing.assert_array_equal(part.nodes, ragged.cut_nodes(level=part.name))
    np.testing.assert_array_equal(parts[3].labels, ragged.labels)


def test_a_cut_is_the_only_one(ragged):
    (part,) = partitions(ragged, Granularity(regions=7))
    assert part.name == "cut"
    np.testing.assert_array_equal(part.labels, ragged.cut(regions=7))
    np.testing.assert_array_equal(part.region_of_leaf(ragged)[ragged.labels], part.labels)
    assert partitions(ragged, Granularity(level="object"))[0].name == "object"
