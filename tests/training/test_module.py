import math

import numpy as np
import pytest
import torch

from supercuts.networks.backbones.base import PretrainedConfig
from supercuts.networks.ssn import SSNConfig
from supercuts.training import ssn as training
from supercuts.training.config import LossConfig
from supercuts.training.module import SSNTraining, superpixel_losses
from supercuts.training.samples import CropStream, TrainingSample


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


def test_what_was_pretrained_learns_at_its_own_rate_and_what_is_frozen_not_at_all(
    training_root, tmp_path, make_train_config
):
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
    assert {id(one) for one in theirs["params"]} == {id(one) for one in last}
    trained = [id(one) for group in (ours, theirs) for one in group["params"]]
    assert len(trained) == len(set(trained))
    assert set(trained) == {id(one) for one in module.network.parameters() if one.requires_grad}


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
