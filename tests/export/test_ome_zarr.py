import warnings

import numpy as np
import pytest

from supercuts.core.errors import InputError

pytest.importorskip("zarr")


def test_the_reader_of_napari_finds_image_and_labels(ragged, tmp_path):
    pytest.importorskip("ome_zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the packages it imports
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        ragged.export(tmp_path / "a.zarr", "ome-zarr")
        nodes = list(Reader(parse_url(tmp_path / "a.zarr"))())
    found = {node.zarr.basename(): node for node in nodes if node.data}
    np.testing.assert_array_equal(found["a.zarr"].data[0], np.moveaxis(ragged.image, -1, 0))
    for level in ("scene", "object", "part"):
        np.testing.assert_array_equal(found[level].data[0], ragged.cut(level=level) + 1)
    np.testing.assert_array_equal(found["superpixels"].data[0], ragged.labels + 1)


def test_the_metadata_is_valid(ragged, tmp_path):
    models = pytest.importorskip("ome_zarr_models")
    import zarr

    ragged.export(tmp_path / "a.zarr", "ome-zarr", regions=4)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert models.open_ome_zarr(group).ome_zarr_version == "0.5"
    np.testing.assert_array_equal(group["labels/cut/0"][:], ragged.cut(regions=4) + 1)


def test_a_folder_is_replaced_with_overwrite_only(ragged, tmp_path):
    ragged.export(tmp_path / "a.zarr", "ome-zarr", regions=4)
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        ragged.export(tmp_path / "a.zarr", "ome-zarr")
    ragged.export(tmp_path / "a.zarr", "ome-zarr", overwrite=True)
    assert (tmp_path / "a.zarr/labels/object").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_it_needs_the_image(small, tmp_path):
    bare = type(small)(small.labels, small.parents, small.altitudes, small.embeddings)
    with pytest.raises(InputError, match=r"the hierarchy holds none: save it with image=True"):
        bare.export(tmp_path / "a.zarr", "ome-zarr")
