import numpy as np
import pytest
from PIL import Image

import supercuts


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
        (["--regions", "4", "--min-area", "193"], [[0, 1], [0, 1]]),  # a quarter has 192 pixels
    ],
)
def test_labels_are_those_of_the_cut(run, saved, tmp_path, how, rows):
    result = run("cut", saved, *how, "-o", tmp_path / "labels.png")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'labels.png'}: {np.max(rows) + 1} regions, 32x24 pixels\n"
    with Image.open(tmp_path / "labels.png") as image:
        assert image.mode.startswith("I")
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
    assert message.startswith("error: A cut takes exactly one of --regions, --level, --altitude, --granularity; got ")


def test_a_bad_value_is_a_usage_error(run, saved, tmp_path):
    code, message = refused(run, tmp_path, saved, "--regions", 5, "-o", tmp_path / "x.png")
    assert code == 2
    assert message.startswith("error: regions=5 is outside 1..4. The tree has 4 leaves: ask for fewer regions")


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
    assert message.startswith(f"error: {path} is not a whole .npz (zip) file")
