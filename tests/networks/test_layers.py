import numpy as np
import pytest
import torch
import torch.nn.functional as F

from supercuts.networks.layers import UpsamplingLayer, WholeImage, WindowLayer, layers_of
from supercuts.networks.recording import record


def layers(function, side=32):
    return layers_of(*record(function, torch.zeros(1, 1, side, side)))


def reached(function, side):
    """Return how many rows beyond aligned rows of the image decide their maps, by their gradients."""
    image = torch.rand(1, 1, side, side).double().requires_grad_()
    output, most = function(image), 0
    stride = side // output.shape[2]
    for y in range(8, output.shape[2] - 8):
        (gradient,) = torch.autograd.grad(output[0, 0, y].sum(), image, retain_graph=True)
        rows = np.flatnonzero(gradient.abs().sum((0, 1, 3)).numpy())
        most = max(most, y * stride - rows[0], rows[-1] - (y + 1) * stride + 1)
    return most


def conv(x, kernel=3, stride=1, padding=None, dilation=1):
    padding = (kernel - 1) * dilation // 2 if padding is None else padding
    return F.conv2d(x, torch.ones(1, 1, kernel, kernel, dtype=x.dtype), None, stride, padding, dilation)


FUNCTIONS = {
    "convolutions": lambda x: conv(conv(x, 5), 3, dilation=3),
    "strided": lambda x: conv(conv(conv(x, 3, 2)), 3, 2),
    "same": lambda x: conv(F.pad(x, (0, 1, 0, 1)), 3, 2, 0),
    "up by 2": lambda x: F.interpolate(conv(x, 3, 2), scale_factor=2.0, mode="bilinear"),
    "up by 4": lambda x: F.interpolate(conv(conv(x, 3, 2), 3, 2), scale_factor=4.0, mode="bilinear"),
    "nearest": lambda x: F.interpolate(conv(conv(x, 3, 2), 3, 2), scale_factor=4.0, mode="nearest"),
    "sum": lambda x: conv(x, 9) + F.interpolate(conv(x, 3, 2), size=x.shape[2:], mode="bilinear"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_reach_is_how_far_gradients_go(name):
    function = FUNCTIONS[name]
    bound = layers(lambda x: function(x)).reach
    assert bound - 1 <= reached(function, 96) <= bound


def test_layers_are_windows_upsampling_and_local_functions():
    actual = layers(lambda x: F.interpolate(torch.relu(conv(x, 3, 2)), scale_factor=2, mode="bilinear") + x)
    window, rectifier, upsampling, total = actual.layers
    assert isinstance(window, WindowLayer)
    assert (window.above, window.below, window.reach, window.stride) == (1, 1, 2, 2)
    assert rectifier.inputs == (1,)
    assert isinstance(upsampling, UpsamplingLayer)
    assert upsampling.factor == 2
    assert total.inputs == (3, 0)
    assert actual.strides == (1, 2, 2, 1, 1)
    assert actual.outputs == (4,)


def test_unused_steps_are_left_out():
    def function(x):
        x.mean()
        return sum([x, x * 2])

    actual = layers(function)
    assert len(actual.layers) == 2  # the product and one sum: the 0 that sum() starts from does not count


def test_a_step_that_depends_on_the_whole_image_is_named():
    with pytest.raises(WholeImage, match=r"softmax\(\) may depend on the whole image"):
        layers(lambda x: x.softmax(2))
    with pytest.raises(WholeImage, match=r"cat\(\) may depend on the whole image"):
        layers(lambda x: torch.cat([x, x], 2))
    with pytest.raises(WholeImage, match=r"batch_norm\(\) may depend on the whole image"):
        layers(lambda x: F.batch_norm(x, None, None, training=True))
