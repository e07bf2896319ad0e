import numpy as np
import pytest

from supercuts.evaluate.intervals import bootstrap_95


def mean(values):
    return {"mean": float(np.mean(values)), "maximum": float(np.max(values))}


def test_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(1).normal(3, 2, 200).tolist()
    low, high = bootstrap_95(mean, values)["mean"]
    half = 1.96 * np.std(values) / np.sqrt(200)
    assert low == pytest.approx(np.mean(values) - half, abs=0.05)
    assert high == pytest.approx(np.mean(values) + half, abs=0.05)


def test_figures_are_computed_anew_for_each_draw():
    low, high = bootstrap_95(mean, [0.0] * 9 + [1.0])["maximum"]
    assert (low, high) == (0, 1)  # a draw misses the one image in a third of all cases


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(1).normal(3, 2, 50).tolist()
    assert bootstrap_95(mean, values) == bootstrap_95(mean, values)
    assert bootstrap_95(mean, values, seed=1) != bootstrap_95(mean, values)


def test_one_image_has_no_interval():
    assert np.isnan(bootstrap_95(mean, [0.5])["mean"]).all()
