import dataclasses
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

import supercuts
from supercuts.cli.main import app
from supercuts.cli.segment import find_images, name_outputs
from supercuts.core.errors import InputError
from supercuts.hierarchy.tree import Hierarchy

EXAMPLES = Path(__file__).parents[2] / "examples"
WEIGHTS = Path(supercuts.__file__).parent / "weights"
needs_model = pytest.mark.skipif(
    importlib.util.find_spec("supercuts.model") is None or not any(WEIGHTS.glob("*.safetensors")),
    reason="the compact model is not there yet",
)
VIEWS = ("superpixels", "part", "object", "scene", "overview")


def files_of(*names):
    pages = sorted(f"{name}{suffix}" for name in names for suffix in (".html", ".npz"))
    return pages + sorted(f"{name}_{view}.png" for name in names for view in VIEWS)


def files_in(folder):
    return sorted((path.name for path in folder.iterdir()), key=lambda name: (name.endswith(".png"), name))


def test_a_folder_becomes_hierarchies_and_pictures(run, quarters, photos, tmp_path):
    result = run("segment", photos, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert files_in(tmp_path / "out") == files_of("a", "b")
    np.testing.assert_array_equal(supercuts.read(tmp_path / "out/a.npz").labels[::23, ::31], [[0, 1], [2, 3]])
    assert [line.split() for line in result.stdout.splitlines() if "32x24" in line][1][1::2][:6] == [
        "b", "32x24", "4", "2", "3", "4"
    ]  # fmt: skip


def test_overlays_show_the_boundaries_of_their_level(run, quarters, photos, tmp_path):
    run("segment", photos / "a.png", "-o", tmp_path)
    photo = supercuts.read_image(photos / "a.png")
    changed = {view: (supercuts.read_image(tmp_path / f"a_{view}.png") != photo).any(axis=2) for view in VIEWS[:4]}
    assert all(changed[view][:, 15:17].all() for view in changed)  # left and right stay apart up to .75
    # rows 11 and 12 touch; columns far from the middle line: left quarters merge at .25, right ones at .5
    at_left, at_right = np.s_[11:13, :10], np.s_[11:13, 22:]
    assert {view: (bool(c[at_left].any()), bool(c[at_right].any())) for view, c in changed.items()} == {
        "superpixels": (True, True), "part": (True, True), "object": (False, True), "scene": (False, False)
    }  # fmt: skip


def test_json_is_all_there_is_on_stdout(run, quarters, photos, tmp_path):
    out = tmp_path / "out"
    result = run("segment", photos / "a.png", tmp_path / "no.png", "-o", out, "--no-overlays", "--no-viewer", "--json")
    assert result.exit_code == 1
    done, failed = result.json()["images"]
    assert done.pop("seconds") >= 0
    assert done == {
        "image": str(photos / "a.png"), "name": "a", "outputs": [str(out / "a.npz")], "superpixels": 4,
        "regions": {"scene": 2, "object": 3, "part": 4}, "height": 24, "width": 32,
    }  # fmt: skip
    assert failed.keys() == {"image", "name", "error"}
    assert "no such file" in failed["error"]


def piped(data, *options):
    return CliRunner().invoke(app, ["segment", "-", *map(str, options)], input=data)


def test_standard_input_becomes_one_document(quarters, photos):
    result = piped((photos / "a.png").read_bytes(), "--json", "--superpixels", 4)
    assert (result.exit_code, result.stderr, quarters.asked) == (0, "", [4])
    document = json.loads(result.stdout)
    labels = np.repeat(document["labels"]["values"], document["labels"]["lengths"])
    h = quarters.segment(photos / "a.png")
    np.testing.assert_array_equal(labels.reshape(document["height"], document["width"]), h.labels)
    assert document["parents"] == h.parents.tolist()
    assert document["altitudes"] == h.altitudes.tolist()
    assert (document["superpixels"], document["levels"], document["georeference"]) == (4, quarters.levels, None)


def test_standard_input_becomes_the_bytes_of_a_hierarchy(quarters, photos, tmp_path):
    result = piped((photos / "a.png").read_bytes())
    (tmp_path / "piped.npz").write_bytes(result.stdout_bytes)
    np.testing.assert_array_equal(supercuts.read(tmp_path / "piped.npz").labels[::23, ::31], [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("data", "options", "code", "message"),
    [
        (b"", ["--json"], 1, "error: standard input is empty. Send an image"),
        (b"no image", ["--json"], 1, "error: standard input: "),
        (b"", ["--out", "here"], 2, "error: - is written to standard output: leave out --out,"),
    ],
)
def test_standard_input_that_cannot_be_segmented_is_one_error(quarters, data, options, code, message):
    result = piped(data, *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(message)
    assert len(result.stderr.splitlines()) == 1


def test_files_need_a_folder_to_write_to(run, quarters, photos):
    result = run("segment", photos / "a.png")
    assert (result.exit_code, result.stderr) == (
        2, "error: --out is missing. Give the folder to write to, or - for one image from standard input.\n"
    )  # fmt: skip


def test_the_viewer_is_that_of_the_hierarchy(run, quarters, photos, tmp_path):
    run("segment", photos / "a.png", "-o", tmp_path / "out", "--no-overlays")
    assert files_in(tmp_path / "out") == ["a.html", "a.npz"]
    supercuts.read(tmp_path / "out/a.npz").export(tmp_path / "a.html", format="html")
    assert (tmp_path / "out/a.html").read_bytes() == (tmp_path / "a.html").read_bytes()


def test_superpixels_reach_the_model(run, quarters, photos, tmp_path):
    run("segment", photos, "-o", tmp_path / "out", "--superpixels", 7)
    assert quarters.asked == [7, 7]


def test_levels_are_printed_only_where_they_are(run, quarters, photos, tmp_path):
    quarters.levels = {}
    options = ("--no-overlays", "--no-viewer")
    result = run("segment", photos / "a.png", "-o", tmp_path / "out", *options, "--json")
    assert "regions" not in result.json()["images"][0]
    result = run("segment", photos / "a.png", "-o", tmp_path / "out", *options)
    assert not {"scene", "object", "part"} & set(result.stdout.split())
    quarters.levels = {"object": 0.3}
    assert {"object"} == {"scene", "object", "part"} & set(
        run("segment", photos / "a.png", "-o", tmp_path / "out", *options).stdout.split()
    )


def test_images_without_the_levels_of_the_model_get_a_note(run, quarters, photos, tmp_path, monkeypatch):
    segment = quarters.segment
    monkeypatch.setattr(
        quarters, "segment", lambda *images, **options: dataclasses.replace(segment(*images, **options), levels={})
    )
    result = run("segment", photos / "a.png", "-o", tmp_path / "out", "--no-overlays", "--no-viewer")
    assert result.stderr.startswith(f"note: {photos / 'a.png'}: no scene, object and part: they are calibrated for")
    assert "rio stack FILE --bidx 4,3,2 -o THREE.tif" in result.stderr


@pytest.mark.parametrize("asked", [[], ["--overlays"]])
def test_large_images_are_drawn_only_on_request(run, quarters, photos, tmp_path, monkeypatch, asked):
    monkeypatch.setattr("supercuts.cli.segment._MOST_DRAWN", 24 * 32 - 1)
    result = run("segment", photos / "a.png", "-o", tmp_path / "out", *asked)
    note = f"note: {photos / 'a.png'}: no pictures of 0 megapixels are drawn; --overlays draws them\n"
    assert (result.exit_code, result.stderr) == (0, "" if asked else note)
    assert files_in(tmp_path / "out") == (files_of("a") if asked else ["a.html", "a.npz"])
    monkeypatch.setattr("supercuts.cli.segment._MOST_DRAWN", 24 * 32)
    assert run("segment", photos / "a.png", "-o", tmp_path / "out").stderr == ""
    assert files_in(tmp_path / "out") == files_of("a")


def test_subfolders_are_kept_and_own_pictures_left_out(run, quarters, photos, tmp_path):
    (photos / "in").mkdir()
    (photos / "b.png").rename(photos / "in/b.png")
    (photos / "in/c.png").write_bytes((photos / "a.png").read_bytes())
    first = run("segment", photos, "-o", photos, "--json")
    assert (first.exit_code, first.stderr) == (0, "")
    images = {document["image"]: document["name"] for document in first.json()["images"]}
    assert images == {str(photos / f"{name}.png"): name for name in ("a", "in/b", "in/c")}
    assert (photos / "in/b_part.png").is_file()
    again = run("segment", photos, "-o", photos, "--no-viewer", "--json")
    assert {document["image"]: document["name"] for document in again.json()["images"]} == images
    assert again.stderr.endswith(
        "a_object.png and 14 more like it are left out: written by SuperCuts, not a photograph.\n"
    )
    by_shell = run("segment", *sorted(photos.glob("[!.]*.png")), "-o", tmp_path / "out", "--no-viewer", "--json")
    assert [document["name"] for document in by_shell.json()["images"]] == ["a"]
    alone = run("segment", photos / "a_part.png", "-o", tmp_path / "out", "--no-viewer", "--json")
    assert [document["name"] for document in alone.json()["images"]] == ["a_part"]
    (photos / "a.png").unlink()
    shutil.rmtree(photos / "in")
    nothing = run("segment", photos, "-o", tmp_path / "out")
    assert nothing.exit_code == 2
    assert "4 more like it are left out" in nothing.stderr
    assert f"error: {photos} holds no image" in nothing.stderr


def test_resume_leaves_finished_images_out(run, quarters, photos, tmp_path):
    run("segment", photos / "a.png", "-o", tmp_path / "out", "--superpixels", 1)
    before = (tmp_path / "out/a.npz").stat().st_mtime_ns
    result = run("segment", photos, "-o", tmp_path / "out", "--superpixels", 2, "--resume", "--json")
    assert [document["name"] for document in result.json()["images"]] == ["b"]
    assert result.stderr == "note: 1 of 2 images were already finished and are left unchanged\n"
    assert (tmp_path / "out/a.npz").stat().st_mtime_ns == before
    assert quarters.asked == [1, 2]


def test_ctrl_c_tells_how_to_go_on(run, quarters, photos, tmp_path, monkeypatch):
    segment = quarters.segment

    def interrupted(image, **options):
        if image.name == "b.png":
            signal.raise_signal(signal.SIGINT)
        return segment(image, **options)

    monkeypatch.setattr(quarters, "segment", interrupted)
    result = run("segment", photos, "-o", tmp_path / "out", "--no-overlays", "--no-viewer")
    assert result.exit_code == 130
    remedy = f"1 of 2 images are done, in {tmp_path / 'out'}; the same command with --resume does the others"
    assert result.stderr == f"note: stopped by SIGINT; {remedy}\n"


def test_equal_stems_get_distinct_names_and_a_note(run, quarters, photos, tmp_path):
    (tmp_path / "more").mkdir()
    other = tmp_path / "more" / "a.bmp"
    Image.new("RGB", (6, 4)).save(other)
    result = run("segment", photos / "a.png", other, "-o", tmp_path / "out", "--no-overlays", "--no-viewer")
    assert files_in(tmp_path / "out") == ["a.npz", "a_2.npz"]
    assert supercuts.read(tmp_path / "out/a_2.npz").shape == (4, 6)
    assert result.stderr == f"note: {other}: another image is called a; the outputs of this one are named a_2\n"


def test_name_outputs_never_collide():
    paths = [Path(name) for name in ("1/x.png", "2/X.png", "x_2.png", "3/x.png", "4/x_2.png")]
    names = list(name_outputs(paths).values())
    assert names == ["x", "X_3", "x_2", "x_4", "x_2_2"]


def test_find_images_expands_folders_and_globs_once(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bracketed = tmp_path / "c[1].png"
    bracketed.touch()
    actual = find_images([Path("photos/b.png"), tmp_path / "photos", Path("phot*/?.png"), bracketed])
    assert actual == [Path("photos/b.png"), photos / "a.png", bracketed]


def test_find_images_refuses_folders_without_images(tmp_path):
    with pytest.raises(InputError, match=r"holds no image \(\.avif .*Give a folder of images or single files"):
        find_images([tmp_path])
    with pytest.raises(InputError, match=r"\*\.jpg matches no file\. Check the pattern"):
        find_images([tmp_path / "*.jpg"])


def test_an_input_is_never_overwritten(run, quarters, photos):
    (photos / "a_part.png").write_bytes((photos / "b.png").read_bytes())
    before = {path: path.read_bytes() for path in photos.iterdir()}
    result = run("segment", photos, "-o", photos)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {photos / 'a_part.png'} would be overwritten by an output")
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_an_out_that_is_a_file_is_refused(run, quarters, photos):
    result = run("segment", photos, "-o", photos / "notes.txt")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: --out {photos / 'notes.txt'} cannot be created (File exists).")


def test_a_folder_is_not_created_under_the_name_of_a_file(run, quarters, photos, tmp_path):
    result = run("segment", str(photos / "a.png"), "-o", str(tmp_path / "new" / "a.npz"))
    assert result.exit_code == 2
    message = (
        f"error: --out {tmp_path}/new/a.npz is the folder to write to, but has a file's name. Give {tmp_path}/new/a."
    )
    assert " ".join(result.stderr.split()) == message
    assert not (tmp_path / "new").exists()
    (tmp_path / "b.npz").mkdir()
    assert run("segment", str(photos / "a.png"), "-o", str(tmp_path / "b.npz")).exit_code == 0


def check_a_bad_file_among_good_ones(run, photos, out):
    bad = photos / "aa.png"
    bad.write_bytes((photos / "a.png").read_bytes()[:60])
    result = run("segment", photos, "-o", out)
    assert result.exit_code == 1
    *reasons, summary = result.stderr.splitlines()
    assert [reason.startswith(f"error: {bad}: ") for reason in reasons] == [True]
    assert summary == "error: 1 of 3 images failed"
    assert files_in(out) == files_of("a", "b"), "the others are written, nothing partial is left"


def test_a_bad_file_does_not_stop_the_others(run, quarters, photos, tmp_path):
    check_a_bad_file_among_good_ones(run, photos, tmp_path / "out")


def test_a_failure_while_writing_leaves_nothing(run, quarters, photos, tmp_path, monkeypatch):
    def fail(*_):
        raise supercuts.ImageError("the picture is odd")

    monkeypatch.setattr("supercuts.images.io.write_png", fail)
    result = run("segment", photos / "a.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {photos / 'a.png'}: the picture is odd\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bug_propagates_and_leaves_nothing(run, quarters, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Hierarchy, "ucm", lambda self: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run("segment", photos / "a.png", "-o", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_picture_of_a_single_pixel(run, quarters, tmp_path, monkeypatch):
    one = Hierarchy(
        labels=np.zeros((1, 1), np.int32),
        parents=np.zeros(1, np.int32),
        altitudes=np.zeros(1, np.float32),
        embeddings=np.zeros((1, 0), np.float32),
        image=np.zeros((1, 1, 3), np.uint8),
    )
    monkeypatch.setattr(quarters, "segment", lambda image, superpixels: one)
    Image.fromarray(one.image).save(tmp_path / "dot.png")
    result = run("segment", tmp_path / "dot.png", "-o", tmp_path / "out", "--json")
    assert result.json()["images"][0]["superpixels"] == 1
    assert files_in(tmp_path / "out") == files_of("dot")


@needs_model
def test_compact_model_from_image_to_cut(run, photos, tmp_path):
    result = run("segment", photos / "a.png", "-o", tmp_path / "out", "--superpixels", 12, "--json")
    assert result.exit_code == 0
    report = result.json()["images"][0]
    assert report["superpixels"] == 12
    assert 1 <= report["regions"]["scene"] <= report["regions"]["object"] <= report["regions"]["part"] <= 12
    assert run("cut", tmp_path / "out/a.npz", "--regions", 2, "-o", tmp_path / "two.png").exit_code == 0
    with Image.open(tmp_path / "two.png") as image:
        assert np.unique(np.asarray(image)).tolist() == [0, 1]


@needs_model
def test_compact_model_continues_after_a_bad_file(run, photos, tmp_path):
    check_a_bad_file_among_good_ones(run, photos, tmp_path / "out")


@needs_model
def test_an_unknown_model_is_refused(run, photos, tmp_path):
    result = run("segment", photos, "-o", tmp_path / "out", "--model", "no_such_model")
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("error: ")
    assert "no_such_model" in result.stderr


@needs_model
def test_masks_tiles_and_bands_reach_the_model(run, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 5), dtype=np.uint8)
    np.save(tmp_path / "scene.npy", image)
    mask = np.full((40, 50), 255, np.uint8)
    mask[:10] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = ["--tile", "32", "--mask", tmp_path / "mask.png", "--bands", "5,4,3", "--superpixels", "9"]
    result = run("segment", tmp_path / "scene.npy", "-o", tmp_path / "out", *options)
    assert (result.exit_code, "no viewer is written" in result.stderr) == (0, False)
    assert files_in(tmp_path / "out") == files_of("scene")
    h = supercuts.read(tmp_path / "out" / "scene.npz")
    np.testing.assert_array_equal(h.labels >= 0, mask > 0)
    np.testing.assert_array_equal(h.image, image[..., [4, 3, 2]])
    expected = supercuts.load("compact", engine="quick").segment(image, 9, mask=mask > 0, bands=(5, 4, 3))
    np.testing.assert_array_equal(h.labels, expected.labels)


@needs_model
def test_priors_are_reported(run, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    boxes = [{"image_id": 1, "bbox": box, "score": 0.9} for box in ([5, 5, 20, 20], [15, 5, 20, 20], [30, 30, 9, 9])]
    document = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": boxes}
    (tmp_path / "found.json").write_text(json.dumps(document))
    options = ["--superpixels", "30", "--priors", tmp_path / "found.json", "--no-overlays", "--no-viewer", "--json"]
    result = run("segment", tmp_path / "a.png", "-o", tmp_path / "out", *options)
    assert result.exit_code == 0
    (report,) = result.json()["images"]
    assert report["priors"] == supercuts.report_priors(supercuts.read(tmp_path / "out/a.npz"), document).to_dict()
    assert report["priors"]["crosses"] == [-1, 0, -1]
    assert "2 of 3 priors are regions of the tree" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bands", "4,x"], "is not a list of whole numbers"),
        (["--mask", "mask.png"], "--mask is for one image, but 2 are given"),
        (["--priors", "mask.png"], "--priors mask.png is for one image, but 2 are given. Give a COCO file of all"),
        (["--axes", "XY"], "--axes 'XY' is unknown. Choose one of: HW, HWC, CHW"),
        (["--stretch", "gamma"], "--stretch 'gamma' is unknown. Choose one of: none, percentile, minmax"),
    ],
)
def test_options_that_cannot_be_are_refused(run, quarters, photos, tmp_path, options, message):
    result = run("segment", photos, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr


@needs_model
def test_reading_options_are_applied_and_noted_in_one_line(run, tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (2, 24, 32), dtype=np.uint16)
    np.save(tmp_path / "a.npy", values)
    options = ["--superpixels", "9", "--no-viewer", "--no-overlays"]
    result = run("segment", tmp_path / "a.npy", "-o", tmp_path / "out", *options)
    assert result.exit_code == 1
    assert "or --axes CHW;" in result.stderr
    result = run("segment", tmp_path / "a.npy", "-o", tmp_path / "out", *options, "--axes", "chw", "--bands", "1,2,1")
    assert result.exit_code == 1
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata={"axes": "ZYX"}, imagej=True)
    result = run("segment", tmp_path / "a.tif", "-o", tmp_path / "out", *options)
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines)) == (0, 2)
    assert all(line.startswith("note: ") for line in lines)
    assert "holds 2 depths; the first of 2 is read" in lines[0]
    assert "stretched" in lines[1]
    result = run("segment", tmp_path / "a.tif", "-o", tmp_path / "out", *options, "--page", "2", "--stretch", "minmax")
    assert (result.exit_code, result.stderr) == (0, "")
    expected = supercuts.load("compact", engine="quick").segment(tmp_path / "a.tif", 9, page=2, stretch="minmax")
    np.testing.assert_array_equal(supercuts.read(tmp_path / "out" / "a.npz").labels, expected.labels)


@needs_model
def test_an_image_unlike_photographs_is_refined_on_request(run, tmp_path):
    rng = np.random.default_rng(0)
    noisy = 110 + 30 * (np.indices((64, 64)).sum(axis=0) // 24 % 2) + rng.normal(0, 30, (64, 64))
    path, out = tmp_path / "grains.png", tmp_path / "out"
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    options = ["segment", path, "-o", out, "--no-viewer", "--no-overlays"]
    note = f"note: {path}: is unlike the photographs that the network learned from; --refiner sp may be better\n"
    assert run(*options).stderr == note
    assert run(*options, "--superpixels", "300").stderr == ""
    assert run(*options, "--refiner", "sp").stderr == ""
    refined = supercuts.load("compact", engine="quick").segment(path, refiner="sp")
    np.testing.assert_array_equal(supercuts.read(out / "grains.npz").labels, refined.labels)
    refused = run(*options, "--refiner", "crf")
    assert refused.exit_code == 2
    assert "'crf' is not one of 'sp', 'st'" in refused.stderr


@needs_model
def test_bands_that_show_what_the_network_does_not_see_are_noted(run, tmp_path):
    rng = np.random.default_rng(0)
    fields = 40 * (np.indices((64, 64)).sum(axis=0) // 24 % 2)[..., None]
    grey = 110 + rng.normal(0, 5, (64, 64, 3))
    bands = np.concatenate([grey, 90 + fields + rng.normal(0, 20, (64, 64, 5))], axis=2).clip(0, 255).astype(np.uint8)
    photo = np.concatenate(
        [np.asarray(Image.open(EXAMPLES / "photo.jpg").convert("RGB").resize((128, 96)))] * 2, axis=2
    )
    paths = [tmp_path / "fields.npy", tmp_path / "photo.npy"]
    for path, array in zip(paths, [bands, photo], strict=True):
        np.save(path, array)
    stderr = run("segment", *paths, "-o", tmp_path / "out", "--bands", "1,2,3", "--no-viewer", "--no-overlays").stderr
    assert f"{paths[0]}: is unlike the photographs that the network learned from" in stderr
    assert f"{paths[1]}: is unlike" not in stderr


IMPORTED = """
import sys
sys.argv = ["supercuts", "segment", {photo!r}, "-o", {out!r}]
try:
    __import__("supercuts.cli.main").cli.main.app()
except SystemExit as done:
    assert not done.code, done.code
print(*sys.modules)
"""


def test_a_photograph_needs_few_imports(tmp_path):
    code = IMPORTED.format(photo=str(EXAMPLES / "photo.jpg"), out=str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = done.stdout.splitlines()[-1].split()
    slow = {"torch", "torchvision", "timm", "torch_geometric", "lightning", "skimage", "sklearn", "networkx", "pandas"}
    slow |= {"matplotlib", "rasterio", "tifffile", "imagecodecs", "onnx", "joblib", "fsspec"}
    assert not slow & set(modules)
    assert not {"scipy.linalg", "scipy.sparse", "scipy.special", "scipy.ndimage"} & set(modules)
    own_tools = ("coverage", "_pytest")  # numba imports coverage where it is installed
    assert len([name for name in modules if not name.startswith(own_tools)]) < 1050
