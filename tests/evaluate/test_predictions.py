import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.evaluate.predictions import bootstrap_95, check_truths, naming, pair


def test_a_function_sees_each_image_and_a_list_none(samples):
    made = list(pair(lambda image: image.shape, samples))
    assert [(sample.name, prediction) for sample, _, prediction in made] == [
        ("first", (4, 4, 3)),
        ("second", (4, 4, 3)),
    ]
    assert [image for _, image, _ in pair([1, 2], samples)] == [None, None]


def test_counts_must_match(samples):
    with pytest.raises(InputError, match="1 predictions for 2 samples: give one for each"):
        list(pair([1], samples))
    with pytest.raises(InputError, match="more predictions than the 2 samples: give one for each"):
        list(pair([1, 2, 3], samples))
    with pytest.raises(InputError, match="give a dataset"):
        list(pair([], []))


def test_errors_name_the_image(samples):
    def fail(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        list(pair(fail, samples))
    assert caught.value.__notes__ == ["while scoring image first"]
    with pytest.raises(KeyError) as also, naming("third"):
        raise KeyError
    assert also.value.__notes__ == ["while scoring image third"]


def test_truths_must_be_of_the_image(halves):
    check_truths((4, 4), [halves])
    with pytest.raises(InputError, match="at least one truth"):
        check_truths((4, 4), [])
    with pytest.raises(InputError, match="score label maps of one image"):
        check_truths((4, 5), [halves])
    with pytest.raises(InputError, match="relabel_consecutive"):
        check_truths((4, 4), [halves - 1])
    assert np.array_equal(halves, halves.copy())


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
