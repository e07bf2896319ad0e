import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from supercuts.core.errors import FileFormatError
from supercuts.refine.fit import Example, fit, respond
from supercuts.refine.refine_config import NetworkConfig, RefineConfig
from supercuts.refine.refiner import KanezakiCNN, Normalise, choose_precision, load_refiner, save_refiner

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
    save_refiner(tmp_path / "a.safetensors", network, config, ["x.png"])
    actual, settings, images = load_refiner(tmp_path / "a.safetensors")
    assert (settings, images) == (config, ["x.png"])
    torch.testing.assert_close(respond(actual, image), respond(network, image))


def test_other_files_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FileFormatError, match="Fit one again"):
        load_refiner(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"12")
    with pytest.raises(FileFormatError, match="copied completely"):
        load_refiner(tmp_path / "cut.safetensors")


HEIGHT, WIDTH, CHANNELS = 90, 101, 19  # more pixels than a part has, channels that fill no vector


def random_map(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, CHANNELS, HEIGHT, WIDTH, generator=generator)
    x = x * torch.linspace(0.1, 3, CHANNELS)[:, None, None] + torch.linspace(-2, 2, CHANNELS)[:, None, None]
    return x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def new_normalise(seed=0):
    layer = Normalise(CHANNELS)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(CHANNELS, generator=generator))
        layer.bias.copy_(torch.randn(CHANNELS, generator=generator))
    return layer


def by_definition(layer, x, rectify):
    """In float64."""
    reference = nn.BatchNorm2d(CHANNELS).double()
    reference.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    x = x.detach().double().requires_grad_()
    return reference, x, reference(F.relu(x) if rectify else x)


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize(
    ("dtype", "out", "tolerance"),
    [
        (torch.bfloat16, None, 2**-8),
        (torch.bfloat16, torch.float32, 1e-5),
        (torch.float64, None, 1e-12),
    ],
    ids=str,
)
def test_values_gradients_and_statistics_are_those_of_batch_normalisation(rectify, dtype, out, tolerance):
    layer, x = new_normalise(), random_map(dtype)
    layer = layer.double() if dtype == torch.float64 else layer
    reference, exact_x, expected = by_definition(layer, x, rectify)
    y = layer(x, rectify, out)
    assert y.dtype == (dtype if out is None else out)
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)
    to_y = random_map(y.dtype, seed=1).detach()
    y.backward(to_y)
    expected.backward(to_y.double())
    largest = exact_x.grad.abs().max()
    of_x = 2**-8 if dtype == torch.bfloat16 else tolerance
    torch.testing.assert_close(x.grad.double(), exact_x.grad, rtol=of_x, atol=float(largest) * of_x)
    of_sums = 1e-6 * float(to_y.double().abs().sum((0, 2, 3)).max())
    for name, value in layer.named_parameters():
        torch.testing.assert_close(value.grad.double(), reference.get_parameter(name).grad, rtol=1e-5, atol=of_sums)
    for name, value in layer.named_buffers():
        torch.testing.assert_close(value.double(), reference.get_buffer(name).double(), rtol=1e-5, atol=1e-6)


def test_bfloat16_is_rounded_to_the_nearest():
    values = random_map(torch.bfloat16).detach()
    layer = Normalise(CHANNELS)
    exact, rounded = layer(values, dtype=torch.float32), layer(values)
    torch.testing.assert_close(rounded, exact.bfloat16(), rtol=0, atol=0)


def test_a_constant_channel_gives_its_offset():
    x = torch.full((1, CHANNELS, HEIGHT, WIDTH), 1000.0).bfloat16().contiguous(memory_format=torch.channels_last)
    layer = new_normalise()
    y = layer(x, rectify=True, dtype=torch.float32)
    torch.testing.assert_close(y, layer.bias.detach()[:, None, None].expand_as(y[0])[None], rtol=0, atol=1e-6)


def test_threads_change_nothing(monkeypatch):
    results = []
    for n_threads in "14":
        monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
        layer, x = new_normalise(), random_map(torch.bfloat16)
        y = layer(x, rectify=True)
        y.backward(random_map(torch.bfloat16, seed=1).detach())
        results.append(
            [t.detach().float().numpy().tobytes() for t in (y, x.grad, layer.weight.grad, layer.running_var)]
        )
    assert results[0] == results[1]


@pytest.mark.parametrize("rectify", [False, True])
def test_float32_is_normalised_by_torch_itself(rectify):
    x, layer, reference = random_map(torch.float32).detach(), new_normalise(), nn.BatchNorm2d(CHANNELS)
    reference.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x, rectify), reference(F.relu(x) if rectify else x), rtol=0, atol=0)


def test_several_images_share_their_statistics():
    x = torch.cat([random_map(torch.bfloat16), random_map(torch.bfloat16, seed=3) + 1]).detach()
    x = x.contiguous(memory_format=torch.channels_last)
    expected = nn.BatchNorm2d(CHANNELS).double()(x.double())
    torch.testing.assert_close(Normalise(CHANNELS)(x, dtype=torch.float32).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_not_a_number_stays_one(dtype):
    x = random_map(dtype).detach()
    x[0, 3, 5, 7] = np.nan
    y = Normalise(CHANNELS)(x, rectify=True)
    assert y[0, 3].isnan().any()
    assert not y[0, 4].isnan().any()


def test_any_memory_layout_is_taken():
    x = random_map(torch.bfloat16).detach()
    torch.testing.assert_close(Normalise(CHANNELS)(x.contiguous()), Normalise(CHANNELS)(x), rtol=0, atol=0)
