import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from supercuts.core.errors import FileFormatError, InputError
from supercuts.model import open_network
from supercuts.networks.files import save_network
from supercuts.networks.network import (
    Calibration,
    is_on_gpu,
    parse_config,
    parse_levels,
    read_calibration,
    weights_path,
)
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig


def test_torch_opens_its_own(tmp_path):
    network = SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=2))
    save_network(tmp_path / "model.safetensors", network, {"scene": 0.5})
    opened, levels = open_network(tmp_path / "model.safetensors")
    assert isinstance(opened, SSN)
    assert levels == {"scene": 0.5}
    assert opened.stride == 2
    weight = opened.ready().backbone.stages[0][0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_unknown_engines_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"engine='tensorflow' is unknown\. Choose one of: auto, quick, torch, onnx"):
        open_network(tmp_path / "model.safetensors", "tensorflow")


def test_a_checkpoint_of_the_original_is_for_torch(tmp_path):
    with pytest.raises(FileFormatError, match=r"needs a \.safetensors file"):
        open_network(tmp_path / "model.pth", "onnx")


def test_unknown_model_names_are_refused():
    assert weights_path("compact").name == "compact.safetensors"
    assert weights_path("mine.safetensors").name == "mine.safetensors"
    with pytest.raises(InputError, match="without superpixels of its own"):
        weights_path("dino_vits16")
    with pytest.raises(InputError, match="model='compakt' is unknown"):
        weights_path("compakt")


def test_where_a_network_lies():
    networks = None, SSN(SSNConfig()), SSN(SSNConfig()).to("meta")
    assert [is_on_gpu(network) for network in networks] == [False, False, True]


def test_arrays_are_distinguished_by_their_prefix(tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = {"affinity.a": np.ones(2, np.float32), "figure_ground.a": np.zeros(3, np.float32)}
    metadata = {"levels": '{"scene": 0.5}', "calibrated_on": "five images"}
    save_file(arrays | {"head.weight": np.ones(4, np.float32)}, path, metadata)
    calibration = read_calibration(path)
    assert calibration.levels == {"scene": 0.5}
    assert calibration.source == "five images"
    assert sorted(calibration.arrays) == sorted(arrays)
    np.testing.assert_array_equal(calibration.of("figure_ground")["a"], np.zeros(3))
    assert calibration.of("gnn") == {}


def test_a_checkpoint_of_the_original_has_no_calibration(tmp_path):
    assert read_calibration(tmp_path / "absent.pth") == Calibration()


def test_invalid_levels_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match="its levels are not names with altitudes"):
        parse_levels(tmp_path, "[1, 2]")


def test_configs_of_other_versions_are_refused(tmp_path):
    known = {"format_version": "1", "config": SSNConfig().model_dump_json()}
    assert parse_config(tmp_path, known) == SSNConfig()
    with pytest.raises(FileFormatError, match="format_version 2, expected 1"):
        parse_config(tmp_path, known | {"format_version": "2"})
    with pytest.raises(FileFormatError, match="config is not an SSN"):
        parse_config(tmp_path, known | {"config": '{"colour": 1}'})
