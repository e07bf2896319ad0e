import math

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from supercuts.core.config import load_config
from supercuts.core.errors import FileFormatError
from supercuts.superpixels.checkpoint import load_network, save_network
from supercuts.superpixels.ssn import SSN, SSNConfig
from supercuts.training import ssn as training
from supercuts.training.config import DataConfig, LossConfig, TrainConfig
from supercuts.training.samples import CropStream

STEPS = 4
NETWORK = SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)


class PowerCut(Exception):
    """Ends a run from outside."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two photographs of 64 x 64 pixels with two annotators each, in the layout of BSDS500."""
    root = tmp_path_factory.mktemp("data")
    images, truths = (root / "BSDS500" / "data" / kind / "train" for kind in ("images", "groundTruth"))
    images.mkdir(parents=True)
    truths.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, edge in (("1", 20), ("2", 45)):
        labels = np.ones((64, 64), np.uint16)
        labels[:, edge:] = 2
        image = np.where(labels[..., None] == 1, [200, 60, 40], [30, 90, 180]) + rng.integers(-20, 20, (64, 64, 3))
        Image.fromarray(image.astype(np.uint8)).save(images / f"{name}.jpg")
        cells = np.empty((1, 2), object)
        for i, one in enumerate((labels, np.ones_like(labels))):
            cells[0, i] = {"Segmentation": one, "Boundaries": np.zeros_like(one, np.uint8)}
        scipy.io.savemat(truths / f"{name}.mat", {"groundTruth": cells})
    return root


def make_config(root, out, **changes) -> TrainConfig:
    return TrainConfig(
        out=out,
        model=NETWORK,
        data=DataConfig(root=root, split="train", crop_px=48, workers=0),
        loss=LossConfig(ssn_crop_px=32, ssn_cells=(4, 9), ssn_iterations=2),
        steps=STEPS,
        batch_size=2,
        warmup_steps=0,  # the first steps already change the weights
        ema_decay=0.5,  # so that the averaged weights differ from the last ones
        precision="32-true",
        checkpoint_steps=2,
        **changes,
    )


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """Return the config, the losses and the weights file of a run in one go."""
    losses = []
    step = training.SSNTraining.training_step

    def recorded(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        losses.append(loss.item())
        return loss

    config = make_config(root, tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.SSNTraining, "training_step", recorded)
        path = training.train(config)
    return config, losses, path


def read_weights(path) -> dict[str, torch.Tensor]:
    return {k: v for k, v in load_network(path)[0].state_dict().items() if not k.endswith("num_batches_tracked")}


def assert_same_weights(path, expected: dict[str, torch.Tensor]) -> None:
    for name, value in read_weights(path).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6, msg=name)


def read_checkpoint(config) -> dict[str, object]:
    return torch.load(config.out / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_run_trains_and_writes_what_it_used(finished):
    config, losses, path = finished
    assert len(losses) == STEPS
    assert all(map(math.isfinite, losses))
    assert path == config.out / "model.safetensors"
    network, levels = load_network(path)
    assert network.config == NETWORK
    assert levels == {}
    assert load_config(config.out / "config.yaml", TrainConfig) == config
    assert list((config.out / "tensorboard").rglob("events.out.*"))
    assert read_checkpoint(config)["global_step"] == STEPS


def test_the_averaged_weights_are_saved(finished):
    config, _, path = finished
    checkpoint = read_checkpoint(config)
    weights = read_weights(path)
    name = "head.output.weight"
    torch.testing.assert_close(weights[name], checkpoint["state_dict"][f"network.{name}"])
    assert not torch.equal(weights[name], checkpoint["current_model_state"][f"network.{name}"])


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(finished, root, tmp_path, monkeypatch):
    path = finished[2]
    config = make_config(root, tmp_path / "run")
    fetch = CropStream.__getitem__

    def cut_in_the_fourth_batch(self, index):
        if index >= 3 * config.batch_size:  # the trainer fetches one batch ahead: two steps are done by then
            raise PowerCut
        return fetch(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(CropStream, "__getitem__", cut_in_the_fourth_batch)
        with pytest.raises(PowerCut):
            training.train(config)
    assert read_checkpoint(config)["global_step"] == 2
    assert not (config.out / "model.safetensors").exists()

    fetched = []

    def recorded(self, index):
        fetched.append(index)
        return fetch(self, index)

    monkeypatch.setattr(CropStream, "__getitem__", recorded)
    resumed = training.train(config)
    assert fetched[0] == 2 * config.batch_size
    assert_same_weights(resumed, read_weights(path))


def test_a_finished_run_started_again_keeps_its_weights(finished):
    config, losses, path = finished
    expected = read_weights(path)
    assert training.train(config) == path
    assert len(losses) == STEPS
    assert_same_weights(path, expected)


def test_a_run_starts_from_given_weights(root, tmp_path):
    start = tmp_path / "start.safetensors"
    torch.manual_seed(1)
    save_network(start, SSN(NETWORK), {})
    config = make_config(root, tmp_path / "run", init=start)
    module = training.SSNTraining(config, training.make_network(config), CropStream([], config.data, 0))
    assert module.network.training
    torch.testing.assert_close(module.network.head.output.weight, load_network(start)[0].head.output.weight)


def test_the_learning_rate_warms_up_and_falls_to_zero(root, tmp_path):
    config = make_config(root, tmp_path).model_copy(update={"steps": 100, "warmup_steps": 10})
    module = training.SSNTraining(config, training.make_network(config), CropStream([], config.data, 0))
    configured = module.configure_optimizers()
    factor = configured["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.09)))
    assert factor(50) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0)
    assert configured["lr_scheduler"]["interval"] == "step"


def test_a_missing_data_set_is_refused_before_anything_is_written(tmp_path):
    config = make_config(tmp_path / "nowhere", tmp_path / "run")
    with pytest.raises(FileFormatError, match="No BSDS500 in"):
        training.train(config)
    assert not config.out.exists()
