from contextlib import nullcontext

import numpy as np
import pytest

from supercuts.datasets.bsds500 import BSDS500
from supercuts.hierarchy.cuts import LEVELS
from supercuts.networks.ssn import SSN, SSNConfig
from supercuts.training.calibrate import CalibrationConfig, learn_calibration


@pytest.fixture(scope="module")
def samples(training_root):
    return BSDS500(training_root, "train+val")


@pytest.fixture(scope="module")
def network():
    return SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)).eval()


def test_all_that_a_network_needs_is_learned_and_each_pass_over_the_images_reported(network, samples):
    passes, steps = [], []

    def track(items, description):
        passes.append((description, len(items)))
        return items

    def working(description):
        steps.append(description)
        return nullcontext()

    calibration, levels = learn_calibration(network, samples, CalibrationConfig(leaves=30), track, working)
    assert passes == [("superpixels", 4), ("superpixels of many views", 4), ("hierarchies", 4)]
    assert steps == ["learning the affinity", "learning figure and ground"]
    assert calibration.of("affinity").keys() == calibration.of("figure_ground").keys()
    assert calibration.of("gnn") == {}
    assert calibration.levels == {name: levels[name].altitude for name in LEVELS}

    again, _ = learn_calibration(network, samples, CalibrationConfig(leaves=30))
    for name, values in calibration.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values)


def test_the_seed_decides_the_random_start(network, samples):
    one, other = (learn_calibration(network, samples[:2], CalibrationConfig(leaves=30, seed=s))[0] for s in (0, 1))
    for kind in ("affinity", "figure_ground"):
        assert any(not np.array_equal(one.of(kind)[name], other.of(kind)[name]) for name in one.of(kind))
