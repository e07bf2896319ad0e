import re

import yaml

from supercuts.training.card import write_card
from supercuts.training.config import DataConfig, TrainConfig

CURVE = [{"step": 500, "val_asa": 0.9, "val_asa_200": 0.88}, {"step": 1000, "val_asa": 0.8, "val_asa_200": 0.79}]


def test_the_card_says_what_was_trained_and_how_well_it_did(tmp_path):
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
