import importlib
from pathlib import Path

import numpy as np
import pytest

from supercuts.refine.fit import Example, fit
from supercuts.refine.refine_config import RefineConfig

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    """Return the script as a module: scripts find each other by their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("refine_speed")


@pytest.mark.parametrize(("method", "nu"), [("st", 5.0), ("st", 1.0), ("sp", 0.0)])
def test_our_steps_are_those_of_the_plain_loop(script, method, nu):
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.random((5, 6, 3), dtype=np.float32), 5, axis=0), 5, axis=1)
    image += 0.05 * rng.random(image.shape, dtype=np.float32)
    squares = script.squares_of(25, 30, 60) if method == "sp" else None
    plain = list(script.plain_loop(image, squares, 6, seed=3, weights=(1, nu)))
    ours = []
    config = RefineConfig(method=method, nu=nu, epochs=6, min_classes=0, seed=3, precision="float32")
    fit([Example(image, squares)], config, lambda step: ours.append(step.labels))
    # rounding differs, and labels feed back on themselves: later steps drift apart
    agreement = [(a == b).mean() for a, b in zip(plain, ours, strict=True)]
    assert min(agreement) > 0.99, agreement


def test_squares_are_about_as_many_as_asked_for(script):
    labels = script.squares_of(321, 481, 10000)
    assert 9000 < np.unique(labels).size < 11000
    assert labels.max() + 1 == np.unique(labels).size


def test_both_are_timed(script):
    times = script.seconds_of(lambda tick: [tick() for _ in range(4)])
    assert times >= 0
