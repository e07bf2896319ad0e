import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from supercuts.core.errors import InputError, MissingDependencyError
from supercuts.export import export_formats, npz
from supercuts.export.export_formats import FORMATS, export, format_of
from supercuts.export.npz import read
from supercuts.export.sam import masks
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.formats.array_files import read_variables
from supercuts.model import Model


@pytest.mark.parametrize("format", export_formats.FORMATS.values(), ids=list(export_formats.FORMATS))
def test_every_writer_can_be_called(format):
    assert callable(format.write())


def test_export_dispatches_by_name(small, tmp_path):
    export_formats.export(tmp_path / "h.npz", small, "npz")
    assert npz.read(tmp_path / "h.npz").n_leaves == 3


def test_an_unknown_format_lists_the_known_ones(small, tmp_path):
    with pytest.raises(InputError, match=r"format='tiff' is unknown. Choose one of: npz, ucm, labels"):
        export_formats.export(tmp_path / "h.tiff", small, "tiff")


SUFFIXES = {
    "npz": ".npz",
    "ucm": ".npy",
    "labels": ".png",
    "labels-tiff": ".tif",
    "masks": "",
    "coco": ".json",
    "labelme": ".json",
    "cvat": ".xml",
    "label-studio": ".json",
    "label-studio-polygons": ".json",
    "sam": ".json",
    "geojson": ".geojson",
    "qupath": ".geojson",
    "gpkg": ".gpkg",
    "geotiff": ".tif",
    "svg": ".svg",
    "networkx-rag": ".graphml",
    "networkx-tree": ".json",
    "pyg": ".pt",
    "pyg-levels": ".pt",
    "linkage": ".npy",
    "ome-zarr": ".zarr",
    "html": ".html",
}
NEEDS = {"coco": "pycocotools", "sam": "pycocotools", "gpkg": "pyogrio", "ome-zarr": "zarr"}


def test_formats_that_need_libraries_name_their_extra():
    assert {name: format.extra for name, format in export_formats.FORMATS.items() if format.extra} == dict.fromkeys(
        NEEDS, "export"
    )


@pytest.fixture(params=list(export_formats.FORMATS))
def format(request):
    pytest.importorskip(NEEDS.get(request.param, "numpy"))
    return request.param


@contextmanager
def files_of_at_most(n_bytes):
    """Make writes to files fail, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def scene(format, geotiff):
    return geotiff if format == "geotiff" else None


@pytest.mark.parametrize("ragged", [0], indirect=True)
def test_nothing_is_overwritten_without_overwrite(ragged, geotiff, tmp_path, format):
    like, target = scene(format, geotiff), tmp_path / f"new/a{SUFFIXES[format]}"
    ragged.export(target, format, like=like)
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"a(\.\w+)? exists"):
        ragged.export(target, format, like=like)
    ragged.export(target, format, like=like, overwrite=True)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("ragged", [0], indirect=True)
def test_a_path_below_a_file_is_the_systems_error(ragged, geotiff, tmp_path, format):
    (tmp_path / "file").write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(OSError, match="file"):
        ragged.export(tmp_path / f"file/a{SUFFIXES[format]}", format, like=scene(format, geotiff))
    assert listing(tmp_path) == before


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder here is closed to root as well")
@pytest.mark.parametrize("ragged", [0], indirect=True)
def test_a_folder_that_takes_no_files_is_the_systems_error_and_names_the_file(ragged, geotiff, format):
    target = Path(f"/sys/a{SUFFIXES[format]}")
    with pytest.raises(OSError, match=r"/sys/a") as error:
        ragged.export(target, format, like=scene(format, geotiff))
    assert error.value.errno is not None
    assert error.value.filename == str(target)


@pytest.mark.parametrize("ragged", [0], indirect=True)
def test_a_full_disk_leaves_no_half_file(ragged, geotiff, tmp_path, format):
    like, target = scene(format, geotiff), tmp_path / f"out/a{SUFFIXES[format]}"
    ragged.export(tmp_path / f"first{SUFFIXES[format]}", format, like=like)  # compiles and imports: files, too
    before = listing(tmp_path)
    with files_of_at_most(100), pytest.raises(OSError, match=r"File too large|is the disk full\?"):
        ragged.export(target, format, like=like)
    assert listing(tmp_path) == sorted([*before, "out"])


@pytest.mark.parametrize("ragged", [0], indirect=True)
@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_library_names_the_extra(ragged, geotiff, tmp_path, monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(MissingDependencyError, match=rf'{NEEDS[name]}.* not .*pip install "supercuts\[export\]"$'):
        ragged.export(tmp_path / f"a{SUFFIXES[name]}", name, like=scene(name, geotiff))


def test_options_that_a_format_has_no_use_for_are_refused(small, tmp_path):
    with pytest.raises(InputError, match=r"format='linkage' does not take regions, level, altitude and granularity"):
        small.export(tmp_path / "a.npy", "linkage", regions=2)
    with pytest.raises(InputError, match=r"format='svg' does not take like: leave it out"):
        small.export(tmp_path / "a.svg", "svg", like="scene.tif")
    with pytest.raises(InputError, match=r"format='labels' does not take every_node"):
        small.export(tmp_path / "a.png", "labels", every_node=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_a_target_of_a_file(small, tmp_path):
    with pytest.raises(InputError, match=r"is a folder and this format is a file"):
        small.export(tmp_path, "coco", overwrite=True)


@pytest.fixture
def masked():
    """2x4 pixels, leaves 0 0 - 1 / 2 2 - 2, where - belongs to none; 3 = {0, 1} at .25, 4 = root at .75."""
    return Hierarchy(
        labels=np.array([[0, 0, -1, 1], [2, 2, -1, 2]], dtype=np.int32),
        parents=np.array([3, 3, 4, 4, 4], dtype=np.int32),
        altitudes=np.array([0, 0, 0, 0.25, 0.75], dtype=np.float32),
        embeddings=np.arange(6, dtype=np.float32).reshape(3, 2),
        image=np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        levels={"scene": 0.75, "object": 0.5, "part": 0.1},
    )


def test_pixels_in_no_leaf_stay_out_of_every_query(masked):
    is_out = masked.labels < 0
    assert masked.is_masked
    assert masked.areas().tolist() == [2, 1, 3, 3, 6]
    for regions in (1, 2, 3):
        np.testing.assert_array_equal(masked.cut(regions=regions) < 0, is_out)
    assert not masked.select(point=(0, 0), regions=1)[is_out].any()
    assert not masked.select(box=(0, 0, 2, 4))[is_out].any()
    assert not masked.select(points={1: [(0, 0)], 2: [(1, 0), (0, 2)]})[is_out].any()
    scribbles = np.array([[1, 0, 2, 0], [2, 0, 0, 0]])
    np.testing.assert_array_equal(masked.segment_scribbles(scribbles), [[1, 1, -1, 1], [2, 2, -1, 2]])
    with pytest.raises(InputError, match="on masked pixels"):
        masked.select(point=(0, 2), regions=2)
    with pytest.raises(InputError, match="mark at least one pixel of the image"):
        masked.segment_scribbles(scribbles * is_out)
    contours = masked.ucm()
    assert contours[1, 4] == contours[1, 6] == 1
    assert contours[2, 5] == 0
    assert masked.region_table().bbox_yxyx[4].tolist() == [0, 0, 2, 4]
    with pytest.raises(InputError, match=r"box=.* lies on masked pixels"):
        masked.select(box=(0, 2, 2, 3))
    actual = Model(None).objects(masked, method="tokencut")
    assert not actual.mask[is_out].any()
    assert not Model(None).parts(masked, objects=actual).labels[is_out].any()
    focused = masked.cut(regions=2, focus=np.ones((2, 4), bool))
    np.testing.assert_array_equal(focused < 0, is_out)


def test_pixels_in_no_leaf_are_marked_in_files(masked, tmp_path):
    export(tmp_path / "a.npz", masked, "npz")
    np.testing.assert_array_equal(read(tmp_path / "a.npz").labels, masked.labels)
    export(tmp_path / "a.png", masked, "labels")
    assert read_variables(tmp_path / "a.png")["array"].tolist() == [[0, 0, 65535, 1], [2, 2, 65535, 2]]
    export(tmp_path / "a.tif", masked, "labels", Granularity(regions=1))
    assert read_variables(tmp_path / "a.tif")["array"].tolist() == [[0, 0, 65535, 0]] * 2
    export(tmp_path / "masks", masked, "masks")
    index = json.loads((tmp_path / "masks" / "index.json").read_text())
    assert [item["area"] for item in index["masks"] if item["level"] == "part"] == [2, 1, 3]
    export(tmp_path / "a.svg", masked, "svg", Granularity(regions=3))
    assert (tmp_path / "a.svg").read_text().count("<path") == 3
    export(tmp_path / "rag.json", masked, "networkx-rag")
    graph = json.loads((tmp_path / "rag.json").read_text())
    assert [(edge["source"], edge["target"]) for edge in graph["edges"]] == [(0, 2), (1, 2)]
    assert [node["area"] for node in graph["nodes"]] == [2, 1, 3]
    for name, path in (("networkx-tree", "t.json"), ("linkage", "a.npy"), ("ucm", "u.npy")):
        export(tmp_path / path, masked, name)
    assert sum(mask["area"] for mask in masks(masked, ["part"])) == 6
    export(tmp_path / "a.html", masked, "html")


def test_images_too_large_for_the_viewer_are_refused(masked, monkeypatch, tmp_path):
    monkeypatch.setattr("supercuts.export.html_viewer.MAX_PIXELS", 3)
    whole = replace(masked, labels=np.maximum(masked.labels, 0))
    with pytest.raises(InputError, match="more than the viewer's 3"):
        export(tmp_path / "a.html", whole, "html")


@pytest.mark.parametrize("format", FORMATS)
def test_the_ending_that_batches_write_names_its_format(format):
    if format != "labels-tiff":  # ends as that of labels does, but for the name
        assert format_of(f"Photo{FORMATS[format].suffix}") == format
    assert format_of("photo_labels_from_1.tif") == "labels-tiff"


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.geojson", "geojson"), ("a.GPKG", "gpkg"), ("a.svg", "svg"), ("a.png", "labels"), ("a.mat", "ucm"),
     ("a.zarr", "ome-zarr"), ("a.html", "html"), ("a.npz", "npz")],
)  # fmt: skip
def test_a_suffix_of_one_format_names_it(name, format):
    assert format_of(name) == format


def test_a_suffix_of_several_formats_or_of_none_is_refused(small, tmp_path):
    with pytest.raises(InputError, match=r"a.json: the suffix '.json' may be any of coco, labelme, label-studio"):
        small.export(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"the suffix '.doc' is no format's; formats: npz, ucm"):
        small.export(tmp_path / "a.doc")
    small.export(tmp_path / "a.geojson", level="object")
    assert json.loads((tmp_path / "a.geojson").read_text())["type"] == "FeatureCollection"


def test_force_is_a_former_name_of_overwrite(small, tmp_path):
    small.export(tmp_path / "a.svg")
    with pytest.warns(DeprecationWarning, match="force= is now overwrite="):
        small.export(tmp_path / "a.svg", force=True)
