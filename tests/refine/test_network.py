import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from supercuts.core.errors import FileFormatError
from supercuts.refine.config import NetworkConfig, RefineConfig
from supercuts.refine.fit import Example, fit, respond
from supercuts.refine.network import KanezakiCNN, choose_precision, load_network, save_network

SMALL = NetworkConfig(n_features=6, n_classes=9, n_convolutions=3)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return KanezakiCNN(SMALL, 5)


def test_the_layers_are_those_published(network):
    names = [type(layer).__name__ for layer in network.hidden]
    assert names == ["Conv2d", "ReLU", "Normalise"] * 3
    assert [layer.in_channels for layer in network.hidden[::3]] == [5, 6, 6]
    assert network.classify.kernel_size == (1, 1)
    assert network.channels == 5


def test_the_response_is_normalised_per_class(network):
    response = network(torch.rand(2, 5, 12, 11))
    assert response.shape == (2, 9, 12, 11)
    assert response.dtype == torch.float32
    torch.testing.assert_close(response.mean((0, 2, 3)), torch.zeros(9), atol=1e-5, rtol=0)
    torch.testing.assert_close(response.var((0, 2, 3), unbiased=False), torch.ones(9), atol=1e-2, rtol=0)


def test_statistics_of_the_image_or_of_training(network):
    x = torch.rand(1, 5, 8, 8) * 3
    trained = network.train()(x)
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.use_statistics("batch")
    torch.testing.assert_close(network(x), trained)
    network.use_statistics("running")
    assert (network(x) - trained).abs().max() > 0.1
    for name, value in network.state_dict().items():  # labelling an image changes nothing
        torch.testing.assert_close(value, before[name])


def test_bfloat16_is_close_and_gives_float32():
    torch.manual_seed(0)
    exact, fast = KanezakiCNN(SMALL, 5), KanezakiCNN(SMALL, 5, torch.bfloat16)
    fast.load_state_dict(exact.state_dict())
    x = torch.rand(1, 5, 16, 16)
    response = fast(x)
    assert response.dtype == torch.float32
    assert (response - exact(x)).abs().mean() < 0.05


def test_precision_is_chosen_by_name():
    cpu = torch.device("cpu")
    assert choose_precision("float32", cpu) == torch.float32
    assert choose_precision("bfloat16", cpu) == torch.bfloat16
    assert choose_precision("auto", cpu) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_a_network_read_answers_as_it_did(tmp_path, statistics):
    config = RefineConfig(n_features=6, n_classes=5, epochs=3, statistics=statistics)
    image = np.random.default_rng(0).random((9, 8, 4), dtype=np.float32)
    network = fit([Example(image)], config)
    save_network(tmp_path / "a.safetensors", network, config, ["x.png"])
    found, settings, images = load_network(tmp_path / "a.safetensors")
    assert (settings, images) == (config, ["x.png"])
    torch.testing.assert_close(respond(found, image), respond(network, image))


def test_other_files_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FileFormatError, match="Fit one again"):
        load_network(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"12")
    with pytest.raises(FileFormatError, match="copied completely"):
        load_network(tmp_path / "cut.safetensors")
