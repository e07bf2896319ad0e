import numpy as np

from supercuts.training.perceptrons import PerceptronTrainingConfig, fit

SHORT = PerceptronTrainingConfig(members=2, hidden=8, epochs=30, batch_size=64)


def test_fitting_finds_a_probability_that_depends_on_the_features():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 5, (4000, 3)).astype(np.float32)
    expected = np.where(features[:, 0] > 3, 0.9, 0.2).astype(np.float32)
    perceptrons = fit(features, expected, np.ones(4000), SHORT)
    clear = abs(features[:, 0] - 3) > 1
    np.testing.assert_allclose(perceptrons.probability(features[clear]).mean(), expected[clear].mean(), atol=0.02)
    assert abs(perceptrons.probability(features[clear]) - expected[clear]).mean() < 0.06


def test_fitting_is_repeatable_and_seeded():
    rng = np.random.default_rng(0)
    features, targets = rng.random((300, 4), np.float32), rng.random(300, np.float32)
    one, same = (fit(features, targets, np.ones(300), SHORT) for _ in range(2))
    other = fit(features, targets, np.ones(300), SHORT.model_copy(update={"seed": 5}))
    np.testing.assert_array_equal(one.first, same.first)
    assert not np.array_equal(one.first, other.first)
    assert not np.array_equal(one.first[0], one.first[1])
