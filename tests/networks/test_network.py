import pytest
import torch

from supercuts.core.errors import FileFormatError, InputError
from supercuts.networks.files import save_network
from supercuts.networks.network import is_on_gpu, open_network, weights_path
from supercuts.networks.ssn import SSN, SSNConfig


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
    with pytest.raises(InputError, match=r"engine='tensorflow' is unknown\. Choose one of: torch, onnx"):
        open_network(tmp_path / "model.safetensors", "tensorflow")


def test_a_checkpoint_of_the_original_is_for_torch(tmp_path):
    with pytest.raises(FileFormatError, match=r"needs a \.safetensors file"):
        open_network(tmp_path / "model.pth", "onnx")


def test_names_that_are_no_models_are_refused():
    assert weights_path("compact").name == "compact.safetensors"
    assert weights_path("mine.safetensors").name == "mine.safetensors"
    with pytest.raises(InputError, match="without superpixels of its own"):
        weights_path("dino_vits16")
    with pytest.raises(InputError, match="model='compakt' is unknown"):
        weights_path("compakt")


def test_where_a_network_lies():
    networks = None, SSN(SSNConfig()), SSN(SSNConfig()).to("meta")
    assert [is_on_gpu(one) for one in networks] == [False, False, True]
