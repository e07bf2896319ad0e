import json

import numpy as np
import pytest
import rasterio
from PIL import Image

import supercuts
from supercuts.batch.workspace import open_workspace


@pytest.fixture
def folder(photos):
    """Return the folder of two photos, one of them in a subfolder."""
    (photos / "in").mkdir()
    (photos / "b.png").rename(photos / "in" / "b.png")
    return photos


def test_a_folder_becomes_hierarchies_once(run, folder, tmp_path):
    out = tmp_path / "out"
    options = ("--workers", 1, "--superpixels", 9, "--format", "svg", "--overlays")
    first = run("batch", folder, out, *options)
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout == f"2 done of 2; written to {out}\n"
    assert supercuts.read(out / "in/b.npz").n_leaves == 9
    pictures = {f"in/b_{view}.png" for view in ("superpixels", "part", "object", "scene", "overview")}
    actual = {path.relative_to(out).as_posix() for path in out.rglob("b*")}
    assert actual == {"in/b.npz", "in/b.svg"} | pictures
    again = run("batch", folder, out, *options, "--json")
    assert (again.exit_code, again.json()) == (
        0, {"done": [], "unchanged": again.json()["unchanged"], "failures": [], "remaining": 0, "stopped": ""}
    )  # fmt: skip
    assert sorted(again.json()["unchanged"]) == ["a", "in/b"]


def test_failures_are_printed_and_the_exit_code_is_1(run, folder, tmp_path):
    (folder / "bad.png").write_bytes(b"no picture")
    result = run("batch", folder, tmp_path / "out", "--workers", 1, "--superpixels", 9)
    assert result.exit_code == 1
    assert result.stdout.startswith("2 done, 1 failed of 3;")
    assert "ImageError" in result.stderr
    assert "error: 1 of 3 images failed" in result.stderr
    listed = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert [entry["source"] for entry in listed] == [str(folder / "bad.png")]


def test_images_of_every_shape_and_georeferenced_ones_are_processed(run, tmp_path):
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()
    for shape in ((1, 40), (40, 1), (1, 1)):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(folder / f"{shape[0]}x{shape[1]}.png")
    Image.new("RGB", (30, 20), (9, 9, 9)).save(folder / "flat.png")
    values = rng.integers(1, 255, (3, 40, 50), np.uint8)
    values[:, :, :10] = 0
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 5e5, 0, -2, 5e6), "nodata": 0}
    profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 3, "dtype": "uint8", **place}
    with rasterio.open(folder / "map.tif", "w", **profile) as target:
        target.write(values)
    formats = [part for name in ("masks", "coco", "geojson", "svg", "html") for part in ("--format", name)]
    result = run("batch", folder, tmp_path / "out", "--workers", 1, "--overlays", *formats)
    assert (result.exit_code, result.stderr) == (0, "")
    h = supercuts.read(tmp_path / "out/map.npz")
    assert (h.labels[:, :10] < 0).all()
    assert h.georeference.crs == "EPSG:32633"
    assert supercuts.read(tmp_path / "out/1x1.npz").n_leaves == 1


def test_odd_names_are_processed_or_reported_once(run, folder, tmp_path):
    picture = (folder / "a.png").read_bytes()
    names = ("caf\udce9", "x" * 251, "-y", "[z]", "~")
    for name in names:
        (folder / f"{name}.png").write_bytes(picture)
    listing = tmp_path / "list.txt"
    listing.write_bytes(b"photos/caf\xe9.png\nphotos\\in\\b.png\nphotos/.x.png\nphotos/n\0l.png\n")
    options = ("--workers", 1, "--superpixels", 9, "--overlays")
    first = run("batch", folder, tmp_path / "out", *options)
    assert (first.exit_code, first.stdout.split(";")[0]) == (0, "7 done of 7")
    assert {name for name in names if (tmp_path / "out" / f"{name}.npz").is_file()} == {"caf\udce9", "-y", "[z]", "~"}
    again = run("batch", folder, tmp_path / "out", *options)
    assert again.stdout.startswith("0 done, 7 unchanged of 7;")
    result = run("batch", listing, tmp_path / "listed", *options)
    assert (result.exit_code, result.stdout.split(";")[0]) == (1, "2 done, 2 failed of 4")
    assert "is not usable as an output name" in (tmp_path / "listed" / "failures.json").read_text()
    assert {path.stem for path in tmp_path.glob("listed/**/*.npz")} == {"caf\udce9", "b"}


def test_a_second_batch_leaves_a_destination_as_it_is(run, folder, tmp_path):
    out = tmp_path / "out"
    with open_workspace(out) as workspace:
        (workspace.stage / "half").write_text("written")
        before = sorted(out.rglob("*"))
        result = run("batch", folder, out, "--workers", 1, "--superpixels", 9)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "another batch is writing to it. Wait for it, or give another folder." in result.stderr
        assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "jpg"), "--format='jpg' is unknown"),
        (("--engine", "spark"), "--engine 'spark' is unknown"),
        (("--merging", "no"), "--merging 'no' is unknown"),
        (("--model", "no"), "--model 'no' is unknown"),
    ],
)
def test_wrong_options_are_refused_before_any_work(run, folder, tmp_path, options, message):
    result = run("batch", folder, tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_destination_must_be_a_folder(run, folder, tmp_path):
    result = run("batch", folder, "s3://bucket/out")
    assert result.exit_code == 2
    assert "is not a folder on this machine" in result.stderr


def test_two_sources_of_one_name_are_refused(run, folder, tmp_path):
    Image.new("RGB", (4, 4)).save(folder / "a.bmp")
    result = run("batch", folder, tmp_path / "out")
    assert result.exit_code == 2
    assert "would both be written as a." in result.stderr


@pytest.mark.parametrize(
    ("function", "progress"),
    [("batch.run.Engine.run", "with 2 images left"), ("cli.batch.find_sources", "before the first image")],
)
def test_an_interrupted_batch_exits_with_130(run, folder, tmp_path, monkeypatch, function, progress):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"supercuts.{function}", interrupt)
    result = run("batch", folder, tmp_path / "out")
    assert result.exit_code == 130
    assert f"note: stopped {progress}; run the same command to resume" in result.stderr


def test_a_batch_that_was_stopped_exits_with_1(run, folder, tmp_path, monkeypatch):
    from supercuts.batch.run import Engine
    from supercuts.batch.sources import Result

    monkeypatch.setattr(Engine, "run", lambda *_: iter([Result(0, "full", message="No space left on device")]))
    result = run("batch", folder, tmp_path / "out")
    assert result.exit_code == 1
    assert "nothing more can be written (No space left on device). Free space" in result.stderr
    assert "2 of 2 images are left" in result.stderr
