import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from supercuts.training.callbacks import Averaging, KeepLast, SafeCheckpoints


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


class AtStep(Trainer):
    """A trainer of which only the step is known."""

    def __init__(self, step: int) -> None:
        self.step = step

    @property
    def global_step(self) -> int:
        return self.step


@pytest.mark.parametrize(("judged_every", "saved"), [(0, [1, 2, 3, 4]), (2, [1, 3]), (1, [])])
def test_a_step_that_is_judged_is_saved_after_its_validation(tmp_path, monkeypatch, judged_every, saved):
    steps = []
    monkeypatch.setattr(
        ModelCheckpoint, "on_train_batch_end", lambda self, trainer, *_: steps.append(trainer.global_step)
    )
    last = KeepLast(tmp_path, 1, judged_every)
    for step in range(1, 5):
        last.on_train_batch_end(AtStep(step), LightningModule(), None, None, step)
    assert steps == saved
