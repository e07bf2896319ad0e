import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from supercuts.core.errors import InputError
from supercuts.model import Model
from supercuts.networks.backbones.pretrained import make_pretrained
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import PretrainedConfig, SSNConfig
from supercuts.objects.features import PatchFeatures, color_and_place, dino_keys, load_vit, pool_features, vit_of

TINY = "timm:vit_tiny_patch16_224"


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_labels(shape, n, seed=0):
    labels = np.random.default_rng(seed).integers(0, n, shape, dtype=np.int32)
    labels.flat[:n] = np.arange(n)
    return labels


@pytest.mark.parametrize("is_tensor", [False, True])
def test_means_are_those_of_the_upsampled_map(is_tensor):
    maps, labels = np.random.default_rng(0).standard_normal((5, 4, 6)).astype(np.float32), random_labels((64, 96), 20)
    up = F.interpolate(torch.from_numpy(maps)[None], (64, 96), mode="bilinear", align_corners=False)[0].numpy()
    expected = np.stack([up[:, labels == i].mean(1) for i in range(20)])
    actual = pool_features(torch.from_numpy(maps) if is_tensor else maps, labels, 20, 16)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_padding_takes_no_part():
    """An image that ends within a patch: only its own pixels are counted, at the places they have in the padded one."""
    maps = np.random.default_rng(0).standard_normal((3, 3, 3)).astype(np.float32)
    labels = random_labels((40, 35), 6)
    up = F.interpolate(torch.from_numpy(maps)[None], (48, 48), mode="bilinear", align_corners=False)[0].numpy()
    expected = np.stack([up[:, :40, :35][:, labels == i].mean(1) for i in range(6)])
    np.testing.assert_allclose(pool_features(maps, labels, 6, 16), expected, atol=1e-5)


def test_overlapping_patches_are_centred_where_they_look():
    # if values are the patches' centres, the result is the mean place of each superpixel
    centers = 8.0 + 4 * np.arange(9)
    maps = np.stack(np.meshgrid(centers, centers, indexing="ij")).astype(np.float32)
    labels = np.full((48, 48), 2, np.int32)
    labels[10:14, 20:30], labels[20:32, 9:11] = 0, 1
    actual = pool_features(maps, labels, 3, 4, 8)
    np.testing.assert_allclose(actual[:2], [[12, 25], [26, 10]], atol=1e-4)


def test_maps_that_do_not_fit_are_refused():
    maps = np.zeros((2, 3, 3), np.float32)
    with pytest.raises(InputError, match=r"must lie in 0\.\.1"):
        pool_features(maps, np.full((4, 4), 2, np.int32), 2, 16)
    with pytest.raises(InputError, match="label 0 has no pixel"):
        pool_features(maps, np.ones((4, 4), np.int32), 2, 16)


def test_colors_and_places_are_means_over_pixels():
    image, labels = picture(5, 9), random_labels((5, 9), 4)
    actual = color_and_place(image, labels, 4)
    for i in range(4):
        ys, xs = np.nonzero(labels == i)
        np.testing.assert_allclose(actual[i], [*image[ys, xs].mean(0) / 255, ys.mean() / 4, xs.mean() / 8])


def test_pixels_in_no_superpixel_are_not_summed():
    maps, labels = np.random.default_rng(0).standard_normal((5, 4, 6)).astype(np.float32), random_labels((64, 96), 20)
    labels[10:30, 5:40] = -1
    up = F.interpolate(torch.from_numpy(maps)[None], (64, 96), mode="bilinear", align_corners=False)[0].numpy()
    expected = np.stack([up[:, labels == i].mean(1) for i in range(20)])
    np.testing.assert_allclose(pool_features(maps, labels, 20, 16), expected, atol=1e-5)
    with pytest.raises(InputError, match="-1: none"):
        pool_features(maps, np.where(labels < 0, np.int32(-2), labels), 20, 16)


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return make_pretrained(TINY, PretrainedConfig(finetune_blocks=0)).eval()


@pytest.mark.parametrize("name", [TINY, "timm:vit_small_patch16_dinov3"])
def test_keys_are_those_inside_the_last_attention(name):
    """Against the model's own forward pass: RGB normalised by its own statistics, no prefix tokens, row by row."""
    torch.manual_seed(0)
    backbone = make_pretrained(name).eval()
    image = picture(48, 80)
    model, kept = backbone.pretrained, []
    handle = model.blocks[-1].attn.qkv.register_forward_hook(lambda _m, _i, output: kept.append(output))
    mean, std = backbone.mean.flatten().numpy(), backbone.std.flatten().numpy()
    with torch.no_grad():
        model(torch.from_numpy(((image / 255 - mean) / std).transpose(2, 0, 1).astype(np.float32))[None])
    handle.remove()
    dim = model.embed_dim
    keys = kept[0][0, model.num_prefix_tokens :, dim : 2 * dim].reshape(3, 5, dim).permute(2, 0, 1)
    actual = dino_keys(backbone, image)
    np.testing.assert_allclose(actual.values, keys, atol=1e-4)
    np.testing.assert_array_equal(actual.nodes[7], actual.values[:, 1, 2])
    assert (actual.stride_px, actual.offset_px) == (16, 8)


def test_no_hook_stays_and_nothing_changes(vit):
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    first, second = (dino_keys(vit, picture(32, 48)).values for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in vit.modules())
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_keys_are_those_of_the_last_block_whatever_the_backbone_gives(vit):
    other = make_pretrained(TINY, PretrainedConfig(layer=3, facet="token")).eval()
    other.load_state_dict(vit.state_dict())
    np.testing.assert_array_equal(dino_keys(other, picture(32, 32)).values, dino_keys(vit, picture(32, 32)).values)


def test_an_image_is_continued_by_its_own_border(vit):
    image = picture(40, 35)
    padded = np.pad(image, ((0, 8), (0, 13), (0, 0)), mode="edge")
    np.testing.assert_allclose(dino_keys(vit, image).values, dino_keys(vit, padded).values, atol=1e-5)
    assert dino_keys(vit, picture(5, 7)).values.shape == (192, 1, 1)


@pytest.mark.parametrize(("stride", "grid"), [(16, (3, 4)), (8, (4, 6)), (4, (7, 11))])
def test_every_patch_of_the_grid_has_pixels(vit, stride, grid):
    backbone = make_pretrained(TINY, PretrainedConfig(stride=stride)).eval()
    actual = dino_keys(backbone, picture(37, 53))
    assert actual.values.shape[1:] == grid
    labels = actual.grid_labels(37, 53)
    assert np.array_equal(np.unique(labels), np.arange(grid[0] * grid[1]))
    # the patch of a pixel is the one whose centre is nearest
    nearest = [
        abs(np.arange(size)[:, None] + 0.5 - 8 - stride * np.arange(n)) for size, n in zip((37, 53), grid, strict=True)
    ]
    rows, columns = labels // grid[1], labels % grid[1]
    for axis, index in enumerate((rows[:, 0], columns[0])):
        chosen = nearest[axis][np.arange(index.size), index]
        np.testing.assert_array_equal(chosen, nearest[axis].min(1))


def test_a_transformer_is_found_in_networks_and_models(vit):
    network = SSN(SSNConfig(backbone=TINY, head_channels=(8,)))
    assert vit_of(network) is network.backbone
    assert vit_of(Model(network)) is network.backbone
    assert vit_of(vit) is vit
    with pytest.raises(InputError, match=r"Model has no vision transformer, but CompactCNN: load one with load_vit"):
        vit_of(Model(SSN(SSNConfig())))


def test_weights_come_from_a_file(tmp_path, vit):
    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), tmp_path / "random.pth")
    loaded = load_vit(TINY, tmp_path / "random.pth")
    assert isinstance(dino_keys(loaded, picture(32, 32)), PatchFeatures)
    assert not loaded.training
    with pytest.raises(InputError, match="is not a vision transformer"):
        load_vit("timm:resnet18", tmp_path / "random.pth")
