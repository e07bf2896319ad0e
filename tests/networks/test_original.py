"""The oracle is the original's forward pass, written from its description in float64: its own ViT, Lab by skimage."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.color import rgb2lab

from supercuts.core.errors import InputError
from supercuts.networks.files import make_ssn
from supercuts.networks.original import OriginalSSNDINO, config_of, rename
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import OriginalConfig, PretrainedConfig, SSNConfig

CONFIG = SSNConfig(
    backbone="dino_vits16",
    pretrained=PretrainedConfig(interpolation="original"),
    head="original",
    embedding_channels=15,
)
PATCH, HEADS, DIM = 16, 6, 384


def randomise(network):
    """Give every weight and statistic a value that matters; the defaults leave biases and positions nearly 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_var", "1.weight", "norm1.weight", "norm2.weight")) and value.ndim == 1:
                value.uniform_(0.5, 1.5, generator=generator)
            elif name.startswith("output_conv") and value.ndim > 1:  # scaled to keep a signal's size
                value.normal_(0, math.sqrt(2 / value[0].numel()), generator=generator)
            elif value.is_floating_point():
                value.normal_(0, 0.05, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return randomise(make_ssn(CONFIG))


def variant(network, **options):
    """Return the network with other options, sharing its weights."""
    config = network.config.model_copy(update={"original": OriginalConfig(**options)})
    other = copy.copy(network)
    other.config = config
    return other


def random_images(batch, height, width):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def norm(x, w, name):
    return F.layer_norm(x, (DIM,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def reference_keys(w, x):
    """Return the keys (B, N, 384) of the last block of a DINO v1 ViT-S/16, heads one after the other."""
    rows, cols = x.shape[2] // PATCH, x.shape[3] // PATCH
    x = x[..., : rows * PATCH, : cols * PATCH]
    tokens = F.unfold(x, PATCH, stride=PATCH).mT @ w["patch_embed.proj.weight"].flatten(1).T
    positions = w["pos_embed"][:, 1:].view(1, 14, 14, DIM).permute(0, 3, 1, 2)
    if (rows, cols) != (14, 14):
        scale = ((rows + 0.1) / 14, (cols + 0.1) / 14)
        positions = F.interpolate(positions, scale_factor=scale, mode="bicubic", align_corners=False)
    tokens = tokens + w["patch_embed.proj.bias"] + positions.permute(0, 2, 3, 1).reshape(1, rows * cols, DIM)
    x = torch.cat([(w["cls_token"] + w["pos_embed"][:, :1]).expand(len(x), 1, DIM), tokens], dim=1)
    for i in range(12):
        b, t, _ = x.shape
        qkv = linear(norm(x, w, f"blocks.{i}.norm1"), w, f"blocks.{i}.attn.qkv")
        q, k, v = qkv.reshape(b, t, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.mT) / math.sqrt(DIM // HEADS)).softmax(-1) @ v
        x = x + linear(mixed.transpose(1, 2).reshape(b, t, DIM), w, f"blocks.{i}.attn.proj")
        hidden = F.gelu(linear(norm(x, w, f"blocks.{i}.norm2"), w, f"blocks.{i}.mlp.fc1"))
        x = x + linear(hidden, w, f"blocks.{i}.mlp.fc2")
    return k.transpose(1, 2).reshape(b, t, DIM)[:, 1:]


def reference(network, images, n_superpixels, scrambled, color):
    """Return colour, position and learned channels (B, 20, H, W) in float64, as the original's inference does."""
    state = {name: value.double() for name, value in network.state_dict().items()}
    vit = {name.removeprefix("backbone.vit.model."): value for name, value in state.items()}
    height, width = images.shape[-2:]
    pixels = images.permute(0, 2, 3, 1).double().numpy()
    seen = torch.from_numpy(rgb2lab(pixels) if color == "lab" else 255 * pixels).permute(0, 3, 1, 2) * 0.26
    n = int(math.sqrt(n_superpixels))
    rows_cols = torch.from_numpy(np.indices((height, width)).astype(float)) * 2.5 * max(n / height, n / width)
    given = torch.cat([seen, rows_cols[None].expand(len(images), -1, -1, -1)], dim=1)
    keys, shape = reference_keys(vit, seen), (len(images), DIM, height // PATCH, width // PATCH)
    keys = keys.reshape(shape) if scrambled else keys.transpose(1, 2).reshape(shape)
    x = torch.cat([given, F.interpolate(keys, (height, width), mode="bilinear", align_corners=False)], dim=1)
    for i in range(3):
        x = F.conv2d(x, state[f"output_conv.{i}.0.weight"], padding=1)
        mean, var, weight, bias = (
            state[f"output_conv.{i}.1.{key}"].view(-1, 1, 1)
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (var + 1e-5).sqrt() * weight + bias).clamp_min(0)
    return torch.cat([given, x], dim=1)


@pytest.mark.parametrize("scrambled", [True, False])
@pytest.mark.parametrize(
    ("size", "color", "n_superpixels"),
    [((64, 64), "lab", 100), ((50, 71), "lab", 37), ((37, 32), "rgb", 500)],
)
def test_features_are_those_of_the_original(network, scrambled, size, color, n_superpixels):
    images = random_images(2, *size)
    other = variant(network, scrambled=scrambled, color=color, nominal_superpixels=n_superpixels)
    with torch.inference_mode():
        features, prediction = other.pixel_features(images, n_superpixels), other(images)
        expected = reference(network, images, n_superpixels, scrambled, color)
    torch.testing.assert_close(features.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prediction.embeddings, features[:, 5:], rtol=0, atol=0)
    assert 0.1 < (expected[:, 5:] > 0).double().mean() < 0.9  # the compared values are not all zero
    assert expected[:, 5:].std() > 0.1


def test_the_checkpoints_order_of_keys_matters(network):
    images = random_images(1, 48, 64)
    with torch.inference_mode():
        as_trained = network(images).embeddings
        in_place = variant(network, scrambled=False)(images).embeddings
    assert network.config.original.scrambled
    assert (as_trained - in_place).abs().max() > 0.1


def test_the_networks_position_is_of_the_nominal_number(network):
    images = random_images(1, 32, 48)
    with torch.inference_mode():
        few, many = (variant(network, nominal_superpixels=n)(images).embeddings for n in (25, 900))
        torch.testing.assert_close(many, network.pixel_features(images, 900)[:, 5:], rtol=0, atol=0)
    assert (few - many).abs().max() > 0.1


def test_forwards_are_equal_and_leave_no_hooks(network):
    images = random_images(1, 32, 32)
    with torch.inference_mode():
        first, second = network(images), network(images)
    assert torch.equal(first.embeddings, second.embeddings)
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()) == 0


def test_no_boundary_is_known(network):
    with torch.inference_mode():
        prediction = network(random_images(2, 17, 40))
    assert prediction.embeddings.shape == (2, 15, 17, 40)
    assert prediction.boundary_logits.shape == (2, 1, 17, 40)
    assert not prediction.boundary_logits.sigmoid().any()
    assert not prediction.boundary_logits.half().sigmoid().any()


def test_autocast_changes_nothing(network):
    images = random_images(1, 32, 32)
    with torch.inference_mode():
        expected = network(images).embeddings
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(network(images).embeddings, expected)


def test_the_images_of_a_batch_do_not_see_each_other(network):
    images = random_images(2, 32, 48)
    with torch.inference_mode():
        together, alone = network(images).embeddings, network(images[1:]).embeddings
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_a_config_builds_the_network_of_its_head(network):
    assert type(network) is OriginalSSNDINO
    assert type(make_ssn(SSNConfig())) is SSN
    assert type(copy.deepcopy(network)) is OriginalSSNDINO
    names = {name.removeprefix("backbone.vit.model.").split(".")[0] for name in network.state_dict()}
    assert names == {"cls_token", "pos_embed", "patch_embed", "blocks", "norm", "output_conv"}


def test_names_of_the_original_become_ours():
    tensors = {name: torch.zeros(1) for name in ("backbone.norm.bias", "output_conv.0.1.weight")}
    expected = {"backbone.vit.model.norm.bias", "output_conv.0.1.weight"}
    assert rename(tensors).keys() == expected
    assert rename({f"module.{name}": value for name, value in tensors.items()}).keys() == expected


@pytest.mark.parametrize("names", [[], ["backbone.norm.bias"], ["output_conv.0.0.weight"], ["norm.bias", "head.bias"]])
def test_tensors_of_other_networks_are_not_renamed(names):
    assert rename({name: torch.zeros(1) for name in names}) is None


def test_the_config_of_a_checkpoint_counts_its_learned_channels():
    assert config_of({}, OriginalConfig()) == CONFIG
    config = config_of({"output_conv.2.0.weight": torch.zeros(7, 64, 3, 3)}, OriginalConfig(scrambled=False))
    assert (config.embedding_channels, config.original.scrambled) == (7, False)


def test_pictures_smaller_than_a_patch_are_refused(network):
    with pytest.raises(InputError, match=r"15x40 are smaller than a patch of 16: enlarge them"):
        network(random_images(1, 15, 40))


@pytest.mark.parametrize("backbone", ["compact", "dinov2_vits14", "dino_resnet50"])
def test_other_backbones_are_refused(backbone):
    with pytest.raises(InputError, match=f"backbone='{backbone}' does not fit head='original'.* Give backbone="):
        make_ssn(SSNConfig(backbone=backbone, head="original"))


def test_another_head_is_refused():
    with pytest.raises(InputError, match=r"head='topdown' is another network\. Give SSNConfig\(head="):
        OriginalSSNDINO(SSNConfig())


def test_other_channels_than_rgb_are_refused():
    with pytest.raises(InputError, match=r"channels=5 does not fit head='original', which takes RGB\. Give channels=3"):
        make_ssn(CONFIG.model_copy(update={"channels": 5}))
