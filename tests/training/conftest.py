"""A tiny data set and a run on it that takes seconds."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from supercuts.networks.ssn_config import SSNConfig
from supercuts.training.training_config import DataConfig, LossConfig, TrainConfig, ValidationConfig


@pytest.fixture(scope="session")
def training_root(tmp_path_factory):
    """Photographs of 64 x 64 pixels with two annotators each, in the layout of BSDS500: two a split."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, name, edge in (("train", "1", 20), ("train", "2", 45), ("val", "3", 30), ("val", "4", 50)):
        images, truths = (root / "BSDS500" / "data" / kind / split for kind in ("images", "groundTruth"))
        images.mkdir(parents=True, exist_ok=True)
        truths.mkdir(parents=True, exist_ok=True)
        labels = np.ones((64, 64), np.uint16)
        labels[:, edge:] = 2
        image = np.where(labels[..., None] == 1, [130, 90, 80], [110, 110, 120]) + rng.integers(-60, 60, (64, 64, 3))
        Image.fromarray(image.astype(np.uint8)).save(images / f"{name}.jpg")
        cells = np.empty((1, 2), object)
        for i, one in enumerate((labels, np.ones_like(labels))):
            cells[0, i] = {"Segmentation": one, "Boundaries": np.zeros_like(one, np.uint8)}
        scipy.io.savemat(truths / f"{name}.mat", {"groundTruth": cells})
    return root


def make_config(root, out, **changes) -> TrainConfig:
    settings = {
        "out": out,
        "model": SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3),
        "data": DataConfig(root=root, split="train", crop_px=48, workers=0),
        "loss": LossConfig(ssn_crop_px=32, ssn_cells=(4, 9), ssn_iterations=2),
        "validation": ValidationConfig(every_steps=1, superpixels=(6, 12), pictures=1),
        "max_steps": 4,
        "batch_size": 2,
        "warmup_steps": 0,  # the first steps already change the weights
        "ema_decay": 0.5,  # so that the averaged weights differ from the last ones
        "precision": "32-true",
        "checkpoint_steps": 2,
    }
    return TrainConfig(**(settings | changes))


@pytest.fixture(scope="session")
def make_train_config():
    """Return the function that describes a run of four steps: make_train_config(root, out, **changes)."""
    return make_config
