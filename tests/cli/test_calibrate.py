import numpy as np
import pytest
import torch
from PIL import Image

import supercuts
from supercuts.networks.files import load_network, read_calibration, save_network
from supercuts.networks.ssn import SSN, SSNConfig

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
    np.testing.assert_array_equal(h.labels, plain.labels)
    assert not np.array_equal(h.altitudes, plain.altitudes)
    assert model.objects(h).masks.shape == (1, 48, 64)


def test_a_graph_neural_network_is_learned_when_asked_for(run, weights, folder):
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
    other = tmp_path / "other.safetensors"
    torch.manual_seed(1)
    save_network(other, SSN(CONFIG), {})
    assert run("calibrate", weights, "--folder", folder, "--leaves", 30).exit_code == 0
    result = run("calibrate", other, "--like", weights)
    assert (result.exit_code, result.stdout) == (0, f"{other}: calibrated like {weights}\n")
    assert load_network(other)[1] == load_network(weights)[1]
    one, same = read_calibration(weights), read_calibration(other)
    assert one.source == same.source == f"{folder} val, 2 images, 30 superpixels, seed 0"
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(same.arrays[name], values)
    assert next(load_network(other)[0].parameters()).ne(next(load_network(weights)[0].parameters())).any()


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
