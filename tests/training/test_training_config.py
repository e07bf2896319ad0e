import pytest
from pydantic import ValidationError

from supercuts.core.config import load_config, save_resolved
from supercuts.core.errors import ConfigError
from supercuts.training.training_config import DataConfig, LossConfig, TrainConfig


def write(folder, text):
    (folder / "train.yaml").write_text(text, encoding="utf-8")
    return folder / "train.yaml"


def test_a_file_sets_nested_fields_and_the_rest_are_defaults(tmp_path):
    path = write(tmp_path, "out: runs/a\ndata: {crop_px: 64, scale: [0.5, 2]}\nloss: {ssn_cells: [9, 16]}\n")
    config = load_config(path, TrainConfig, ["model.embedding_channels=4"])
    expected = TrainConfig(
        out="runs/a",
        model={"embedding_channels": 4},
        data=DataConfig(crop_px=64, scale=(0.5, 2)),
        loss=LossConfig(ssn_cells=(9, 16)),
    )
    assert config == expected


def test_a_saved_config_loads_as_itself(tmp_path):
    config = TrainConfig(out="runs/a", data=DataConfig(root="data"), init="model.safetensors", max_steps=7)
    save_resolved(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml", TrainConfig) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("out: a\nmax_step: 3\n", "unknown key 'max_step'; did you mean 'max_steps'"),
        ("out: a\ndata: {crop: 3}\n", "unknown key 'crop' under data"),
        ("out: a\nmodel: {backbones: compact}\n", "unknown key 'backbones' under model"),
        ("max_steps: 3\n", "missing key 'out'"),
        ("out: a\ndata: {split: test}\n", "data.split='test': expected 'train', 'val' or 'train\\+val'"),
        ("out: a\nema_decay: 1.0\n", "ema_decay=1.0: expected"),
        ("out: a\nmax_steps: 0\n", "max_steps=0"),
        ("out: a\ndata: {scale: [1.7, 0.6]}\n", "data.scale=.*low before high"),
        ("out: a\ndata: {folder: x, root: y}\n", "data: give folder .* or root .* not both"),
        ("out: a\ndata: {val_fraction: 0}\n", "data.val_fraction=0"),
        ("out: a\nloss: {ssn_cells: [160, 40]}\n", "loss.ssn_cells=.*low before high"),
    ],
)
def test_unknown_keys_and_impossible_values_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text), TrainConfig)


def test_a_config_is_frozen():
    config = TrainConfig(out="runs/a")
    with pytest.raises(ValidationError, match="frozen"):
        config.max_steps = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.loss.boundary = 2.0
