import gc
import weakref

import pytest
import torch
from torch import nn

from supercuts.core import private_torch
from supercuts.networks.backbones.base import Backbone, Features
from supercuts.networks.folded import Foldable, FoldedConv
from supercuts.networks.recording import record
from supercuts.networks.ssn import SSN, make_backbone
from supercuts.networks.ssn_config import SSNConfig


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=2, region_channels=3, context_channels=4))
    randomise(network)
    return network.eval()


def randomise(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as after training
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.uniform_(module.bias, -1, 1)


def in_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)


@pytest.mark.parametrize("has_pointwise", [True, False])
def test_a_folded_network_predicts_the_same(network, monkeypatch, has_pointwise):
    in_float32(monkeypatch)
    if not has_pointwise:
        monkeypatch.setattr(private_torch, "fused_conv2d", lambda: None)
    x = torch.rand(1, 3, 40, 55).contiguous(memory_format=torch.channels_last)
    run = network.folded()
    with torch.inference_mode():
        expected, said = network(x), run(x)
    for name in ("boundary_logits", "embeddings", "strength_logits", "region_embeddings"):
        torch.testing.assert_close(getattr(said, name), getattr(expected, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("has_pointwise", [True, False])
@pytest.mark.parametrize(
    ("backbone", "n_left"),  # stays: the context's normalisation, and in resnets the ReLUs after a sum
    [("timm:tf_efficientnet_lite0", 0), ("timm:resnet18", 8), ("timm:vgg11_bn", 0)],
)
def test_layers_that_others_wrote_are_folded(monkeypatch, backbone, n_left, has_pointwise):
    in_float32(monkeypatch)
    if not has_pointwise:
        monkeypatch.setattr(private_torch, "fused_conv2d", lambda: None)
    torch.manual_seed(0)
    network = make_backbone(backbone)
    randomise(network)
    foldable = Foldable()
    foldable.backbone = network
    run, x = foldable.eval().folded().backbone, torch.rand(1, 3, 64, 96)
    used = [step.module for step in record(run, x, run)[0]]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in used)
    assert sum(isinstance(module, nn.ReLU | nn.ReLU6) for module in used) == n_left
    with torch.inference_mode():
        for one, expected in zip(run(x).maps, network(x).maps, strict=True):
            torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-4)


def test_layers_that_are_used_twice_stay():
    class Twice(Backbone):
        channels, strides = (3,), (1,)

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, images):
            return Features(images, (self.norm(self.conv(self.norm(self.conv(images)))),))

    foldable = Foldable()
    foldable.backbone = Twice()
    assert type(foldable.eval().folded().backbone.norm) is nn.BatchNorm2d


def test_layers_that_were_folded_are_gone_and_the_network_is_as_before(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    run = network.folded()
    # the context's own normalisation follows no convolution of a chain
    assert sum(isinstance(module, nn.BatchNorm2d) for module in run.modules()) == 1
    assert not any(isinstance(module, nn.ReLU) for module in run.modules())
    assert sum(isinstance(module, FoldedConv) for module in run.modules()) > 20
    assert not run.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_network_in_training_is_itself(network):
    network.train()
    assert network.folded() is network


def test_a_network_that_is_watched_is_itself(network):
    assert network.folded() is not network
    handle = network.backbone.register_forward_hook(lambda *_: None)
    assert network.folded() is network
    handle.remove()
    assert network.folded() is not network


def test_it_is_made_once_and_again_when_weights_change(network, monkeypatch):
    in_float32(monkeypatch)
    run, x = network.folded(), torch.rand(1, 3, 32, 32)
    assert network.folded() is run
    changes = [
        lambda: network.backbone.stem[0][0].weight.detach().mul_(1.5),
        lambda: network.load_state_dict({name: value * 1.1 for name, value in network.state_dict().items()}),
        lambda: setattr(network.head.output, "weight", nn.Parameter(network.head.output.weight * 2)),
    ]
    for change in changes:
        with torch.no_grad():
            change()
            assert network.folded() is not run
            run = network.folded()
            torch.testing.assert_close(run(x).embeddings, network(x).embeddings, rtol=1e-4, atol=1e-5)


def test_weights_that_stay_are_shared(network):
    assert network.folded().head.output.weight is network.head.output.weight


def test_it_is_forgotten_with_the_network():
    network = SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=2)).eval()
    run, known = weakref.ref(network.folded()), weakref.ref(network)
    assert run() is not None
    del network
    gc.collect()
    assert (run(), known()) == (None, None)


@pytest.mark.parametrize("capabilities", [{}, {"avx512_bf16": True}], ids=["float32", "bfloat16"])
def test_weights_have_the_type_the_processor_is_fast_in(network, monkeypatch, capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    kinds = {module.weight.dtype for module in network.folded().modules() if isinstance(module, FoldedConv)}
    assert kinds == {torch.bfloat16 if capabilities else torch.float32}
