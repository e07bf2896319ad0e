import math
import urllib.request

import numpy as np
import pytest
import scipy.special
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

from supercuts.core.errors import InputError
from supercuts.networks.backbones.pretrained import (
    PretrainedCNN,
    PretrainedViT,
    ViTFeatures,
    download,
    make_pretrained,
    timm_name,
)
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


def test_other_weights_of_the_same_network_are_refused():
    """The hub has several weights of ResNet-50, none of them DINO's."""
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


def tiny(**changes):
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 0}
    model = VisionTransformer(**{**sizes, "dynamic_img_size": True, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the defaults leave biases 0 and positions nearly so
            parameter.normal_(0, 0.2)
    return model


def layer_norm(x, weight, bias, eps=1e-6):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def reference(state, image, patch, heads, layer, original):
    """Return queries, keys, values (N, dim) of the patches in one layer, and its output tokens."""
    w = {name: value.double().numpy() for name, value in state.items()}
    rows, columns = image.shape[1] // patch, image.shape[2] // patch
    kernel = w["patch_embed.proj.weight"].reshape(len(w["patch_embed.proj.bias"]), -1)
    cells = image[:, : rows * patch, : columns * patch].reshape(3, rows, patch, columns, patch)
    x = cells.transpose(1, 3, 0, 2, 4).reshape(rows * columns, -1) @ kernel.T + w["patch_embed.proj.bias"]
    side = math.isqrt(w["pos_embed"].shape[1] - 1)
    grid = torch.from_numpy(w["pos_embed"][:, 1:]).reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if (rows, columns) != (side, side):
        if original:
            grid = F.interpolate(grid, scale_factor=((rows + 0.1) / side, (columns + 0.1) / side), mode="bicubic")
        else:
            grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
    x = x + grid.permute(0, 2, 3, 1).reshape(rows * columns, -1).numpy()
    x = np.concatenate([w["cls_token"][0] + w["pos_embed"][0, :1], x])
    for i in range(layer + 1):
        part = {
            name.removeprefix(f"blocks.{i}."): value for name, value in w.items() if name.startswith(f"blocks.{i}.")
        }
        normed = layer_norm(x, part["norm1.weight"], part["norm1.bias"])
        q, k, v = np.split(normed @ part["attn.qkv.weight"].T + part["attn.qkv.bias"], 3, axis=1)
        by_head = [m.reshape(len(x), heads, -1).transpose(1, 0, 2) for m in (q, k, v)]
        attention = scipy.special.softmax(
            by_head[0] @ by_head[1].transpose(0, 2, 1) / math.sqrt(by_head[0].shape[2]), -1
        )
        mixed = (attention @ by_head[2]).transpose(1, 0, 2).reshape(len(x), -1)
        x = x + mixed @ part["attn.proj.weight"].T + part["attn.proj.bias"]
        hidden = (
            layer_norm(x, part["norm2.weight"], part["norm2.bias"]) @ part["mlp.fc1.weight"].T + part["mlp.fc1.bias"]
        )
        hidden = hidden * 0.5 * (1 + scipy.special.erf(hidden / math.sqrt(2)))
        x = x + hidden @ part["mlp.fc2.weight"].T + part["mlp.fc2.bias"]
    return {"query": q[1:], "key": k[1:], "value": v[1:], "token": x[1:]}


def picture(height, width):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, height, width)).astype(np.float32))


@pytest.mark.parametrize("facet", ["query", "key", "value", "token"])
@pytest.mark.parametrize(
    ("layer", "size", "interpolation"), [(-1, (32, 32), "timm"), (1, (40, 56), "original"), (0, (24, 48), "timm")]
)
def test_features_are_those_of_the_reference(facet, layer, size, interpolation):
    model = tiny()
    features = ViTFeatures(model, layer, facet, interpolation=interpolation)
    image = picture(*size)
    with torch.no_grad():
        got = features(image)[0].double().numpy()
    expected = reference(model.state_dict(), image[0].double().numpy(), 8, 3, layer % 3, interpolation == "original")
    assert got.shape == (24, size[0] // 8, size[1] // 8)
    np.testing.assert_allclose(got.reshape(24, -1).T, expected[facet], atol=1e-5)


@pytest.mark.parametrize(
    ("size", "interpolation"), [((224, 224), "timm"), ((224, 224), "original"), ((320, 480), "original")]
)
def test_keys_of_vit_small_are_those_of_the_reference(size, interpolation):
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_small_patch16_224.dino", pretrained=False, num_classes=0, dynamic_img_size=True
    ).eval()
    image = picture(*size)
    with torch.no_grad():
        got = ViTFeatures(model, interpolation=interpolation)(image)[0].double().numpy()
    expected = reference(model.state_dict(), image[0].double().numpy(), 16, 6, 11, interpolation == "original")["key"]
    np.testing.assert_allclose(got.reshape(384, -1).T, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "n_prefix"),
    [
        ("vit_small_patch14_reg4_dinov2.lvd142m", 5),
        ("vit_small_patch16_dinov3.lvd1689m", 5),
        ("vit_small_patch16_dinov3_qkvb.lvd1689m", 5),
    ],
)
def test_keys_are_those_of_the_attention(name, n_prefix):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True, depth=2).eval()
    attention, caught = model.blocks[-1].attn, {}
    if getattr(attention, "q_bias", None) is not None:
        torch.nn.init.normal_(attention.q_bias)
    attention.k_norm.register_forward_hook(lambda module, inputs, output: caught.update(keys=inputs[0]))
    features = ViTFeatures(model)
    patch = features.patch_px
    image = picture(4 * patch, 6 * patch)
    with torch.no_grad():
        got = features(image)
        model.forward_features(image)
    keys = caught["keys"].transpose(1, 2).flatten(2)[:, n_prefix:]  # B T heads*d
    np.testing.assert_allclose(got.flatten(2).transpose(1, 2), keys, atol=1e-5)
    with torch.no_grad():
        tokens = ViTFeatures(model, facet="token")(image).flatten(2).transpose(1, 2)
        np.testing.assert_allclose(model.norm(tokens), model.forward_features(image)[:, n_prefix:], atol=1e-4)


def test_finer_stride_contains_the_coarser_grid():
    model, image = tiny(), picture(32, 48)
    coarse = ViTFeatures(model, 0, "key")
    with torch.no_grad():
        model.pos_embed.zero_()
        wide = coarse(image)
        fine = ViTFeatures(model, 0, "key", stride=4)(image)
    assert fine.shape[-2:] == (7, 11)
    np.testing.assert_allclose(fine[..., ::2, ::2], wide, atol=1e-5)


def test_overlapping_patches_are_centred_on_cells():
    features = ViTFeatures(tiny(), stride=4)
    rows, columns = features.grid_shape(32, 48)
    # a ramp of the patches' centre rows must stay the ramp of the cells' centre rows
    centres = 4 * torch.arange(rows, dtype=torch.float32) + 4
    moved = features.center(centres.view(1, 1, -1, 1).expand(1, 1, rows, columns), 8, 12)
    assert moved.shape == (1, 1, 8, 12)
    np.testing.assert_allclose(moved[0, 0, :, 3], [4, 6, 10, 14, 18, 22, 26, 28], atol=1e-4)


def test_a_remainder_fills_no_patch():
    features = ViTFeatures(tiny())
    image = picture(39, 47)
    with torch.no_grad():
        np.testing.assert_allclose(features(image), features(image[..., :32, :40]), atol=1e-6)


def test_frozen_blocks_run_without_gradients():
    features = ViTFeatures(tiny(), facet="token")
    features.n_frozen = 2
    features(picture(32, 32)).sum().backward()
    assert features.model.blocks[1].mlp.fc1.weight.grad is None
    assert features.model.blocks[2].mlp.fc1.weight.grad is not None
    assert features.model.patch_embed.proj.weight.grad is None


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"layer": 3}, "The model has 3 blocks"),
        ({"stride": 3}, "Give a divisor of it"),
        ({"stride": 0}, "Give a divisor of it"),
    ],
)
def test_impossible_options_are_refused(options, remedy):
    with pytest.raises(InputError, match=remedy):
        ViTFeatures(tiny(), **options)


def test_images_that_cannot_be_embedded_are_refused():
    with pytest.raises(InputError, match="enlarge them"):
        ViTFeatures(tiny())(picture(7, 30))
    with pytest.raises(InputError, match="is for DINO v1"):
        ViTFeatures(tiny(reg_tokens=4), interpolation="original")(picture(32, 32))
