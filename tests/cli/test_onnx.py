import numpy as np
import pytest
import torch

import supercuts
from supercuts.networks.files import save_network
from supercuts.networks.ssn import SSN, SSNConfig

for package in ("onnxruntime", "onnx", "onnxscript"):
    pytest.importorskip(package)


def test_a_trained_network_runs_beside_its_graph(run, tmp_path):
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    save_network(path, SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)), {"scene": 0.5})
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
