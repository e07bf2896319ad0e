import json
import re
import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image

import supercuts
from supercuts.export import html_viewer
from supercuts.export.export_formats import FORMATS
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.formats.array_files import read_variables
from supercuts.images.georeference import Georeference
from supercuts.networks.network import weights_path


def quarter_labels(rows):
    return np.array(rows).repeat(12, axis=0).repeat(16, axis=1)


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        (["--regions", "4"], [[0, 1], [2, 3]]),
        (["--regions", "3"], [[0, 1], [0, 2]]),
        (["--level", "object"], [[0, 1], [0, 2]]),
        (["--altitude", "0.5"], [[0, 1], [0, 1]]),
        (["--granularity", "0"], [[0, 0], [0, 0]]),
        (["--spectral", "4"], [[0, 1], [2, 3]]),
        (["--spectral", "1"], [[0, 0], [0, 0]]),
        (["--regions", "4", "--min-area", "193"], [[0, 1], [0, 1]]),  # a quarter has 192 pixels
    ],
)
def test_labels_are_those_of_the_cut(run, saved, tmp_path, how, rows):
    result = run("cut", saved, *how, "-o", tmp_path / "labels.png")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'labels.png'}: {np.max(rows) + 1} regions, 32x24 pixels\n"
    with Image.open(tmp_path / "labels.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), quarter_labels(rows))


def test_overlay_and_json(run, saved, tmp_path):
    out, overlay = tmp_path / "labels.png", tmp_path / "overlay.png"
    result = run("cut", saved, "--regions", 2, "-o", out, "--overlay", overlay, "--json")
    assert result.json() == {
        "file": str(saved), "labels": str(out), "overlay": str(overlay), "regions": 2, "height": 24, "width": 32
    }  # fmt: skip
    changed = (supercuts.read_image(overlay) != supercuts.read(saved).image).any(axis=2)
    assert changed[:, 15:17].all()
    assert not changed[:, :10].any()


def refused(run, tmp_path, *arguments):
    before = sorted(tmp_path.rglob("*"))
    result = run("cut", *arguments)
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before, "a refused cut writes nothing"
    return result.exit_code, result.stderr


@pytest.mark.parametrize("how", [[], ["--regions", "2", "--level", "part"]])
def test_exactly_one_granularity(run, saved, tmp_path, how):
    code, message = refused(run, tmp_path, saved, *how, "-o", tmp_path / "x.png")
    assert code == 2
    assert message.startswith(
        "error: A cut takes exactly one of --regions, --level, --altitude, --granularity, --spectral; got "
    )


def test_a_bad_value_is_a_usage_error(run, saved, tmp_path):
    code, message = refused(run, tmp_path, saved, "--regions", 5, "-o", tmp_path / "x.png")
    assert code == 2
    assert message.startswith("error: --regions 5 is outside 1..4. The tree has 4 leaves: ask for fewer regions")


def test_output_names_are_checked_first(run, saved, tmp_path):
    code, message = refused(run, tmp_path, saved, "--regions", 2, "-o", tmp_path / "x.tif")
    assert (code, message) == (2, f"error: --out {tmp_path}/x.tif does not end in .png. Name it {tmp_path}/x.png.\n")
    out = tmp_path / "x.png"
    code, message = refused(run, tmp_path, saved, "--regions", 2, "-o", out, "--overlay", out)
    assert (code, message) == (2, f"error: --out and --overlay are both {out}. Give the overlay another name.\n")


def test_an_overlay_needs_the_photo(run, saved, tmp_path):
    bare = tmp_path / "bare.npz"
    supercuts.read(saved).save(bare, image=False)
    code, message = refused(
        run, tmp_path, bare, "--regions", 2, "-o", tmp_path / "x.png", "--overlay", tmp_path / "y.png"
    )
    assert code == 2
    assert message.startswith(f"error: {bare} holds no photo to draw on. Leave out --overlay")


def test_a_damaged_file_fails(run, tmp_path):
    path = tmp_path / "damaged.npz"
    path.write_bytes(b"PK damaged")
    code, message = refused(run, tmp_path, path, "--regions", 2, "-o", tmp_path / "x.png")
    assert code == 1
    assert message.startswith(f"error: {path} is not a complete .npz (zip) file")


@pytest.fixture
def opened(monkeypatch):
    pages = []
    monkeypatch.setattr(html_viewer.webbrowser, "open", pages.append)
    return pages


def payload_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="payload" type="application/json">(.*?)</script>', text).group(1))


def test_a_page_is_written_and_opened(run, saved, tmp_path, opened):
    out = tmp_path / "page.html"
    result = run("view", saved, "-o", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}: viewer of {saved}\n")
    assert opened == [out.as_uri()]
    payload = payload_of(out)
    assert (payload["name"], payload["height"], payload["width"]) == ("page", 24, 32)
    assert payload["levels"] == {"scene": 0.6, "object": 0.3, "part": 0.1}
    assert payload["image"].startswith("data:image/jpeg;base64,")


def test_an_image_is_segmented_first(run, quarters, photos, tmp_path, opened):
    out = tmp_path / "page.html"
    result = run("view", photos / "a.png", "-o", out, "--no-open", "--superpixels", 4)
    assert result.exit_code == 0
    assert (opened, quarters.asked) == ([], [4])
    assert payload_of(out)["width"] == 32


def test_without_out_the_page_is_temporary(run, saved, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(html_viewer.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    assert run("view", saved).exit_code == 0
    assert opened == [(tmp_path / "saved.html").as_uri()]
    assert payload_of(tmp_path / "saved.html")["name"] == "saved"


def test_a_folder_gives_linked_pages_and_a_contact_sheet(run, saved, tmp_path, opened):
    folder, out = tmp_path / "in", tmp_path / "pages"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.npz", "deep/a.npz", "index.npz"):
        shutil.copy(saved, folder / name)
    result = run("view", folder, "-o", out)
    assert (result.exit_code, result.stdout) == (0, f"{out / 'index.html'}: viewers of 3 images in {folder}\n")
    assert opened == [(out / "index.html").as_uri()]
    assert sorted(path.name for path in out.iterdir()) == ["a.html", "a_2.html", "index.html", "index_2.html"]
    assert payload_of(out / "a_2.html")["links"] == {
        "previous": "a.html", "next": "index_2.html", "all": "index.html", "position": "2 of 3"
    }  # fmt: skip
    assert (out / "index.html").read_text().count("<li>") == 3
    result = run("view", folder, "-o", out)
    assert result.exit_code == 2
    assert "overwrite" in result.stderr
    result = run("view", folder, "--no-open")
    assert "Give --out FOLDER" in result.stderr


def test_images_of_a_folder_are_segmented(run, quarters, photos, tmp_path, opened):
    result = run("view", photos, "-o", tmp_path / "pages", "--no-open", "--superpixels", 4)
    assert result.exit_code == 0
    assert opened == []
    assert set(quarters.asked) == {4}
    assert (tmp_path / "pages" / "a.html").is_file()


def test_hierarchies_that_cannot_be_shown_are_refused(run, saved, tmp_path, opened):
    result = run("view", saved, "--no-open")
    assert (result.exit_code, result.stderr) == (
        2, "error: --no-open without --out would write a page and not show it. Give --out FILE.html.\n"
    )  # fmt: skip
    result = run("view", saved, "-o", tmp_path / "page.htm")
    assert result.exit_code == 2
    assert result.stderr.endswith(f"does not end in .html. Name it {tmp_path / 'page.html'}.\n")
    result = run("view", tmp_path / "none.npz")
    assert result.exit_code == 1
    assert "no such file" in result.stderr
    assert opened == []


def test_ucm_is_that_of_the_hierarchy(run, saved, tmp_path):
    result = run("export", saved, "--format", "ucm", "-o", tmp_path / "a.mat")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'a.mat'}: ucm of {saved}\n")
    ucm = scipy.io.loadmat(tmp_path / "a.mat")["ucm2"]
    assert ucm.shape == (49, 65)
    assert ucm[1, 32] == 0.75  # between the left and the right half
    assert ucm[24, 1] == 0.25  # between the left quarters


def test_npz_is_an_equal_hierarchy(run, saved, tmp_path):
    assert run("export", saved, "--format", "npz", "-o", tmp_path / "b.npz").exit_code == 0
    np.testing.assert_array_equal(supercuts.read(tmp_path / "b.npz").labels, supercuts.read(saved).labels)


def test_masks_are_one_per_region(run, saved, tmp_path):
    assert run("export", saved, "--format", "masks", "-o", tmp_path / "masks").exit_code == 0
    index = json.loads((tmp_path / "masks" / "index.json").read_text())
    assert [mask["level"] for mask in index["masks"]] == ["scene"] * 2 + ["object"] * 3 + ["part"] * 4


def test_a_cut_can_be_named(run, saved, tmp_path):
    assert run("export", saved, "--format", "labels", "--regions", 3, "-o", tmp_path / "a.png").exit_code == 0
    labels = np.array(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(labels, supercuts.read(saved).cut(regions=3))


def test_every_node_and_like_reach_the_writer(run, saved, tmp_path):
    assert run("export", saved, "--format", "geojson", "--every-node", "-o", tmp_path / "a.json").exit_code == 0
    assert len(json.loads((tmp_path / "a.json").read_text())["features"]) == 7
    result = run("export", saved, "--format", "svg", "--like", "scene.tif", "-o", tmp_path / "a.svg")
    assert (result.exit_code, result.stderr) == (2, "error: --format 'svg' does not take like: leave it out.\n")


def test_existing_files_are_replaced_with_overwrite_only(run, saved, tmp_path):
    out = tmp_path / "a.svg"
    out.write_text("mine")
    result = run("export", saved, "--format", "svg", "-o", out)
    assert result.exit_code == 2
    assert result.stderr == f"error: {out} exists: choose another path, or replace it with --overwrite.\n"
    assert out.read_text() == "mine"
    assert run("export", saved, "--format", "svg", "-o", out, "--overwrite").exit_code == 0
    assert out.read_text().startswith("<svg")


def test_a_path_that_cannot_be_written_is_an_error_line(run, saved, tmp_path):
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "a.svg"
    result = run("export", saved, "--format", "svg", "-o", out)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {out} cannot be written (")
    assert result.stderr.endswith("Give a writable path with free space.\n")


def test_help_names_every_format(run):
    help_text = run("export", "--help").stdout
    assert [name for name in FORMATS if name not in help_text] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "docx", "-o", "a"], "--format='docx' is unknown. Choose one of: npz, ucm, labels"),
        (["--format", "ucm", "-o", "a.txt"], "suffix of a contour map file='.txt' is unknown. Choose one of: .npy"),
    ],
)
def test_refusals(run, saved, arguments, message):
    result = run("export", saved, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message}")


def test_a_missing_file_fails(run, tmp_path):
    result = run("export", tmp_path / "no.npz", "--format", "npz", "-o", tmp_path / "b.npz")
    assert result.exit_code == 1
    assert "no such file" in result.stderr


def chain(labels, **more):
    """Return a hierarchy of leaves that merge one after the other."""
    n = int(labels.max()) + 1
    parents = [n + max(leaf - 1, 0) for leaf in range(n)] + [*range(n + 1, 2 * n - 1), 2 * n - 2] if n > 1 else [0]
    altitudes = np.concatenate([np.zeros(n), np.arange(1, n) / n]).astype(np.float32)
    image = np.random.default_rng(0).integers(0, 255, (*labels.shape, 3), dtype=np.uint8)
    return Hierarchy(
        labels, np.array(parents[: 2 * n - 1], np.int32), altitudes, np.zeros((n, 2), np.float32), image, **more
    )


GRID = (np.arange(24)[:, None] // 12 * 2 + np.arange(32) // 16).astype(np.int32)
LEVELS = {"scene": 0.9, "object": 0.6, "part": 0.2}
HIERARCHIES = {
    "whole": lambda: chain(GRID, levels=LEVELS),
    "masked": lambda: chain(np.where(np.arange(32) < 3, -1, GRID).astype(np.int32), levels=LEVELS),
    "edited": lambda: chain(GRID, levels=LEVELS).merge(0, 3).lock(1),
    "masked and edited": lambda: chain(np.where(np.arange(32) < 3, -1, GRID).astype(np.int32), levels=LEVELS).split(6),
    "georeferenced": lambda: chain(GRID, levels=LEVELS, georeference=Georeference((2, 0, 5, 0, -2, 7), "EPSG:32633")),
    "without reference system": lambda: chain(GRID, georeference=Georeference((2, 0, 5, 0, -2, 7))),
    "one leaf": lambda: chain(np.zeros((24, 32), np.int32), levels=LEVELS),
    "one masked leaf": lambda: chain(np.where(GRID == 0, -1, 0).astype(np.int32), levels=LEVELS),
    "one row": lambda: chain(GRID[:1] + np.int32(0), levels=LEVELS),
    "one column": lambda: chain(np.arange(9, dtype=np.int32)[:, None], levels=LEVELS),
    "one pixel": lambda: chain(np.zeros((1, 1), np.int32), levels=LEVELS),
    "without levels": lambda: chain(GRID),
}


@pytest.mark.parametrize("kind", HIERARCHIES)
def test_every_hierarchy_is_cut(run, tmp_path, kind):
    h = HIERARCHIES[kind]()
    file = tmp_path / "h.npz"
    h.save(file)
    n = min(2, h.n_leaves)
    assert run("cut", file, "--regions", n, "-o", tmp_path / "c.png", "--overlay", tmp_path / "o.png").exit_code == 0
    labels = read_variables(tmp_path / "c.png")["array"]
    np.testing.assert_array_equal(np.where(labels == 65535, -1, labels.astype(int)), h.cut(regions=n))
    assert run("cut", file, "--granularity", 1, "--start", 1, "-o", tmp_path / "d.png").exit_code == 0
    np.testing.assert_array_equal(read_variables(tmp_path / "d.png")["array"], h.cut(granularity=1) + 1)


@pytest.mark.parametrize("kind", HIERARCHIES)
def test_every_hierarchy_is_viewed_and_exported(run, tmp_path, kind):
    h = HIERARCHIES[kind]()
    file = tmp_path / "h.npz"
    h.save(file)
    assert run("view", file, "--no-open", "-o", tmp_path / "v.html").exit_code == 0
    refused = {name for name, why in (("geotiff", h.georeference is None), ("linkage", h.n_leaves == 1)) if why}
    refused |= set() if h.levels else {"masks"}
    for name, format in FORMATS.items():
        result = run("export", file, "--format", name, "-o", tmp_path / f"h{format.suffix}.x{format.suffix}")
        assert result.exit_code == (2 if name in refused else 0), (name, result.stderr)
        assert (name in refused) == result.stderr.startswith("error: ")


@pytest.mark.parametrize("kind", HIERARCHIES)
def test_every_hierarchy_has_objects_parts_and_scores(run, tmp_path, kind):
    h = HIERARCHIES[kind]()
    h.save(tmp_path / "results/1.npz")
    for command in ("objects", "parts"):
        result = run(command, tmp_path / "results/1.npz", "-o", tmp_path / "out", "--json")
        assert result.exit_code == 0, result.stderr
        labels = read_variables(tmp_path / f"out/1_{command}.png")["array"]
        assert labels.shape == h.shape
        assert not labels[h.labels < 0].any()
    data = tmp_path / "data/BSDS500/data"
    for folder in ("images/val", "groundTruth/val"):
        (data / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((*h.shape, 3), np.uint8)).save(data / "images/val/1.jpg")
    cells = np.empty((1, 1), object)
    truth = np.indices(h.shape).sum(axis=0) // 20
    cells[0, 0] = {"Segmentation": (truth + 1).astype(np.uint16), "Boundaries": np.zeros(h.shape, np.uint8)}
    scipy.io.savemat(data / "groundTruth/val/1.mat", {"groundTruth": cells})
    for what in ("superpixels", "hierarchy"):
        options = ("--data", tmp_path / "data", "--results", tmp_path / "results", "--workers", 1, "--json")
        result = run("evaluate", what, *options)
        assert result.exit_code == 0, result.stderr
        assert result.json()["methods"][0]["n_scored"] == 1


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("cut {saved} --regions 2 -o {out}/a.png", "a.png"),
        ("cut {saved} --regions 2 -o {out}/a.png --overlay {out}/b.png", "b.png"),
        ("view {saved} --no-open -o {out}/a.html", "a.html"),
        ("export {saved} -o {out}/a.svg", "a.svg"),
    ],
)
def test_every_command_replaces_a_file_only_with_overwrite(run, saved, tmp_path, command, name):
    arguments = command.format(saved=saved, out=tmp_path).split()
    (tmp_path / name).write_text("mine")
    result = run(*arguments)
    assert result.exit_code == 2
    assert "exists: choose another path, or replace it with --overwrite" in result.stderr
    assert (tmp_path / name).read_text() == "mine"
    assert run(*arguments, "--overwrite").exit_code == 0
    assert (tmp_path / name).read_bytes() != b"mine"


def test_force_still_replaces_with_a_note(run, saved, tmp_path):
    (tmp_path / "a.svg").write_text("mine")
    result = run("export", saved, "-o", tmp_path / "a.svg", "--force")
    assert (result.exit_code, result.stderr) == (0, "note: --force is now --overwrite: use that name.\n")


def test_the_help_of_export_names_every_format(run):
    words = re.findall(r"[\w-]+", run("export", "--help").stdout)
    assert set(FORMATS) <= set(words)


def test_a_session_of_the_viewer_is_exported_as_edits(run, saved, tmp_path):
    h = supercuts.read(saved)
    node = int(h.parents[0])
    image = {"name": "photo", "digest": html_viewer._digest(h), "height": h.shape[0], "width": h.shape[1]}
    session = {"format": "supercuts-session", "version": 1, "image": image, "cut": {}, "strokes": [], "names": ["cup"]}
    (tmp_path / "s.json").write_text(json.dumps({**session, "selection": [{"node": node, "label": 1}]}))
    assert run("export", saved, "--session", tmp_path / "s.json", "-o", tmp_path / "edited.npz").exit_code == 0
    edited = supercuts.read(tmp_path / "edited.npz")
    assert len(edited.edits.steps) == 1
    np.testing.assert_array_equal(edited.cut(regions=3), h.apply_session(tmp_path / "s.json").cut(regions=3))
    other = run("export", saved, "--session", saved, "-o", tmp_path / "again.npz")
    assert other.exit_code == 1
    assert not (tmp_path / "again.npz").exists()


def test_info_of_a_hierarchy_an_image_and_a_model(run, saved, photos):
    result = run("info", saved, "--json")
    assert result.exit_code == 0
    facts = result.json()
    assert facts.pop("levels")["object"] == {"regions": 3, "altitude": 0.3}
    assert facts == {
        "file": str(saved), "kind": "hierarchy", "image_name": None, "height": 24, "width": 32, "superpixels": 4,
        "masked_pixels": 0, "edits": 0, "holds_image": True, "map_coordinates": None,
    }  # fmt: skip
    lines = run("info", saved).stdout.splitlines()
    assert lines[0].startswith(f"{saved}: hierarchy, 0.00 MB")
    assert "superpixels     4" in lines
    assert lines[-1].startswith(f"Next: supercuts view {saved}")
    assert run("info", photos / "a.png", "--json").json() == {
        "file": str(photos / "a.png"), "kind": "image", "height": 24, "width": 32, "bands": 3,
        "written_by_supercuts": False,
    }  # fmt: skip
    assert "written by supercuts no" in run("info", photos / "a.png").stdout
    model = run("info", weights_path("compact"), "--json").json()
    assert model["kind"] == "model"
    assert sorted(model["levels"]) == ["object", "part", "scene"]


@pytest.mark.parametrize("name", ["missing.npz", "missing.png", "missing.safetensors", "notes.txt"])
def test_info_of_no_such_file_is_one_line(run, photos, name):
    result = run("info", photos / name)
    assert (result.exit_code > 0, result.stdout) == (True, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "ImageError" not in result.stderr


def test_cut_labels_have_colours_and_exports_are_grey(run, saved, tmp_path):
    run("cut", saved, "--regions", 3, "-o", tmp_path / "cut.png")
    run("export", saved, "--regions", 3, "--format", "labels", "-o", tmp_path / "labels.png")
    with Image.open(tmp_path / "cut.png") as cut, Image.open(tmp_path / "labels.png") as labels:
        assert (cut.mode, labels.mode) == ("P", "I;16")
        np.testing.assert_array_equal(np.asarray(cut), np.asarray(labels))
