import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from supercuts.core.config import save_resolved
from supercuts.networks.files import load_network
from supercuts.training.callbacks import Averaging, GlooBatchNorm, GlooSync, KeepLast, SafeCheckpoints
from supercuts.training.training_config import ValidationConfig


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
    """A trainer that has only a step."""

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


STEPS = 20
LATE = ValidationConfig(every_steps=STEPS, superpixels=(6,))


def test_layers_are_replaced_and_put_back():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2)))
    weight = model[1].weight
    GlooSync().apply(model)
    assert [type(model[1]), type(model[2][0])] == [GlooBatchNorm] * 2
    assert model[1].weight is weight
    GlooSync().revert(model)
    assert type(model[1]) is type(model[2][0]) is nn.BatchNorm2d


def test_a_layer_in_eval_mode_needs_no_processes():
    plain = nn.BatchNorm2d(3).eval()
    synchronised = GlooSync().apply(nn.Sequential(nn.BatchNorm2d(3)).eval())
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(synchronised(x), plain(x))


@pytest.mark.timeout(300)
def test_two_processes_give_the_losses_of_one(training_root, make_train_config, tmp_path):
    losses, weights = {}, {}
    for n_processes in (1, 2):
        # with the warm-up of a real run: Adam makes steps of the same size out of any rounding error in a gradient
        config = make_train_config(
            training_root,
            tmp_path / str(n_processes),
            max_steps=STEPS,
            batch_size=4,
            log_steps=1,
            warmup_steps=200,
            validation=LATE,
        )
        path = tmp_path / f"{n_processes}.yaml"
        save_resolved(config, path)
        launcher = [sys.executable, "-m"]
        if n_processes > 1:
            launcher += ["torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}", "-m"]
        done = subprocess.run(
            [*launcher, "supercuts", "train", str(path)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        losses[n_processes] = read_losses(config.out)
        weights[n_processes] = load_network(config.out / "model.safetensors")[0].state_dict()
    assert len(losses[1]) == STEPS
    assert losses[1] != losses[2]  # the sums are taken in another order: equal to the last bit would mean one process
    assert losses[2] == pytest.approx(losses[1], abs=1e-4)
    for name, value in weights[1].items():
        torch.testing.assert_close(weights[2][name], value, rtol=0, atol=5e-3, msg=name)


def read_losses(out: Path) -> list[float]:
    (path,) = (out / "csv").rglob("metrics.csv")
    return [float(row["loss"]) for row in csv.DictReader(path.read_text().splitlines()) if row["loss"]]
