import math

import numpy as np
import pytest
import torch

from supercuts.networks.ssn_config import PretrainedConfig, SSNConfig
from supercuts.superpixels.grid import Grid
from supercuts.superpixels.kmeans_torch import CellLayout, make_layout, to_cells
from supercuts.training import ssn as training
from supercuts.training.module import (
    SSNTraining,
    boundary_loss,
    compactness_loss,
    pair_loss,
    reconstruction_loss,
    strength_loss,
    superpixel_losses,
)
from supercuts.training.samples import CropStream, TrainingSample
from supercuts.training.training_config import LossConfig


def test_the_learning_rate_warms_up_and_falls_to_zero(training_root, tmp_path, make_train_config):
    config = make_train_config(training_root, tmp_path).model_copy(update={"max_steps": 100, "warmup_steps": 10})
    module = SSNTraining(config, training.make_network(config), CropStream([], config.data, 0))
    configured = module.configure_optimizers()
    factor = configured["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.09)))
    assert factor(50) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0)
    assert configured["lr_scheduler"]["interval"] == "step"


def test_pretrained_layers_have_their_own_rate_and_frozen_ones_none(training_root, tmp_path, make_train_config):
    model = SSNConfig(
        backbone="timm:resnet18", pretrained=PretrainedConfig(finetune_blocks=1), head_channels=(4, 4, 4, 4, 4)
    )
    config = make_train_config(
        training_root, tmp_path, model=model, backbone_weights="random", learning_rate=1e-3, backbone_lr_scale=0.2
    )
    module = SSNTraining(config, training.make_network(config), CropStream([], config.data, 0))
    ours, theirs = module.configure_optimizers()["optimizer"].param_groups
    assert [ours["initial_lr"], theirs["initial_lr"]] == pytest.approx([1e-3, 2e-4])
    last = list(module.network.backbone.pretrained.layer4.parameters())
    assert {id(parameter) for parameter in theirs["params"]} == {id(parameter) for parameter in last}
    trained = [id(parameter) for group in (ours, theirs) for parameter in group["params"]]
    assert len(trained) == len(set(trained))
    assert set(trained) == {id(parameter) for parameter in module.network.parameters() if parameter.requires_grad}


def test_the_curve_goes_with_the_checkpoint(training_root, tmp_path, make_train_config):
    config = make_train_config(training_root, tmp_path)
    first, second = (SSNTraining(config, training.make_network(config), CropStream([], config.data, 0)) for _ in "ab")
    first.curve.append({"step": 5, "val_asa": 0.5})
    checkpoint = {}
    first.on_save_checkpoint(checkpoint)
    second.on_load_checkpoint(checkpoint)
    assert second.curve == [{"step": 5, "val_asa": 0.5}]


def test_losses_of_a_batch_are_the_mean_over_its_images():
    generator = torch.Generator().manual_seed(0)
    batch = TrainingSample(
        torch.rand(3, 3, 40, 40, generator=generator),
        torch.zeros(3, 1, 40, 40),
        torch.zeros(3, 1, 40, 40),
        torch.randint(0, 4, (3, 40, 40), generator=generator),
    )
    embeddings = torch.randn(3, 5, 40, 40, generator=generator)
    config = LossConfig(ssn_crop_px=24, ssn_cells=(9, 16), ssn_iterations=2)

    def losses(part: slice) -> list[float]:
        one = TrainingSample(*(getattr(batch, field)[part] for field in TrainingSample.__slots__))
        rng = np.random.default_rng(1)  # the same part and number of cells each time
        return [float(x) for x in superpixel_losses(one, embeddings[part], config, SSNConfig(), rng)]

    singles = [losses(slice(i, i + 1)) for i in range(3)]
    assert losses(slice(None)) == pytest.approx(np.mean(singles, axis=0), rel=1e-5)
    assert singles[0] != singles[1]


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def hard_weights(layout: CellLayout, batch: int = 1) -> torch.Tensor:
    """Return Q in which every pixel belongs to its own cell alone."""
    n, p = layout.is_pixel.shape
    weights = torch.zeros(batch, n, 9, p)
    weights[:, :, 4] = layout.is_pixel.float()
    return weights


def positions(grid: Grid, layout: CellLayout) -> torch.Tensor:
    axes = torch.arange(float(grid.height)), torch.arange(float(grid.width))
    return to_cells(torch.stack(torch.meshgrid(*axes, indexing="ij"))[None], layout)


def labels_in_cells(labels: list[list[int]], layout: CellLayout) -> torch.Tensor:
    return to_cells(torch.tensor(labels)[None, None], layout)[:, :, 0]


# regions


def test_the_best_strength_is_the_share_averaged_over_a_cell():
    share = torch.rand(2, 1, 8, 6, generator=torch.Generator().manual_seed(0))
    averaged = torch.nn.functional.avg_pool2d(share, 2)
    best = strength_loss(averaged.logit(), share)
    entropy = -(averaged * averaged.log() + (1 - averaged) * (1 - averaged).log()).mean()
    torch.testing.assert_close(best, entropy)
    for shift in (-0.2, 0.2):
        assert strength_loss(averaged.logit() + shift, share) > best


def halves(distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings at half resolution and labels of two halves so far apart."""
    embeddings = torch.zeros(1, 2, 10, 16)
    embeddings[..., 8:] = distance / math.sqrt(2)
    labels = torch.zeros(1, 20, 32, dtype=torch.long)
    labels[..., 16:] = 1
    return embeddings, labels


def test_embeddings_far_apart_for_two_regions_cost_nothing():
    assert pair_loss(*halves(6.0), 500, (2.0, 20.0), 0) < 1e-6


def test_pairs_of_one_region_cost_their_squared_distance_and_others_the_logarithm():
    embeddings, labels = halves(1.5)
    same = pair_loss(embeddings, torch.zeros_like(labels), 4000, (2.0, 20.0), 0)
    both = pair_loss(embeddings, labels, 4000, (2.0, 20.0), 0)
    share = same / 1.5**2  # the loss of pairs across the border
    assert 0.05 < share < 0.5
    torch.testing.assert_close(both, -share * math.log(1 - math.exp(-(1.5**2))), rtol=1e-4, atol=0)


def test_pairs_keep_their_distance():
    embeddings, labels = halves(3.0)
    near = pair_loss(embeddings, torch.zeros_like(labels), 4000, (1.0, 2.0), 0)
    far = pair_loss(embeddings, torch.zeros_like(labels), 4000, (12.0, 16.0), 0)
    assert far > 4 * near


def test_equal_embeddings_of_two_regions_have_a_bounded_gradient():
    embeddings, labels = halves(0.0)
    embeddings.requires_grad_()
    pair_loss(embeddings, labels, 500, (2.0, 20.0), 0).backward()
    assert embeddings.grad.isfinite().all()


# boundary


def one_boundary_pixel() -> torch.Tensor:
    share = torch.zeros(1, 1, 10, 10)
    share[0, 0, 3, 4] = 1
    return share


def test_a_perfect_boundary_map_costs_nothing_and_its_opposite_much():
    share = one_boundary_pixel()
    logits = 40 * share - 20
    assert boundary_loss(logits, share) < 1e-6
    assert boundary_loss(-logits, share) == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("n_positive", [1, 10, 60])
def test_an_undecided_boundary_map_costs_log_2(n_positive):
    share = torch.zeros(2, 1, 10, 10)
    share.view(2, -1)[:, :n_positive] = 1
    assert boundary_loss(torch.zeros_like(share), share) == pytest.approx(math.log(2), rel=1e-5)


def test_one_positive_weighs_as_much_as_all_negatives():
    share = one_boundary_pixel()
    misses = torch.full_like(share, -20.0)
    misses[share == 1] = -3
    false_alarms = torch.full_like(share, 3.0)
    false_alarms[share == 1] = 20
    assert boundary_loss(misses, share) == pytest.approx(softplus(3) / 2, rel=1e-4)
    assert boundary_loss(false_alarms, share) == pytest.approx(softplus(3) / 2, rel=1e-4)


def test_boundary_loss_matches_hand_worked_shares():
    share = torch.tensor([[[[1.0, 0.5, 0.0, 0.0]]]])
    logits = torch.tensor([[[[2.0, -1.0, 0.5, -3.0]]]])
    positive = (softplus(-2) + 0.5 * softplus(1)) / 1.5
    negative = (softplus(0.5) + softplus(-3)) / 2
    assert boundary_loss(logits, share) == pytest.approx((positive + negative) / 2, rel=1e-5)


def test_boundary_loss_of_a_batch_is_the_mean_over_images():
    generator = torch.Generator().manual_seed(0)
    logits, share = torch.randn(3, 1, 6, 5, generator=generator), torch.rand(3, 1, 6, 5, generator=generator).round()
    alone = torch.stack([boundary_loss(logits[i : i + 1], share[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(boundary_loss(logits, share), alone.mean())


def test_an_image_without_boundaries_has_a_finite_loss_and_gradient():
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = boundary_loss(logits, torch.zeros(1, 1, 4, 4))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


# reconstruction


def test_labels_that_follow_the_superpixels_are_reconstructed():
    layout = make_layout(Grid(4, 4, 2, 2))
    labels = labels_in_cells([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]], layout)
    assert reconstruction_loss(hard_weights(layout), labels, layout) == pytest.approx(0, abs=1e-6)


def test_superpixels_that_lie_half_in_each_region_cost_log_2():
    layout = make_layout(Grid(4, 4, 2, 2))
    labels = labels_in_cells([[0, 1, 0, 1]] * 4, layout)
    assert reconstruction_loss(hard_weights(layout), labels, layout) == pytest.approx(math.log(2), rel=1e-5)


def test_reconstruction_matches_hand_worked_quarter():
    layout = make_layout(Grid(1, 4, 1, 1))
    labels = labels_in_cells([[0, 0, 0, 1]], layout)
    expected = -(3 * math.log(0.75) + math.log(0.25)) / 4
    assert reconstruction_loss(hard_weights(layout), labels, layout) == pytest.approx(expected, rel=1e-5)


def test_reconstruction_does_not_depend_on_the_order_of_the_labels():
    grid = Grid(5, 7, 2, 3)
    layout = make_layout(grid)
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2, 6, 9, layout.is_pixel.shape[1], generator=generator) * (layout.outside == 0)[..., None]
    weights = weights / weights.sum(2, keepdim=True) * layout.is_pixel[:, None]
    labels = torch.randint(3, (2, *layout.is_pixel.shape), generator=generator)
    renamed = torch.tensor([2, 0, 1])[labels]
    torch.testing.assert_close(
        reconstruction_loss(weights, renamed, layout), reconstruction_loss(weights, labels, layout)
    )


# compactness


@pytest.mark.parametrize("side", [1, 4, 8])
def test_compactness_of_a_square_is_known(side):
    grid = Grid(side, side, 1, 1)
    layout = make_layout(grid)
    # the variance of 0..s-1 is (s^2 - 1) / 12 along each axis, in units of the cell's area s^2
    expected = (side**2 - 1) / 6 / side**2
    assert compactness_loss(hard_weights(layout), positions(grid, layout), layout) == pytest.approx(expected, rel=1e-5)


def test_compactness_of_four_squares_is_that_of_one():
    grid = Grid(8, 8, 2, 2)
    layout = make_layout(grid)
    assert compactness_loss(hard_weights(layout, 2), positions(grid, layout).expand(2, -1, -1, -1), layout) == (
        pytest.approx(15 / 96, rel=1e-5)
    )


def test_compactness_measures_to_the_heaviest_candidate():
    grid = Grid(1, 4, 1, 2)
    layout = make_layout(grid)
    weights = torch.zeros(1, 2, 9, 2)
    weights[0, :, 4] = 1
    weights[0, 0, :, 1] = 0
    weights[0, 0, 5, 1] = 1  # pixel 1 belongs to the right superpixel: centroids 0 and (1 + 2 + 3) / 3 = 2
    expected = (0 + 1 + 0 + 1) / 4 / 2  # cells of two pixels
    assert compactness_loss(weights, positions(grid, layout), layout) == pytest.approx(expected, rel=1e-5)


# padding


def test_padding_is_not_counted_as_lost():
    layout = make_layout(Grid(3, 5, 2, 2))  # cells of 2 and 1 rows, 3 and 2 columns
    assert not layout.is_pixel.all()
    labels = labels_in_cells([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [2, 2, 2, 3, 3]], layout)
    assert reconstruction_loss(hard_weights(layout), labels, layout) == pytest.approx(0, abs=1e-6)


def test_padding_changes_no_loss():
    grid = Grid(3, 5, 2, 2)
    layout = make_layout(grid)
    weights = hard_weights(layout)
    labels = labels_in_cells([[0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [2, 2, 2, 2, 2]], layout)
    where = positions(grid, layout)
    noisy_labels = torch.where(layout.is_pixel, labels, 5)
    noisy_where = torch.where(layout.is_pixel[:, None], where, 1e3)
    torch.testing.assert_close(
        reconstruction_loss(weights, noisy_labels, layout), reconstruction_loss(weights, labels, layout)
    )
    torch.testing.assert_close(compactness_loss(weights, noisy_where, layout), compactness_loss(weights, where, layout))
