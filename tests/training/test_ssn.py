import csv
import math
import re
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from supercuts.core.config import load_config
from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.bsds500 import BSDS500
from supercuts.images.io import read_image
from supercuts.networks.files import load_network, save_network
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig
from supercuts.training import ssn as training
from supercuts.training.module import SSNTraining
from supercuts.training.samples import CropStream, ValidationImages, judge
from supercuts.training.ssn import write_card
from supercuts.training.training_config import DataConfig, TrainConfig, ValidationConfig

STEPS = 4
NETWORK = SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)


@pytest.mark.parametrize(
    ("asked", "has_bfloat16", "expected"),
    [("auto", True, "bf16-mixed"), ("auto", False, "32-true"), ("bf16-mixed", False, "bf16-mixed")],
)
def test_precision_is_that_of_the_processor_unless_asked(tmp_path, monkeypatch, asked, has_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(training, "fastest", lambda _: torch.bfloat16 if has_bfloat16 else torch.float32)
    config = TrainConfig(out=tmp_path, precision=asked)
    trainer = training._make_trainer(config, is_judged=False)
    assert trainer.precision == expected


def test_the_plan_is_shown_before_the_first_step(training_root, tmp_path, make_train_config, capsys, monkeypatch):
    monkeypatch.setattr("supercuts.training.callbacks._FEW_STEPS", 1)
    monkeypatch.setattr("supercuts.training.callbacks._SECONDS_A_LINE", -1)
    config = make_train_config(training_root, tmp_path / "run", max_steps=2)
    training.train_ssn(config)
    lines = capsys.readouterr().err.splitlines()
    plan = {line[:8].strip(): line[8:] for line in lines[:5]}
    assert list(plan) == ["data", "device", "run", "steps", "time"]
    assert re.fullmatch(r"BSDS500, split train: \d images, 2 for validation every 1 steps", plan["data"])
    assert plan["device"].endswith(("32-true", "bf16-mixed"))
    assert (plan["run"], plan["steps"]) == (str(config.out), "2")
    assert re.fullmatch(r"about (\d+ s|\d+ min), without validation", plan["time"])
    assert [line.split(":")[0] for line in lines[5:]] == ["step 1 of 2", "step 2 of 2"]
    assert re.search(r"loss \d+\.\d{3}, boundary .*; (\d+ s|\d+ min) left", lines[5])
    assert "val_asa 0." in lines[6]
    longer = config.model_copy(update={"max_steps": 3})
    training.train_ssn(longer)
    lines = capsys.readouterr().err.splitlines()
    assert lines[3] == "steps   2 to 3 (resumed)"
    assert lines[4].startswith("step 3 of 3: ")


def test_a_trial_step_changes_nothing(finished, training_root, tmp_path, make_train_config, monkeypatch):
    monkeypatch.setattr("supercuts.training.callbacks._FEW_STEPS", 1)
    path = training.train_ssn(make_train_config(training_root, tmp_path / "run"))
    assert_same_weights(path, read_weights(finished[2]))


def test_the_bar_moves_at_every_step(training_root, tmp_path, make_train_config, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    training.train_ssn(make_train_config(training_root, tmp_path / "run"))
    shown = capsys.readouterr().err
    assert all(f"| {step}/{STEPS} [" in shown for step in range(STEPS + 1))
    assert "loss=" in shown
    assert "val_asa=" in shown
    assert "validating 2" in shown


def test_problems_of_both_splits_are_one_list_before_anything_is_written(tmp_path, make_train_config, capsys):
    for split in ("train", "val"):
        for kind, size in (("images", (6, 4)), ("labels", (5, 4))):
            (tmp_path / kind / split).mkdir(parents=True)
            Image.new("L", size).save(tmp_path / kind / split / f"{split}_a.png")
        Image.new("L", (6, 4)).save(tmp_path / "images" / split / f"{split}_b.png")
    config = make_train_config(None, tmp_path / "run", data=DataConfig(folder=tmp_path, split="train", crop_px=48))
    with pytest.raises(FileFormatError) as error:
        training.train_ssn(config)
    message = str(error.value)
    assert "4 problems" in message
    for split in ("train", "val"):
        assert f"{split}_a.png is (4, 5), but {split}_a.png is (4, 6) (rows, columns)" in message
        assert f"{split}_b.png has no label" in message
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err == ""


def test_images_of_other_channels_are_refused_before_anything_is_written(
    training_root, tmp_path, make_train_config, capsys
):
    config = make_train_config(training_root, tmp_path / "run", model=NETWORK.model_copy(update={"channels": 5}))
    with pytest.raises(InputError, match=r"3 channels do not fit a network for 5\. .* model\.channels=3"):
        training.train_ssn(config)
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err == ""


class PowerCut(Exception):
    """Ends a run from outside."""


@pytest.fixture(scope="module")
def finished(training_root, make_train_config, tmp_path_factory):
    """Return the config, the losses and the weights file of a run in one go."""
    losses = []
    step = SSNTraining.training_step

    def recorded(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        losses.append(loss.item())
        return loss

    config = make_train_config(training_root, tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SSNTraining, "training_step", recorded)
        path = training.train_ssn(config)
    return config, losses, path


def read_weights(path) -> dict[str, torch.Tensor]:
    return {k: v for k, v in load_network(path)[0].state_dict().items() if not k.endswith("num_batches_tracked")}


def assert_same_weights(path, expected: dict[str, torch.Tensor]) -> None:
    for name, value in read_weights(path).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6, msg=name)


def read_curve(config) -> list[dict[str, str]]:
    return list(csv.DictReader((config.out / "validation.csv").read_text().splitlines()))


def read_checkpoint(config) -> dict[str, object]:
    return torch.load(config.out / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_run_trains_and_writes_its_configuration(finished):
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


def test_every_validation_is_reported(finished):
    config = finished[0]
    rows = read_curve(config)
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    asa = [float(row["val_asa"]) for row in rows]
    assert all(0.5 < value <= 1 for value in asa)
    assert asa == pytest.approx([(float(r["val_asa_6"]) + float(r["val_asa_12"])) / 2 for r in rows])
    assert read_image(config.out / "pictures" / "step_000003.png").shape[1] == 64 + 24  # a frame
    card = (config.out / "model.md").read_text()
    assert f"step {asa.index(max(asa)) + 1} (these)" in card
    assert "4 of 2 crops of 48 px" in card


def test_the_score_is_that_of_the_averaged_weights(finished, training_root):
    config, _, path = finished
    images = ValidationImages(BSDS500(training_root, "val"))
    network, _ = load_network(path)
    scores = [judge(network, *images[i], (6, 12)).asa for i in range(2)]
    rows = read_curve(config)
    assert max(float(row["val_asa"]) for row in rows) == pytest.approx(np.mean(scores), abs=1e-6)


def test_a_run_that_gets_no_better_stops_early_and_stays_so(training_root, tmp_path, make_train_config):
    judged = ValidationConfig(every_steps=1, superpixels=(1,), patience=2)  # one region: its ASA never changes
    config = make_train_config(training_root, tmp_path / "run", validation=judged, max_steps=50)
    path = training.train_ssn(config)
    curve = (config.out / "validation.csv").read_text()
    assert len(curve.splitlines()) == 1 + 3
    expected = read_weights(path)
    training.train_ssn(config)
    assert (config.out / "validation.csv").read_text() == curve
    assert_same_weights(path, expected)


def test_accumulated_parts_get_the_crops_of_the_whole_batch(training_root, tmp_path, monkeypatch, make_train_config):
    fetched = []
    fetch = CropStream.__getitem__
    monkeypatch.setattr(CropStream, "__getitem__", lambda self, index: fetched.append(index) or fetch(self, index))
    config = make_train_config(training_root, tmp_path / "run", accumulate=2, batch_size=4, max_steps=2)
    training.train_ssn(config)
    assert fetched[:8] == list(range(8))
    assert read_checkpoint(config)["global_step"] == 2
    assert len((config.out / "validation.csv").read_text().splitlines()) == 1 + 2  # after each step, not each part


def test_a_batch_that_cannot_be_shared_is_refused(training_root, tmp_path, make_train_config):
    with pytest.raises(InputError, match=r"batch_size=2 cannot be shared by 1 processes in accumulate=4 parts.*of 4\."):
        training.train_ssn(make_train_config(training_root, tmp_path / "run", accumulate=4))
    assert not (tmp_path / "run").exists()


def test_training_on_the_validation_images_validates_nothing(training_root, tmp_path, make_train_config):
    data = DataConfig(root=training_root, split="train+val", crop_px=48, workers=0)
    config = make_train_config(training_root, tmp_path / "run", data=data, max_steps=2)
    training.train_ssn(config)
    assert not (config.out / "validation.csv").exists()
    assert "No validation" in (config.out / "model.md").read_text()


def test_the_averaged_weights_are_saved(finished):
    config, _, path = finished
    checkpoint = read_checkpoint(config)
    weights = read_weights(path)
    name = "head.output.weight"
    best = torch.load(config.out / "checkpoints" / "best.ckpt", weights_only=True)
    torch.testing.assert_close(weights[name], best["state_dict"][f"network.{name}"])
    assert not torch.equal(weights[name], checkpoint["current_model_state"][f"network.{name}"])


def test_an_interrupted_run_resumes_with_the_same_result(
    finished, training_root, tmp_path, monkeypatch, make_train_config
):
    path = finished[2]
    config = make_train_config(training_root, tmp_path / "run")
    fetch = CropStream.__getitem__

    def cut_in_the_fourth_batch(self, index):
        if index >= 3 * config.batch_size:  # the trainer fetches one batch ahead: two steps are done by then
            raise PowerCut
        return fetch(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(CropStream, "__getitem__", cut_in_the_fourth_batch)
        with pytest.raises(PowerCut):
            training.train_ssn(config)
    assert read_checkpoint(config)["global_step"] == 2
    assert not (config.out / "model.safetensors").exists()

    fetched = []

    def recorded(self, index):
        fetched.append(index)
        return fetch(self, index)

    monkeypatch.setattr(CropStream, "__getitem__", recorded)
    resumed = training.train_ssn(config)
    assert fetched[0] == 2 * config.batch_size
    assert_same_weights(resumed, read_weights(path))
    assert (config.out / "validation.csv").read_text() == (finished[0].out / "validation.csv").read_text()


def test_a_finished_run_started_again_keeps_its_weights(finished):
    config, losses, path = finished
    expected = read_weights(path)
    assert training.train_ssn(config) == path
    assert len(losses) == STEPS
    assert_same_weights(path, expected)


def test_a_run_starts_from_given_weights(training_root, tmp_path, make_train_config):
    start = tmp_path / "start.safetensors"
    torch.manual_seed(1)
    save_network(start, SSN(NETWORK), {})
    config = make_train_config(training_root, tmp_path / "run", init=start)
    module = SSNTraining(config, training.make_network(config), CropStream([], config.data, 0))
    assert module.network.training
    torch.testing.assert_close(module.network.head.output.weight, load_network(start)[0].head.output.weight)


def test_a_larger_model_takes_over_weights_and_a_smaller_one_is_refused(training_root, tmp_path, make_train_config):
    start = tmp_path / "start.safetensors"
    larger = NETWORK.model_copy(update={"context_channels": 2, "region_channels": 3})
    save_network(start, SSN(NETWORK), {})
    network = training.make_network(make_train_config(training_root, tmp_path, init=start, model=larger))
    assert network.config == larger
    given = load_network(start)[0].state_dict()
    assert given.keys() < network.state_dict().keys()
    for name, value in given.items():
        torch.testing.assert_close(network.state_dict()[name], value)
    save_network(start, network, {})
    with pytest.raises(InputError, match=r"or let the model only add parts \(context_channels, region_channels\)"):
        training.make_network(make_train_config(training_root, tmp_path, init=start, model=NETWORK))


def test_a_missing_data_set_is_refused_before_anything_is_written(tmp_path, make_train_config):
    config = make_train_config(tmp_path / "nowhere", tmp_path / "run")
    with pytest.raises(FileFormatError, match="No BSDS500 in"):
        training.train_ssn(config)
    assert not config.out.exists()


CURVE = [{"step": 500, "val_asa": 0.9, "val_asa_200": 0.88}, {"step": 1000, "val_asa": 0.8, "val_asa_200": 0.79}]


def test_the_card_describes_the_training_and_its_scores(tmp_path):
    config = TrainConfig(out=tmp_path / "run", data=DataConfig(split="train"), max_steps=1000, seed=7)
    card = write_card(config, CURVE, steps=1000, seconds=150, n_images=200).read_text()
    assert "| validation | step 500 (these) | step 1000 (last) |" in card
    assert "| asa_200 | 0.8800 | 0.7900 |" in card
    assert "| data | train, 200 images |" in card
    assert "| steps | 1000 of 6 crops of 304 px |" in card
    assert "| seed | 7 |" in card
    assert re.search(r"commit ([0-9a-f]{7}|unknown)", card)


def test_the_recipe_in_the_card_is_the_configuration(tmp_path):
    config = TrainConfig(out=tmp_path / "run", init=tmp_path / "start.safetensors", learning_rate=3e-4)
    card = write_card(config, [], steps=3, seconds=1, n_images=2).read_text()
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert TrainConfig.model_validate(recipe) == config
    assert "No validation" in card


@pytest.mark.parametrize("judged_every", [1, 3, None])
def test_a_short_run_keeps_its_last_step_and_goes_on_with_more(
    training_root, tmp_path, monkeypatch, make_train_config, judged_every
):
    judged = ValidationConfig(every_steps=judged_every, superpixels=(6,))
    config = make_train_config(training_root, tmp_path, validation=judged, max_steps=4, checkpoint_steps=200)
    training.train_ssn(config)
    checkpoint = read_checkpoint(config)
    assert checkpoint["global_step"] == 4
    name = "network.head.output.weight"
    assert not torch.equal(checkpoint["current_model_state"][name], checkpoint["state_dict"][name])
    fetched, fetch = [], CropStream.__getitem__
    monkeypatch.setattr(CropStream, "__getitem__", lambda self, index: fetched.append(index) or fetch(self, index))
    training.train_ssn(config.model_copy(update={"max_steps": 5}))
    assert fetched[0] == 4 * config.batch_size
    assert read_checkpoint(config)["global_step"] == 5


def test_a_short_run_that_is_interrupted_loses_a_tenth(training_root, tmp_path, monkeypatch, make_train_config):
    fetch = CropStream.__getitem__

    def cut_in_the_batch_of_step_18(self, index):
        if index >= 17 * config.batch_size:
            raise PowerCut
        return fetch(self, index)

    judged = ValidationConfig(every_steps=None)
    config = make_train_config(training_root, tmp_path, validation=judged, max_steps=30, checkpoint_steps=200)
    monkeypatch.setattr(CropStream, "__getitem__", cut_in_the_batch_of_step_18)
    with pytest.raises(PowerCut):
        training.train_ssn(config)
    assert read_checkpoint(config)["global_step"] == 15
