import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from supercuts.refine.normalise import Normalise

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
