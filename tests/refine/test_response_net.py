import torch
from torch import nn

from supercuts.refine.response_net import initialise, response_layers


def test_layers_keep_the_size_and_end_in_relu():
    network = response_layers(((4, 3), (6, 1)))
    assert [type(layer).__name__ for layer in network] == 2 * ["Conv2d", "BatchNorm2d", "ReLU"]
    found = network(torch.rand(2, 3, 5, 7))
    assert found.shape == (2, 6, 5, 7)
    assert found.min() >= 0


def test_initialise_sets_biases_to_zero():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2, bias=False))
    initialise(network, nn.init.ones_)
    assert (network[0].bias == 0).all()
    assert (network[0].weight == 1).all()
    assert (network[2].weight == 1).all()
