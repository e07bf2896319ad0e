import urllib.request

import pytest
import timm
import torch

from supercuts.core.errors import InputError
from supercuts.networks.backbones.pretrained import PretrainedCNN, PretrainedViT, download, make_pretrained, timm_name
from supercuts.networks.ssn_config import DINO, PretrainedConfig

TINY = "timm:vit_tiny_patch16_224"


@pytest.mark.parametrize("name", DINO)
def test_every_name_is_a_model_of_timm(name):
    model, url = DINO[name]
    assert timm.is_model(model)
    assert url.startswith("https://dl.fbaipublicfiles.com/dino") or (name.startswith("dinov3") and url == "")
    assert timm_name(name) == model


@pytest.mark.parametrize(
    ("name", "kind", "strides"),
    [
        ("dino_vits16", PretrainedViT, (16,)),
        (TINY, PretrainedViT, (16,)),
        ("timm:resnet18", PretrainedCNN, (2, 4, 8, 16, 32)),
        ("timm:vgg11_bn", PretrainedCNN, (2, 4, 8, 16, 32)),
    ],
)
def test_features_have_the_shapes_that_are_promised(name, kind, strides):
    backbone = make_pretrained(name).eval()
    assert isinstance(backbone, kind)
    assert backbone.strides == strides
    with torch.no_grad():
        features = backbone(torch.rand(2, 3, 64, 96))
    assert features.stem.shape == (2, backbone.stem_channels, 64, 96)
    shapes = [(2, n, 64 // stride, 96 // stride) for n, stride in zip(backbone.channels, strides, strict=True)]
    assert [tuple(map_.shape) for map_ in features.maps] == shapes


def test_a_finer_stride_keeps_the_promise():
    backbone = make_pretrained(TINY, PretrainedConfig(stride=8)).eval()
    with torch.no_grad():
        assert backbone(torch.rand(1, 3, 64, 96)).maps[0].shape == (1, 192, 8, 12)


def test_images_are_normalised_by_the_models_own_statistics():
    assert make_pretrained("dinov3_vits16").mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    half = make_pretrained("timm:vit_tiny_patch16_224")
    assert half.mean.flatten().tolist() == pytest.approx(timm.get_pretrained_cfg("vit_tiny_patch16_224").mean)


@pytest.mark.parametrize("facet", ["key", "token"])
@pytest.mark.parametrize("n", [0, 2])
def test_only_the_last_blocks_are_trained(facet, n):
    torch.manual_seed(0)
    backbone = make_pretrained(TINY, PretrainedConfig(facet=facet, finetune_blocks=n)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    features = backbone(torch.rand(2, 3, 32, 32))
    (features.maps[0].square().sum() + features.stem.sum()).backward()
    assert all(parameter.grad is not None for parameter in trained)
    optimizer.step()
    changed = {
        name.split(".")[3]
        for name, value in backbone.state_dict().items()
        if name.startswith("vit.model.blocks.") and not torch.equal(value, before[name])
    }
    assert changed == ({"10", "11"} if n else set())
    outside = [name for name in before if name.startswith("vit.model.") and ".blocks." not in name]
    assert all(torch.equal(backbone.state_dict()[name], before[name]) for name in outside)


@pytest.mark.parametrize(("name", "n"), [("timm:resnet18", 1), ("timm:vgg11_bn", 2)])
def test_frozen_batch_norms_keep_their_statistics(name, n):
    torch.manual_seed(0)
    backbone = make_pretrained(name, PretrainedConfig(finetune_blocks=n)).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items() if key.startswith("model.")}
    backbone(torch.rand(2, 3, 64, 64))
    after = backbone.state_dict()
    frozen = {f"{id(p)}" for module in backbone.frozen for p in module.buffers()}
    moved = {key for key in before if "running" in key and not torch.equal(after[key], before[key])}
    still = {key for key, value in backbone.named_buffers() if f"{id(value)}" in frozen and "running" in key}
    assert still
    assert not moved & still
    assert all(not p.requires_grad for module in backbone.frozen for p in module.parameters())
    assert any(p.requires_grad for key, p in backbone.named_parameters() if key.startswith("model."))


def test_weights_come_from_a_file(tmp_path):
    torch.manual_seed(1)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0)
    torch.save({"teacher": {f"backbone.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "w.pth")
    backbone = make_pretrained(TINY)
    backbone.load_pretrained(tmp_path / "w.pth")
    assert torch.equal(backbone.pretrained.blocks[3].attn.qkv.weight, model.blocks[3].attn.qkv.weight)


def refuse(*_arguments, **_keywords):
    raise OSError("no network")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (
            "dino_vits16",
            r"Download https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/.*backbone_weights=PATH",
        ),
        ("dinov3_vits16", "its authors ask for an account"),
    ],
)
def test_without_a_network_the_remedy_is_named_at_once(monkeypatch, tmp_path, name, remedy):
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=rf"{name}: its weights are not in the cache .*no network.*{remedy}"):
        download(name)


def test_other_weights_of_the_same_network_are_no_substitute():
    """A ResNet-50 has several weights on the hub, none of them DINO's."""
    with pytest.raises(
        InputError, match=r"dino_resnet50: timm's hub has no weights of it\. Download .*resnet50_pretrain"
    ):
        download("dino_resnet50")


def test_unknown_names_are_refused():
    for name in ("dino_vith", "timm:no_such_model", "resnet18"):
        with pytest.raises(InputError, match=rf"backbone='{name}' is unknown"):
            timm_name(name)


def test_other_channels_than_rgb_are_refused():
    with pytest.raises(InputError, match=r"channels=4 does not fit backbone='timm:.*', .* Give backbone=compact"):
        make_pretrained(TINY, channels=4)
