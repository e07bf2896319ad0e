"""A model that needs no weights, tiny images, one hierarchy file."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from supercuts.cli.main import app
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.io import read_image


class QuarterModel:
    """Segments any image into its four quarters: left ones merge at .25, right ones at .5, all at .75."""

    def __init__(self):
        self.levels = {"scene": 0.6, "object": 0.3, "part": 0.1}
        self.asked = []

    def segment(self, image, superpixels=None):
        self.asked.append(superpixels)
        pixels = read_image(image)
        height, width = pixels.shape[:2]
        rows, columns = np.arange(height) >= height // 2, np.arange(width) >= width // 2
        return Hierarchy(
            labels=(rows[:, None] * 2 + columns).astype(np.int32),
            parents=np.array([4, 5, 4, 5, 6, 6, 6], dtype=np.int32),
            altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], dtype=np.float32),
            embeddings=np.zeros((4, 0), dtype=np.float32),
            image=pixels,
            levels=self.levels,
        )


@pytest.fixture
def run():
    """Run the command line in this process; .json is the document on stdout."""

    def invoke(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        result.json = lambda: json.loads(result.stdout)
        return result

    return invoke


@pytest.fixture
def quarters(monkeypatch):
    """Stand in for the pipeline; the model is returned."""
    model = QuarterModel()
    stub = ModuleType("supercuts.model")
    stub.load = lambda name, **_: model
    monkeypatch.setitem(sys.modules, "supercuts.model", stub)
    return model


@pytest.fixture
def photos(tmp_path):
    """Return a folder of two photos, a text file and a hidden file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        Image.fromarray(picture(seed)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "._a.png").write_text("no image either")
    return folder


@pytest.fixture
def saved(tmp_path, photos):
    """Return an .npz whose hierarchy is the quarters of a photo."""
    path = tmp_path / "saved.npz"
    QuarterModel().segment(photos / "a.png").save(path)
    return path


def picture(seed, height=24, width=32):
    """Return two flat halves with a little noise."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), (200, 60, 40))
    pixels[:, width // 2 :] = (30, 90, 200)
    return (pixels + rng.integers(-10, 10, pixels.shape)).clip(0, 255).astype(np.uint8)
