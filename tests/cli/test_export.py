import json

import numpy as np
import pytest
import scipy.io

import supercuts
from supercuts.export.registry import WRITERS


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


def test_help_names_every_format(run):
    help_text = run("export", "--help").stdout
    assert [name for name in WRITERS if name not in help_text] == []


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
