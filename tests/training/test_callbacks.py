import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from supercuts.training.callbacks import Averaging, SafeCheckpoints


class Full(Exception):
    """The disk is."""


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    SafeCheckpoints().save_checkpoint({"step": 1}, path)

    def fail_half_way(checkpoint, target):
        target.write_bytes(b"half")
        raise Full

    monkeypatch.setattr(torch, "save", fail_half_way)
    with pytest.raises(Full):
        SafeCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_average_forgets_with_its_decay_and_leaves_frozen_weights_alone():
    module = LightningModule()
    module.free, module.frozen = nn.Linear(1, 1), nn.Linear(100, 100)
    averaging = Averaging(0.9)
    averaging.setup(None, module, "fit")
    start = module.frozen.weight.clone()
    values = [1.0, 2.0, 5.0]
    for value in values:
        nn.init.constant_(module.free.weight, value)
        averaging._average_model.update_parameters(module)
    average = averaging._average_model.module
    assert average.free.weight.item() == pytest.approx((1.0 * 0.9 + 2.0 * 0.1) * 0.9 + 5.0 * 0.1)
    assert torch.equal(average.frozen.weight, start)
