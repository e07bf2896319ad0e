import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import supercuts
from supercuts.cli.train import check_fresh
from supercuts.core.errors import InputError
from supercuts.networks.files import load_network, save_network
from supercuts.networks.network import read_calibration
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(f"out: {tmp_path / 'run'}\nmax_steps: 1\n")
    return path


def test_an_unknown_key_is_a_usage_error(run, config):
    result = run("train", config, "max_step=3")
    assert result.exit_code == 2
    assert result.stderr == "error: override max_step=3: unknown key 'max_step'; did you mean 'max_steps'?\n"


def test_every_problem_is_a_line(run, config):
    result = run("train", config, "max_steps=0", "data.workers=x")
    assert result.exit_code == 2
    assert sorted(line.split("=")[0] for line in result.stderr.splitlines()) == [
        "error: override data.workers",
        "error: override max_steps",
    ]


def test_a_missing_config_names_those_there(run, config):
    result = run("train", config.with_name("long.yaml"))
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {config.with_name('long.yaml')}: no such file; {config.parent} holds {config}. "
        "Give one as the first argument: CONFIG.yaml [key=value ...]\n"
    )


def test_no_resume_refuses_a_run_that_has_begun(run, config, tmp_path):
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"hours of work")
    result = run("train", config, "--no-resume")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: --no-resume: {checkpoint.parent} already holds last.ckpt. Give out=")
    assert checkpoint.read_bytes() == b"hours of work"


def test_check_fresh(tmp_path):
    check_fresh(tmp_path / "not there yet")
    (tmp_path / "checkpoints").mkdir()
    check_fresh(tmp_path)
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(InputError, match="leave out --no-resume to resume this one"):
        check_fresh(tmp_path)


def test_a_missing_trainer_names_the_extra(run, config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "lightning" else True)
    result = run("train", config)
    assert result.exit_code == 1
    assert result.stderr == ('error: lightning not installed, needed for this: pip install "supercuts[train]"\n')


@pytest.fixture
def run_script(monkeypatch, capfd):
    """Run train_ssn_dino.py in this process, where imports are done, and return what it prints as its error."""
    script = str(ROOT / "train_ssn_dino.py")

    def invoke(*arguments):
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(script, run_name="__main__")
        assert stop.value.code == 2
        return capfd.readouterr().err

    return invoke


def test_script_takes_another_config(config, run_script):
    errors = run_script(str(config.with_name("long.yaml")), "max_steps=3")
    assert f"{config.parent} holds {config}. Give one as the first argument" in errors


def test_script_has_a_default_config(run_script):
    errors = run_script("no_such_key=1")
    default = str(ROOT / "configs" / "ssn_dino_bsds500.yaml")
    is_there = Path(default).is_file()
    assert ("unknown key 'no_such_key'" if is_there else f"error: {default}: no such file; ") in errors


for package in ("onnxruntime", "onnx", "onnxscript"):
    pytest.importorskip(package)


def test_a_trained_network_runs_with_its_graph(run, tmp_path):
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    save_network(
        path, SSN(SSNConfig(backbone="timm:test_resnet", head_channels=(4,) * 5, embedding_channels=3)), {"scene": 0.5}
    )
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    with pytest.raises(supercuts.FileFormatError, match="supercuts onnx MODEL"):
        supercuts.load(path, engine="onnx")
    result = run("onnx", path, "-o", tmp_path / "model.onnx", "--graph")
    assert result.exit_code == 0, result.output
    assert "model.onnx: 0." in result.stdout
    model = supercuts.load(path, engine="onnx")
    assert model.levels == {"scene": 0.5}
    assert model.segment(image, superpixels=12).n_leaves == 12


def test_files_of_other_kinds_are_refused(run, tmp_path):
    result = run("onnx", "compact", "-o", tmp_path / "model.pt")
    assert result.exit_code == 2
    assert ".onnx" in result.stderr
    result = run("onnx", "compakt", "-o", tmp_path / "model.onnx")
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])


CONFIG = SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3, region_channels=2)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    save_network(path, SSN(CONFIG), {}, torch.float16)
    return path


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / "mine" / kind / split).mkdir(parents=True)
        for name in "ab":
            labels = np.zeros((48, 64), np.uint8)
            labels[:, rng.integers(20, 44) :] = 1
            image = rng.integers(0, 60, (48, 64, 3)) + 120 * labels[..., None]
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / "mine" / "images" / split / f"{name}.png")
            Image.fromarray(labels).save(tmp_path / "mine" / "labels" / split / f"{name}.png")
    return tmp_path / "mine"


def test_affinity_and_levels_are_put_into_the_file_and_used(run, weights, folder):
    before = {name: value.clone() for name, value in load_network(weights)[0].state_dict().items()}
    result = run("calibrate", weights, "--folder", folder, "--leaves", 30)
    assert result.exit_code == 0
    assert result.stdout.endswith(f"{weights}: affinity, figure and ground and levels written\n")
    assert result.stderr == "note: 2 images are few to learn from: the affinity may not hold on others.\n"
    for name, value in load_network(weights)[0].state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    model = supercuts.load(weights)
    assert list(model.levels) == ["scene", "object", "part"]
    h = model.segment(folder / "images" / "val" / "a.png", superpixels=30)
    plain = supercuts.Model(model.network).segment(folder / "images" / "val" / "a.png", superpixels=30)
    assert h.n_leaves == plain.n_leaves == 30
    assert not np.array_equal(h.labels, plain.labels)  # the affinity also decides which superpixels merge into leaves
    assert not np.array_equal(h.altitudes, plain.altitudes)
    assert model.objects(h).masks.shape == (1, 48, 64)


def test_a_graph_neural_network_is_learned_on_request(run, weights, folder):
    with pytest.raises(supercuts.InputError, match=r"no graph neural network\. Learn one: supercuts calibrate .*--gnn"):
        supercuts.load(weights, merging="gnn")
    result = run("calibrate", weights, "--folder", folder, "--leaves", 30, "--gnn")
    assert result.exit_code == 0
    assert result.stdout.endswith(f"{weights}: affinity, graph neural network, figure and ground and levels written\n")
    photo = folder / "images" / "val" / "a.png"
    h, other = (supercuts.load(weights, merging=name).segment(photo, 30) for name in ("gnn", "agglomerative"))
    np.testing.assert_array_equal(h.labels, other.labels)
    assert not np.array_equal(h.altitudes, other.altitudes)


def test_a_calibration_is_taken_over(run, weights, folder, tmp_path):
    second = tmp_path / "other.safetensors"
    torch.manual_seed(1)
    save_network(second, SSN(CONFIG), {})
    assert run("calibrate", weights, "--folder", folder, "--leaves", 30).exit_code == 0
    result = run("calibrate", second, "--like", weights)
    assert (result.exit_code, result.stdout) == (0, f"{second}: calibrated like {weights}\n")
    assert load_network(second)[1] == load_network(weights)[1]
    first, same = read_calibration(weights), read_calibration(second)
    assert first.source == same.source == f"{folder} val, 2 images, 30 superpixels, seed 0"
    for name, values in first.arrays.items():
        np.testing.assert_array_equal(same.arrays[name], values)
    assert next(load_network(second)[0].parameters()).ne(next(load_network(weights)[0].parameters())).any()


def test_a_calibration_of_another_network_is_refused(run, weights, tmp_path):
    other = tmp_path / "other.safetensors"
    save_network(other, SSN(CONFIG), {})
    result = run("calibrate", other, "--like", weights)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: --like {weights}: has not been calibrated. Give a calibrated model of the same configuration.\n"
    )


def test_a_model_that_cannot_be_rewritten_is_refused_first(run, tmp_path):
    result = run("calibrate", tmp_path / "model.pth")
    assert result.exit_code == 2
    assert "does not end in .safetensors" in result.stderr
