import errno
import hashlib
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
import tifffile
from PIL import Image

import supercuts
from supercuts.batch import outputs
from supercuts.batch.outputs import ALSO, REGIONS, Segmenter, is_full, keyword_of, suffixes, write_outputs
from supercuts.batch.sources import Task
from supercuts.core.errors import InputError, MissingDependencyError
from supercuts.export.export_formats import FORMATS
from supercuts.hierarchy.tree import Hierarchy

NEEDS = {"coco": "pycocotools", "sam": "pycocotools", "ome-zarr": "zarr"}


@pytest.fixture
def quarters():
    """Return a hierarchy of four quarters without levels."""
    rows, columns = np.arange(24) >= 12, np.arange(32) >= 16
    return Hierarchy(
        labels=(rows[:, None] * 2 + columns).astype(np.int32),
        parents=np.array([4, 5, 4, 5, 6, 6, 6], np.int32),
        altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], np.float32),
        embeddings=np.zeros((4, 0), np.float32),
        image=np.full((24, 32, 3), 99, np.uint8),
        levels={"scene": 0.6, "object": 0.3, "part": 0.1},
    )


def test_every_format_has_a_name_of_its_own():
    assert {*ALSO, "npz"} == FORMATS.keys()
    assert len({*suffixes(ALSO, True)}) == len(ALSO) + 6
    assert suffixes(("svg",), False) == [".svg", ".npz"]
    with pytest.raises(InputError, match=r"--format='jpg' is unknown\. Choose one of: ucm"):
        suffixes(("jpg",), False)


@pytest.mark.parametrize("format", [name for name in ALSO if name not in ("geotiff", "gpkg")])
def test_a_format_equals_the_hierarchys_export(quarters, tmp_path, format):
    if format in NEEDS:
        pytest.importorskip(NEEDS[format])
    written = write_outputs(tmp_path / "out", "a", tmp_path / "a.png", quarters, [format])
    assert list(written) == [FORMATS[format].suffix, ".npz"], "the hierarchy comes last"
    np.testing.assert_array_equal(supercuts.read(written[".npz"]).labels, quarters.labels)
    file = written[FORMATS[format].suffix]
    suffix = "".join(file.suffixes)
    quarters.export(tmp_path / f"a{suffix}", format=format)
    if file.is_file() and format not in ("pyg", "pyg-levels", "ucm"):  # the bytes of these hold a date or a name
        assert file.read_bytes() == (tmp_path / f"a{suffix}").read_bytes()
    assert file.exists()


def test_pictures_are_those_of_the_views(quarters, tmp_path):
    counts = [int(quarters.cut(**keyword_of(quarters, level)).max()) + 1 for level in REGIONS]
    assert counts == [4, 3, 2]
    written = write_outputs(tmp_path / "out", "a", tmp_path / "a.png", quarters, [], True)
    assert list(written) == suffixes([], True)
    changed = (supercuts.read_image(written["_scene.png"]) != 99).any(axis=2)
    assert changed[:, 15:17].all()
    assert not changed[:, :10].any()


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """Return a small photo in a folder of its own."""
    path = tmp_path_factory.mktemp("photo") / "p.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def stage(tmp_path):
    (tmp_path / "stage").mkdir()
    return tmp_path / "stage"


@pytest.fixture
def work(stage):
    return Segmenter({"superpixels": 12, "formats": ["svg"]}, str(stage))


def test_writes_the_models_hierarchy(work, stage, photo):
    result = work(Task(5, str(photo), "in/other"))
    assert (result.number, result.status, result.error) == (5, "done", "")
    assert result.content == hashlib.sha256(photo.read_bytes()).hexdigest()
    assert list(result.files) == [".svg", ".npz"]
    actual = supercuts.read(stage / result.folder / result.files[".npz"])
    expected = supercuts.load("compact").segment(photo, superpixels=12)
    for name in ("labels", "parents", "altitudes"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))
    again = work(Task(6, str(photo), "x", known=result.content))
    assert (again.status, again.content) == ("unchanged", result.content)
    assert [path.name for path in stage.iterdir()] == [result.folder]


def test_finished_images_need_no_model(work, photo, monkeypatch):
    monkeypatch.setattr("supercuts.model.load", lambda *_, **__: 1 / 0)
    known = hashlib.sha256(photo.read_bytes()).hexdigest()
    assert work(Task(0, str(photo), "x", known=known)).status == "unchanged"
    result = work(Task(0, str(photo), "x", known="other"))
    assert (result.status, result.error) == ("unusable", "ZeroDivisionError")


def test_bytes_and_web_addresses_are_segmented_like_files(work, stage, photo):
    expected = work(Task(0, str(photo), "p"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(photo.parent))
    handler.func.log_message = lambda *_: None
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/p.png?size=3"
        results = [work(Task(1, address, "p")), work(Task(2, "memory://p.png", "p", data=photo.read_bytes()))]
        missing = work(Task(3, address.replace("p.png", "q.png"), "q"))
        server.shutdown()
    for result in results:
        assert (result.status, result.content) == ("done", expected.content)
        assert [path.name for path in (stage / result.folder).iterdir()] == ["out"], "what was fetched is gone"
        files = [(stage / item.folder / item.files[".npz"]).read_bytes() for item in (result, expected)]
        assert files[0] == files[1]
    assert (missing.status, missing.error) == ("failed", "ImageError")
    assert "q.png" in missing.message


@pytest.mark.parametrize(("content", "expected"), [(None, "cannot be read"), (b"GIF89a", "decoded"), (b"?", "p.png")])
def test_a_bad_image_is_a_result_that_leaves_nothing(work, stage, tmp_path, content, expected):
    path = tmp_path / "p.png"
    if content is not None:
        path.write_bytes(content)
    result = work(Task(0, str(path), "p"))
    assert (result.status, result.error) == ("failed", "ImageError")
    assert str(path) in result.message
    assert expected in result.message
    assert list(stage.iterdir()) == []


def test_a_missing_package_concerns_all(work, stage, photo, monkeypatch):
    def fail(*_, **__):
        raise MissingDependencyError("zarr not installed")

    monkeypatch.setattr("supercuts.batch.outputs.write_outputs", fail)
    assert work(Task(0, str(photo), "p")).status == "unusable"


def test_a_full_disk_is_distinguished_from_a_bad_image(work, stage, photo, monkeypatch):
    def fail(*_, **__):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("a library hides the reason") from error

    monkeypatch.setattr("supercuts.batch.outputs.write_outputs", fail)
    result = work(Task(0, str(photo), "p"))
    assert (result.status, result.error) == ("full", "RuntimeError")
    assert list(stage.iterdir()) == []


def test_is_full(tmp_path, monkeypatch):
    assert is_full(OSError(errno.EDQUOT, ""), tmp_path)
    assert not is_full(OSError(errno.EACCES, ""), tmp_path)
    assert not is_full(ValueError(), tmp_path / "missing")
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4096}))
    assert is_full(ValueError("GDAL could not write"), tmp_path)


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "in" / "a.tif"
    path.parent.mkdir()
    values = np.random.default_rng(0).integers(0, 4096, (2, 24, 32), dtype=np.uint16)
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "TYX"}, imagej=True)
    return path, values


def test_options_of_reading_reach_the_model_and_notes_come_back(stage, stack):
    path, values = stack
    result = Segmenter({"superpixels": 9}, str(stage))(Task(0, str(path), "a"))
    assert result.status == "done"
    assert [note.split(": ")[0] for note in result.notes] == [str(path)] * 2
    assert "page=2 (--page 2)" in result.notes[0]
    assert "--stretch none" in result.notes[1]
    options = {"superpixels": 9, "page": 2, "stretch": "none", "formats": []}
    result = Segmenter(options, str(stage))(Task(1, str(path), "a"))
    assert result.notes == ()
    image = supercuts.read(stage / result.folder / result.files[".npz"]).image
    np.testing.assert_array_equal(image[..., 0], (values[1].astype(int) + 128) // 257)


def test_masks_of_a_folder_are_found_by_name_and_count_as_content(stage, photo, tmp_path):
    height, width = supercuts.read_image(photo).shape[:2]
    mask = np.ones((height, width), bool)
    mask[:5] = False
    (tmp_path / "masks" / "b").mkdir(parents=True)
    np.save(tmp_path / "masks" / "b" / "a.npy", mask)
    work = Segmenter({"superpixels": 9, "mask": str(tmp_path / "masks")}, str(stage))
    result = work(Task(0, str(photo), "b/a"))
    labels = supercuts.read(stage / result.folder / result.files[".npz"]).labels
    np.testing.assert_array_equal(labels >= 0, mask)
    assert work(Task(0, str(photo), "b/a", result.content)).status == "unchanged"
    np.save(tmp_path / "masks" / "b" / "a.npy", ~mask)
    assert work(Task(0, str(photo), "b/a", result.content)).status == "done"
    missing = work(Task(1, str(photo), "c"))
    assert (missing.status, missing.error) == ("failed", "InputError")
    assert "holds no mask for this image. Expected c.png" in missing.message
