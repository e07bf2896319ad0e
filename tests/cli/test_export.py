import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

import supercuts
from supercuts.export.registry import FORMATS


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
    assert (result.exit_code, result.stderr) == (2, "error: format='svg' does not take like: leave it out.\n")


def test_what_exists_is_replaced_with_force_only(run, saved, tmp_path):
    out = tmp_path / "a.svg"
    out.write_text("mine")
    result = run("export", saved, "--format", "svg", "-o", out)
    assert result.exit_code == 2
    assert result.stderr == f"error: {out} exists: choose another path, or replace it with force=True (--force).\n"
    assert out.read_text() == "mine"
    assert run("export", saved, "--format", "svg", "-o", out, "--force").exit_code == 0
    assert out.read_text().startswith("<svg")


def test_a_path_that_cannot_be_written_is_an_error_line(run, saved, tmp_path):
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "a.svg"
    result = run("export", saved, "--format", "svg", "-o", out)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {out} cannot be written (")
    assert result.stderr.endswith("Give a path with space that you may use.\n")


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
