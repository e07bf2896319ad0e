import importlib
from contextlib import contextmanager

import pytest

from supercuts.core.errors import InputError, MissingDependencyError
from supercuts.export import npz, registry


@pytest.mark.parametrize("module", registry.WRITERS.values())
def test_every_writer_can_be_called(module):
    assert callable(importlib.import_module(module).write)


def test_export_dispatches_by_name(small, tmp_path):
    registry.export(tmp_path / "h.npz", small, "npz")
    assert npz.read(tmp_path / "h.npz").n_leaves == 3


def test_an_unknown_format_lists_the_known_ones(small, tmp_path):
    with pytest.raises(InputError, match=r"format='tiff' is unknown. Choose one of: npz, ucm, labels"):
        registry.export(tmp_path / "h.tiff", small, "tiff")


SUFFIXES = {
    "npz": ".npz",
    "ucm": ".npy",
    "labels": ".png",
    "masks": "",
    "coco": ".json",
    "sam": ".json",
    "geojson": ".geojson",
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
NEEDS = {"coco": "pycocotools", "sam": "pycocotools", "gpkg": "pyogrio", "geotiff": "rasterio", "ome-zarr": "zarr"}


@pytest.fixture(params=list(registry.WRITERS))
def format(request):
    pytest.importorskip(NEEDS.get(request.param, "numpy"))
    return request.param


@contextmanager
def files_of_at_most(n_bytes):
    """Let the system refuse to write more to a file, as it does when the disk is full."""
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
def test_nothing_is_overwritten_without_force(ragged, geotiff, tmp_path, format):
    like, target = scene(format, geotiff), tmp_path / f"new/a{SUFFIXES[format]}"
    ragged.export(target, format, like=like)
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"a(\.\w+)? exists"):
        ragged.export(target, format, like=like)
    ragged.export(target, format, like=like, force=True)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("ragged", [0], indirect=True)
def test_a_path_below_a_file_is_the_systems_error(ragged, geotiff, tmp_path, format):
    (tmp_path / "file").write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(OSError, match="file"):
        ragged.export(tmp_path / f"file/a{SUFFIXES[format]}", format, like=scene(format, geotiff))
    assert listing(tmp_path) == before


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


def test_a_folder_is_no_target_of_a_file(small, tmp_path):
    with pytest.raises(InputError, match=r"is a folder and this format is a file"):
        small.export(tmp_path, "coco", force=True)
