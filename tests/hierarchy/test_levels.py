import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.hierarchy.levels import LEVELS, altitude_of_level, best_altitude, check_levels


def test_levels_run_from_coarse_to_fine():
    assert LEVELS == ("scene", "object", "part")


def test_best_altitude_takes_the_highest_mean():
    thresholds = np.array([0.1, 0.4, 0.7])
    assert best_altitude(thresholds, np.array([[0.9, 0.5, 0.1], [0.1, 0.7, 0.6]])) == 0.4
    assert best_altitude(thresholds, np.array([[0.9, 0.5, 0.1]])) == 0.1


def test_best_altitude_takes_the_lowest_among_equals_in_any_order():
    scores = np.array([[0.5, 0.2, 0.5]])
    assert best_altitude(np.array([0.1, 0.4, 0.7]), scores) == 0.1
    assert best_altitude(np.array([0.7, 0.4, 0.1]), scores) == 0.1


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((2, 3)), r"scores \(2, 3\) do not fit 2 thresholds: give one row per image"),
        (np.zeros((0, 2)), r"at least one"),
        (np.array([[0.1, 0.2], [0.3, np.nan]]), r"scores\[1, 1\] is nan: leave out"),
    ],
)
def test_best_altitude_refuses(as_installed, scores, message):
    with pytest.raises(InputError, match=message):
        best_altitude(np.array([0.1, 0.2]), scores)


def test_a_level_is_never_finer_than_the_next():
    levels = {"scene": 0.2, "object": 0.6, "part": 0.4}
    assert [altitude_of_level(levels, name) for name in LEVELS] == [0.6, 0.6, 0.4]


@pytest.mark.parametrize(
    ("levels", "message"), [({"part": 1.1}, "outside 0..1"), ({"leaf": 0.1}, "scene, object, part")]
)
def test_check_levels_refuses(levels, message):
    with pytest.raises(InputError, match=message):
        check_levels(levels)
