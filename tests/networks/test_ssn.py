import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from skimage.color import rgb2lab

from supercuts.core.errors import InputError
from supercuts.networks.ssn import SSN, rgb_to_lab
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels.grid import Grid
from supercuts.superpixels.kmeans_torch import make_layout, pixel_features, soft_kmeans, to_cells


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SSN(SSNConfig()).eval()


def random_images(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (2, 1, 7), (1, 16, 32), (2, 33, 47)])
def test_any_size_gives_one_prediction_a_pixel(network, batch, height, width):
    with torch.inference_mode():
        prediction = network(random_images(batch, height, width))
    assert prediction.embeddings.shape == (batch, network.config.embedding_channels, height, width)
    assert prediction.boundary_logits.shape == (batch, 1, height, width)
    assert prediction.embeddings.isfinite().all()
    assert prediction.boundary_logits.isfinite().all()


def test_odd_sizes_are_predicted_inside_a_replicated_border(network):
    images = random_images(1, 33, 47)
    with torch.inference_mode():
        small, padded = network(images), network(F.pad(images, (0, 1, 0, 15), mode="replicate"))
    torch.testing.assert_close(small.embeddings, padded.embeddings[..., :33, :47])
    torch.testing.assert_close(small.boundary_logits, padded.boundary_logits[..., :33, :47])


def test_images_of_a_batch_do_not_see_each_other_in_eval_mode(network):
    images = random_images(2, 16, 32)
    with torch.inference_mode():
        together, alone = network(images), network(images[1:])
    torch.testing.assert_close(together.embeddings[1:], alone.embeddings, rtol=1e-4, atol=1e-5)


def test_outputs_are_float32_under_autocast(network):
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = network(random_images(1, 16, 16))
    assert prediction.embeddings.dtype == prediction.boundary_logits.dtype == torch.float32


def test_every_parameter_has_a_gradient():
    network = SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=2))
    prediction = network(random_images(2, 32, 32))
    (prediction.embeddings.square().mean() + prediction.boundary_logits.square().mean()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


REGIONS = SSNConfig(head_channels=(4, 5, 6, 7), embedding_channels=2, context_channels=3, region_channels=4)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 30), (32, 33)])
def test_region_maps_are_of_half_the_size_rounded_up(height, width):
    prediction = SSN(REGIONS).eval()(random_images(2, height, width))
    size = (-(-height // 2), -(-width // 2))
    assert prediction.strength_logits.shape == (2, 1, *size)
    assert prediction.region_embeddings.shape == (2, 4, *size)


def test_every_parameter_of_the_region_head_and_the_context_has_a_gradient():
    network = SSN(REGIONS)
    torch.nn.init.ones_(network.head.context.norm.weight)
    prediction = network(random_images(2, 64, 64))
    outputs = (prediction.embeddings, prediction.boundary_logits, prediction.strength_logits)
    sum(x.square().mean() for x in (*outputs, prediction.region_embeddings)).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_new_context_changes_nothing():
    plain = SSN(REGIONS.model_copy(update={"context_channels": 0})).eval()
    wide = SSN(REGIONS).eval()
    wide.load_state_dict(plain.state_dict(), strict=False)
    images = random_images(1, 32, 48)
    torch.testing.assert_close(wide(images).embeddings, plain(images).embeddings, rtol=0, atol=0)


def test_the_compact_network_is_compact(network):
    assert 0.3e6 <= sum(p.numel() for p in network.parameters()) <= 2e6


def test_pixel_features_match_hand_worked_image():
    lab = torch.arange(18.0).view(1, 3, 2, 3)
    embeddings = -torch.ones(1, 1, 2, 3)
    config = SSNConfig(color_scale=0.5, position_scale=3.0)
    features = pixel_features(lab, embeddings, Grid(2, 3, 1, 2), config)
    # scale 3 * max(1 row / 2 px, 2 cols / 3 px) = 2 a pixel
    expected = [
        [[0, 0.5, 1], [1.5, 2, 2.5]],  # L
        [[3, 3.5, 4], [4.5, 5, 5.5]],  # a
        [[6, 6.5, 7], [7.5, 8, 8.5]],  # b
        [[0, 0, 0], [2, 2, 2]],  # row
        [[0, 2, 4], [0, 2, 4]],  # column
        [[-1, -1, -1], [-1, -1, -1]],
    ]
    torch.testing.assert_close(features, torch.tensor([expected]))


def test_without_embeddings_color_and_position_alone_make_superpixels():
    grid = Grid(8, 12, 2, 3)
    lab = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 100
    features = pixel_features(lab, None, grid, SSNConfig())
    assert features.shape == (2, 5, 8, 12)
    with_embeddings = pixel_features(lab, torch.ones(2, 4, 8, 12), grid, SSNConfig())
    torch.testing.assert_close(with_embeddings[:, :5], features)
    layout = make_layout(grid)
    soft = soft_kmeans(to_cells(features, layout), layout, 5)
    assert soft.centers.shape == (2, 6, 5)
    assert soft.weights.isfinite().all()


def test_a_head_of_another_depth_than_the_backbone_is_refused():
    with pytest.raises(InputError, match=r"head_channels=\(8, 8\) .* Give one width for each map"):
        SSN(SSNConfig(head_channels=(8, 8)))


def test_an_unknown_backbone_is_refused():
    with pytest.raises(InputError, match=r"backbone='huge' is unknown\. Choose compact, one of dino_vits16"):
        SSN(SSNConfig(backbone="huge"))


@pytest.mark.parametrize("field", [{"colour_scale": 1.0}, {"embedding_channels": 0}, {"position_scale": -1.0}])
def test_unknown_keys_and_impossible_values_are_refused(field):
    with pytest.raises(ValidationError):
        SSNConfig(**field)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_images_of_other_channels_have_a_network_of_their_own(channels):
    network = SSN(SSNConfig(channels=channels, head_channels=(4, 4, 4, 4), embedding_channels=2))
    images = torch.rand(2, channels, 19, 21, generator=torch.Generator().manual_seed(0))
    prediction = network(images)
    assert prediction.embeddings.shape == (2, 2, 19, 21)
    changed = images.clone()
    changed[:, -1] = 1 - changed[:, -1]
    assert not torch.allclose(network.eval()(changed).embeddings, network(images).embeddings)


def test_images_of_other_channels_than_the_network_s_are_refused(network):
    with pytest.raises(InputError, match=r"images of 5 channels do not fit a network for 3\..*model\.channels=5"):
        network(torch.zeros(1, 5, 16, 16))


def test_channels_are_positive_and_three_unless_given():
    assert SSNConfig().channels == 3
    with pytest.raises(ValidationError):
        SSNConfig(channels=0)


def test_pixel_features_take_any_bands():
    grid = Grid(8, 12, 2, 3)
    color = torch.rand(1, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    features = pixel_features(color, torch.ones(1, 4, 8, 12), grid, SSNConfig(channels=5, color_scale=0.5))
    assert features.shape == (1, 5 + 2 + 4, 8, 12)
    torch.testing.assert_close(features[:, :5], 0.5 * color)


def test_lab_is_that_of_skimage():
    pixels = np.random.default_rng(0).random((1, 40, 50, 3))
    pixels[0, :2] = np.linspace(0, 0.06, 100).reshape(2, 50, 1)  # the straight part of both curves
    lab = rgb_to_lab(torch.from_numpy(pixels).float().permute(0, 3, 1, 2))
    np.testing.assert_allclose(lab.permute(0, 2, 3, 1), rgb2lab(pixels), atol=5e-4)
