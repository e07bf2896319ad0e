import numpy as np
import pytest

from supercuts.core.errors import FileFormatError, InputError
from supercuts.merging.perceptrons import Perceptrons


def random_perceptrons(n_features=6, members=2, hidden=4):
    rng = np.random.default_rng(0)
    shapes = ((members, n_features + 1, hidden), (members, hidden + 1, hidden), (members, hidden + 1))
    weights = [rng.standard_normal(shape, np.float32) / 2 for shape in shapes]
    return Perceptrons(rng.random(n_features, np.float32), rng.random(n_features, np.float32), *weights)


def with_bias(x):
    return np.append(x, 1.0)


def test_the_probability_is_that_of_the_mean_logit():
    perceptrons = random_perceptrons()
    features = np.random.default_rng(1).standard_normal((5, 6), np.float32)
    for row, found in zip(features.astype(float), perceptrons.probability(features), strict=True):
        x = with_bias((row - perceptrons.mean) * perceptrons.scale)
        members = zip(perceptrons.first, perceptrons.second, perceptrons.last, strict=True)
        logits = [with_bias(np.maximum(with_bias(np.maximum(x @ a, 0)) @ b, 0)) @ c for a, b, c in members]
        assert found == pytest.approx(1 / (1 + np.exp(-np.mean(logits))), abs=1e-5)


def test_arrays_come_back_and_others_are_refused():
    perceptrons = random_perceptrons()
    back = Perceptrons.from_arrays(perceptrons.arrays())
    for name, values in perceptrons.arrays().items():
        np.testing.assert_array_equal(getattr(back, name), values)
    with pytest.raises(FileFormatError, match="have the arrays mean, scale, first, second, last, not mean"):
        Perceptrons.from_arrays({"mean": perceptrons.mean})
    with pytest.raises(FileFormatError, match="do not fit each other"):
        Perceptrons.from_arrays(perceptrons.arrays() | {"scale": perceptrons.scale[:-1]})


def test_features_of_another_number_are_refused():
    with pytest.raises(InputError, match="learned on 6 features, but there are 4"):
        random_perceptrons().probability(np.zeros((3, 4), np.float32))
