import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from supercuts.core.errors import FileFormatError, InputError
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.io import read_volume
from supercuts.superpixels.volumes import VolumeHierarchy

pytest.importorskip("zarr")
TOOLS = os.environ.get("SUPERCUTS_TOOLS_PYTHON")


def test_the_reader_of_napari_finds_image_and_labels(ragged, tmp_path):
    pytest.importorskip("ome_zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the packages it imports
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        ragged.export(tmp_path / "a.zarr", "ome-zarr")
        nodes = list(Reader(parse_url(tmp_path / "a.zarr"))())
    actual = {node.zarr.basename(): node for node in nodes if node.data}
    np.testing.assert_array_equal(actual["a.zarr"].data[0], np.moveaxis(ragged.image, -1, 0))
    for level in ("scene", "object", "part"):
        np.testing.assert_array_equal(actual[level].data[0], ragged.cut(level=level) + 1)
    np.testing.assert_array_equal(actual["superpixels"].data[0], ragged.labels + 1)


def test_the_metadata_is_valid(ragged, tmp_path):
    models = pytest.importorskip("ome_zarr_models")
    import zarr

    ragged.export(tmp_path / "a.zarr", "ome-zarr", regions=4)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert models.open_ome_zarr(group).ome_zarr_version == "0.5"
    np.testing.assert_array_equal(group["labels/cut/0"][:], ragged.cut(regions=4) + 1)


def test_the_pyramid_has_pixel_sizes_and_keeps_its_place(small, tmp_path):
    pytest.importorskip("ome_zarr")
    models = pytest.importorskip("ome_zarr_models")
    rng = np.random.default_rng(0)
    labels = np.arange(3, dtype=np.int32).repeat(200)[None].repeat(515, axis=0)
    image = rng.integers(0, 256, (*labels.shape, 3), np.uint8)
    h = type(small)(labels, small.parents, small.altitudes, small.embeddings, image=image)
    h.export(tmp_path / "a.zarr", "ome-zarr", regions=3, pixel_size=0.25)
    import zarr

    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    models.open_ome_zarr(group)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the packages it imports
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        nodes = {node.zarr.basename(): node for node in Reader(parse_url(tmp_path / "a.zarr"))() if node.data}
    for name, shapes in (
        ("a.zarr", [(3, 515, 600), (3, 258, 300), (3, 129, 150)]),
        ("cut", [(515, 600), (258, 300), (129, 150)]),
    ):
        assert [plane.shape for plane in nodes[name].data] == shapes
        attributes = dict(group.attrs if name == "a.zarr" else group[f"labels/{name}"].attrs)["ome"]
        (scales,) = attributes["multiscales"]
        assert [axis.get("unit") for axis in scales["axes"]][-2:] == ["micrometer"] * 2
        for k, dataset in enumerate(scales["datasets"]):
            scale, *shift = dataset["coordinateTransformations"]
            assert scale["scale"][-2:] == [0.25 * 2**k] * 2
            assert [transform["translation"][-1] for transform in shift] == ([0.25 * (2**k - 1) / 2] if k else [])
    means = image[:514].astype(float).reshape(257, 2, 300, 2, 3).mean(axis=(1, 3))
    half = np.moveaxis(np.asarray(nodes["a.zarr"].data[1]), 0, -1)
    assert np.abs(half[:257] - means).max() <= 0.5
    np.testing.assert_array_equal(nodes["cut"].data[2], labels[::4, ::4] + 1)


def test_a_folder_is_replaced_with_overwrite_only(ragged, tmp_path):
    ragged.export(tmp_path / "a.zarr", "ome-zarr", regions=4)
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        ragged.export(tmp_path / "a.zarr", "ome-zarr")
    ragged.export(tmp_path / "a.zarr", "ome-zarr", overwrite=True)
    assert (tmp_path / "a.zarr/labels/object").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_the_reader_of_napari_finds_volumes_and_their_labels(tmp_path):
    pytest.importorskip("ome_zarr")
    volume = np.random.default_rng(0).integers(0, 60000, (3, 8, 600, 2)).astype(np.uint16)
    h = VolumeHierarchy(Hierarchy(np.zeros((24, 600), np.int32), *one_leaf()), 3)
    h.export_ome_zarr(tmp_path / "a.zarr", volume, (3.0, 0.5, 0.25))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        nodes = {node.zarr.basename(): node for node in Reader(parse_url(tmp_path / "a.zarr"))() if node.data}
    np.testing.assert_array_equal(np.asarray(nodes["a.zarr"].data[0]), np.moveaxis(volume, -1, 0))
    shapes = {name: [level.shape for level in node.data] for name, node in nodes.items()}
    assert shapes["superpixels"] == [(3, 8, 600), (3, 4, 300), (3, 2, 150)]
    assert (np.asarray(nodes["superpixels"].data[0]) == 1).all()
    halves = np.asarray(nodes["a.zarr"].data[1])[1]
    np.testing.assert_array_equal(halves, np.round(volume[..., 1].reshape(3, 4, 2, 300, 2).mean((2, 4)) + 1e-6))
    half = read_volume(tmp_path / "a.zarr", level=1)
    assert half.spacing == (3.0, 1.0, 0.5)
    np.testing.assert_array_equal(half.values[..., 1], halves)


def one_leaf():
    return np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32)


@pytest.mark.parametrize("version", [2, 3])
def test_volumes_of_others_are_read(version, tmp_path):
    import zarr

    values = np.arange(2 * 3 * 2 * 4 * 5, dtype=np.uint16).reshape(2, 3, 2, 4, 5)
    group = zarr.create_group(tmp_path / "b.zarr", zarr_format=version)
    group.create_array("s0", data=values)
    scale = [{"type": "scale", "scale": [1, 1, 4, 2, 2]}]
    axes = [{"name": name} for name in "tczyx"]
    datasets = [{"path": "s0", "coordinateTransformations": scale}]
    whole = [{"type": "scale", "scale": [1, 1, 0.5, 0.5, 0.5]}]
    images = {"multiscales": [{"axes": axes, "datasets": datasets, "coordinateTransformations": whole}]}
    group.attrs.update({"ome": images} if version == 3 else images)
    read = read_volume(tmp_path / "b.zarr", time=1)
    assert read.spacing == (2.0, 1.0, 1.0)
    np.testing.assert_array_equal(read.values, np.moveaxis(values[1], 0, -1))
    with pytest.raises(FileFormatError, match="with level 7 and time 0"):
        read_volume(tmp_path / "b.zarr", level=7)
    with pytest.raises(FileFormatError, match="is not an OME-Zarr image"):
        read_volume(tmp_path)
    group.attrs.update({"multiscales": 3, "ome": 3})
    with pytest.raises(FileFormatError, match="is not an OME-Zarr image"):
        read_volume(tmp_path / "b.zarr")


def test_it_needs_the_image(small, tmp_path):
    bare = type(small)(small.labels, small.parents, small.altitudes, small.embeddings)
    with pytest.raises(InputError, match=r"the hierarchy holds none: save it with image=True"):
        bare.export(tmp_path / "a.zarr", "ome-zarr")


@pytest.mark.timeout(600)
@pytest.mark.skipif(TOOLS is None, reason="SUPERCUTS_TOOLS_PYTHON names no Python with napari-ome-zarr: nox -s tools")
def test_the_plugin_of_napari_shows_every_level_with_its_pyramid_and_scale(voronoi, tmp_path):
    h = voronoi(shape=(300, 520), n_leaves=80)
    h.export(tmp_path / "a.zarr", "ome-zarr", pixel_size=0.5)
    script = Path(__file__).with_name("read_by_tools.py")
    command = [TOOLS, script, "napari", tmp_path / "a.zarr", "-", tmp_path / "read.npz"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    read = np.load(tmp_path / "read.npz")
    for level in ("scene", "object", "part", "superpixels"):
        labels = h.labels if level == "superpixels" else h.cut(level=level)
        np.testing.assert_array_equal(read[level], labels + 1)
        assert read[f"{level} scale"].tolist() == [0.5, 0.5]
        assert read[f"{level} shapes"].tolist() == [[300, 520], [150, 260], [75, 130]]
    rows = np.arange(24, dtype=np.int32).reshape(24, 1).repeat(30, 1)
    parents, altitudes = np.int32([24] * 25), np.float32([0] * 24 + [1])
    volume = VolumeHierarchy(Hierarchy(rows, parents, altitudes, np.zeros((24, 0), np.float32)), 3)
    volume.export_ome_zarr(tmp_path / "b.zarr", np.zeros((3, 8, 30), np.uint16), (2.0, 0.5, 0.5))
    command = [TOOLS, script, "napari", tmp_path / "b.zarr", "-", tmp_path / "read.npz"]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    read = np.load(tmp_path / "read.npz")
    np.testing.assert_array_equal(read["superpixels"], volume.labels + 1)
    assert read["superpixels scale"].tolist() == [2.0, 0.5, 0.5]
