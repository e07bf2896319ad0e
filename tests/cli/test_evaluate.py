import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

import supercuts

SHAPE = (32, 48)


def truth():
    labels = np.ones(SHAPE, np.uint16)
    labels[:, 24:] = 2
    return labels


@pytest.fixture
def root(tmp_path):
    """Return a BSDS500 of three images in val, seen as two halves by one annotator and as one region by another."""
    folder = tmp_path / "data" / "BSDS500" / "data"
    (folder / "images" / "val").mkdir(parents=True)
    (folder / "groundTruth" / "val").mkdir(parents=True)
    cells = np.empty((1, 2), object)
    for index, labels in enumerate((truth(), np.ones(SHAPE, np.uint16))):
        cells[0, index] = {"Segmentation": labels, "Boundaries": np.zeros(SHAPE, np.uint8)}
    for name in ("1", "2", "3"):
        pixels = np.repeat(truth()[..., None] * 90, 3, axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / "val" / f"{name}.jpg")
        scipy.io.savemat(folder / "groundTruth" / "val" / f"{name}.mat", {"groundTruth": cells})
    return tmp_path / "data"


@pytest.fixture
def labels(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    for name in ("1", "2", "3"):
        Image.fromarray(truth().astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def contours(tmp_path):
    folder = tmp_path / "ucm2"
    folder.mkdir()
    ucm = np.zeros((2 * SHAPE[0] + 1, 2 * SHAPE[1] + 1))
    ucm[:, 48] = 0.5
    for name in ("1", "2", "3"):
        scipy.io.savemat(folder / f"{name}.mat", {"ucm2": ucm})
    return folder


def test_label_maps_are_scored(run, root, labels, tmp_path):
    out = tmp_path / "out.json"
    result = run("evaluate", "superpixels", "--data", root, "--results", labels, "-o", out, "--workers", 1)
    assert result.exit_code == 0
    assert "3 of 3" in result.stdout
    assert "mean over annotators" in result.stdout
    entry = json.loads(out.read_text())["methods"][0]
    assert (entry["method"], entry["n_scored"], entry["failures"]) == (str(labels), 3, {})
    assert entry["figures"]["mean"]["asa"] == 1
    assert entry["figures"]["mean"]["boundary_precision"] == 0.5
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.images.csv", "out.json"]  # no parts are left


def test_json_prints_the_document_alone_and_a_file_after_it_is_still_written(run, root, labels, tmp_path):
    options = ["--data", root, "--results", labels, "--workers", 1]
    result = run("evaluate", "superpixels", *options, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = result.json()
    assert document["methods"][0]["figures"]["mean"]["asa"] == 1

    out = tmp_path / "out.json"
    for old in (["--json", out], [f"--json={out}"]):
        result = run("evaluate", "superpixels", *options, *old)
        assert result.exit_code == 0
        assert "3 of 3" in result.stdout
        assert result.stderr == f"note: --json {out} is now --out {out}; --json alone prints the document.\n"
        assert json.loads(out.read_text())["methods"] == document["methods"]
        out.unlink()
    result = run("evaluate", "superpixels", *options, "--json", "-o", out)
    assert result.json()["methods"] == json.loads(out.read_text())["methods"] == document["methods"]
    assert f"wrote {out}" in result.stderr


def test_the_annotators_of_the_table_are_chosen(run, root, labels):
    for annotators, precision in {"best": "1.0000", "worst": "0.0000"}.items():
        options = ["--data", root, "--results", labels, "--annotators", annotators, "--workers", 1]
        lines = run("evaluate", "superpixels", *options).stdout.splitlines()
        assert [line for line in lines if "boundary precision" in line and precision in line]


def test_contour_maps_are_scored(run, root, contours, tmp_path):
    out = tmp_path / "out.json"
    result = run("evaluate", "hierarchy", "--data", root, "--results", contours, "-o", out, "--workers", 1)
    assert result.exit_code == 0
    assert "boundary F ODS" in result.stdout
    assert json.loads(out.read_text())["methods"][0]["figures"]["covering_best"] == 1
    assert (tmp_path / "out.pr.png").is_file()
    assert "boundary F" not in run(
        "evaluate", "hierarchy", "--data", root, "--results", contours, "--no-boundaries", "--workers", 1
    ).stdout  # fmt: skip


def test_bad_files_are_named_one_by_one(run, root, labels, tmp_path):
    (labels / "2.png").write_bytes(b"nonsense")
    (labels / "3.png").rename(labels / "x3.png")
    out = tmp_path / "out.json"
    arguments = ("evaluate", "superpixels", "--data", root, "--results", labels, "-o", out, "--workers", 1)
    result = run(*arguments)
    assert result.exit_code == 1
    assert "1 of 3" in result.stdout
    lines = result.stderr.splitlines()
    assert any("image 2" in line and "2.png" in line for line in lines)
    assert any("image 3" in line and "x3.png has a similar name" in line for line in lines)
    assert any(line.startswith("note:") and "x3.png" in line for line in lines)
    assert lines[-1].endswith("1 of 3 images scored")
    # finished scores are kept until the rest is scored: after the repair only the rest is scored
    assert len(list((tmp_path / "out.parts").glob("*/1.json"))) == 1
    Image.fromarray(truth().astype(np.uint8)).save(labels / "2.png")
    (labels / "x3.png").rename(labels / "3.png")
    assert run(*arguments).exit_code == 0
    assert not (tmp_path / "out.parts").exists()


def test_the_embedded_model_is_the_default(run, root):
    result = run("evaluate", "superpixels", "--data", root, "--superpixels", 12, "--limit", 1, "--workers", 1)
    assert result.exit_code == 0
    assert "compact, 12" in result.stdout
    assert "1 of 1" in result.stdout
    result = run("evaluate", "hierarchy", "--data", root, "--superpixels", 12, "--limit", 1, "--workers", 1)
    assert "Jaccard, best node" in result.stdout


def test_merger_and_views_are_chosen(run, root, tmp_path):
    options = ["--data", root, "--superpixels", 12, "--limit", 1, "--workers", 1, "--no-boundaries"]
    cases = {"compact, 12": [], "compact, 12, spectral": ["--merging", "spectral"]}
    cases["compact, 12, flip views"] = ["--views", "flip"]
    for name, chosen in cases.items():
        assert run("evaluate", "hierarchy", *options, *chosen, "-o", tmp_path / "out.json").exit_code == 0
        entry = json.loads((tmp_path / "out.json").read_text())["methods"][0]
        assert entry["method"] == name
    result = run("evaluate", "hierarchy", *options, "--merging", "ward")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--merging 'ward' is unknown" in result.stderr


def test_a_model_is_compared_with_files(run, root, contours, tmp_path):
    supercuts.load().segment(np.zeros((*SHAPE, 3), np.uint8), superpixels=6).save(tmp_path / "trees" / "1.npz")
    options = ["--data", root, "--limit", 1, "--workers", 1]
    result = run("evaluate", "hierarchy", *options, "--model", "compact", "--results", tmp_path / "trees")
    assert result.exit_code == 0
    assert "compact" in result.stdout
    assert "trees" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out.txt"], "does not end in .json"),
        (["--results", "nowhere"], "nowhere"),
        (["--model", "nothing"], "is unknown"),
    ],
)
def test_wrong_options_are_refused(run, root, options, message, tmp_path):
    result = run("evaluate", "superpixels", "--data", root, *options, "--workers", 1)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_missing_dataset_is_explained(run, tmp_path):
    result = run("evaluate", "hierarchy", "--data", tmp_path)
    assert result.exit_code == 1
    assert "images/train/*.jpg" in result.stderr
    assert run("evaluate", "hierarchy", "--split", "best").exit_code == 2


@pytest.mark.parametrize("command", [["evaluate"], ["evaluate", "superpixels"], ["evaluate", "hierarchy"]])
def test_help_has_an_example(run, command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "supercuts evaluate" in result.stdout
