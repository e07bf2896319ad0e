import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

from supercuts.networks.recording import convolution, record, users


def test_steps_record_their_inputs():
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)).eval()
    steps, outputs = record(lambda x: layer(x) + 1, torch.zeros(1, 3, 8, 9), layer)
    assert [step.name for step in steps[1:]] == ["conv2d", "batch_norm", "relu", "add"]
    assert [step.module for step in steps[1:]] == [*layer, None]
    assert [step.inputs for step in steps[1:]] == [[item] for item in steps[:-1]]
    assert steps[1].shape == (1, 4, 6, 7)
    assert outputs == [steps[-1]]
    assert users(steps)[steps[0]] == [steps[1]]
    assert not layer[0]._forward_hooks
    assert steps[1].constants[0] is layer[0].weight


def test_recording_changes_no_result():
    layer = nn.Sequential(nn.Sequential(), nn.Identity())  # an empty sequence counts as false
    steps, outputs = record(layer, torch.zeros(1, 1, 2, 2), layer)
    assert outputs == steps


def test_a_change_in_place_is_a_further_step():
    def function(x):
        y = x * 2
        y.add_(x)
        y -= 1
        return y

    steps, outputs = record(function, torch.zeros(1, 1, 2, 2))
    assert [step.name for step in steps[1:]] == ["mul", "add", "sub"]
    assert outputs == [steps[-1]]


def test_parts_and_sizes():
    def function(x):
        first, second = x.chunk(2, 1)
        return torch.cat([second, first], 1) * x.shape[2]

    steps, outputs = record(function, torch.zeros(1, 4, 3, 3))
    assert [step.name for step in steps[1:]] == ["chunk", "_part", "_part", "cat", "mul"]
    assert outputs[0].args[1] == 3


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, 2, 1, dilation=2, groups=2),
        Conv2dSame(4, 6, 3, stride=2, bias=True),
        Conv2dSame(4, 4, 5, stride=2, groups=4),
        Conv2dSame(4, 4, 2, stride=1),
    ],
)
def test_convolutions_pad_opposite_sides_alike(layer):
    x = torch.rand(1, 4, 16, 24)
    plain = convolution(record(layer, x)[0][-1])
    assert type(plain) is nn.Conv2d
    torch.testing.assert_close(plain(x), layer(x))


def test_other_steps_are_not_convolutions():
    weight, x = torch.ones(1, 3, 3, 3), torch.zeros(1, 3, 8, 8)
    assert convolution(record(torch.relu, x)[0][-1]) is None
    assert convolution(record(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), weight), x)[0][-1]) is None
    assert convolution(record(lambda x: F.conv2d(x, weight, padding="same"), x)[0][-1]) is None
