"""Two processes on the CPU, started by torchrun as a user starts them, against one process with the same batch."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from supercuts.core.config import save_resolved
from supercuts.networks.files import load_network
from supercuts.training.config import ValidationConfig
from supercuts.training.sync import GlooBatchNorm, GlooSync

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
