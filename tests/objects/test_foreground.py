import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.objects.foreground import check_features, cosines, first_largest, foreground, soften
from supercuts.objects.graphs import grid_graph

AREA = np.array([1, 2, 3])


@pytest.mark.parametrize(
    ("is_object", "soft", "score"),
    [
        ([False, True, True], [0.25, 0.5, 1.0], 4 / 5 - 0.25),
        ([True, False, False], [0.25, 0.5, 1.0], 0),
        ([True] * 3, [0.25, 0.5, 1], 0),
    ],
)
def test_the_score_is_the_contrast_by_area(is_object, soft, score):
    found = foreground(np.array(is_object), np.zeros(3), np.array(soft), AREA)
    assert found.score == pytest.approx(score)


def test_nothing_becomes_everything_and_what_was_left_out_is_neutral():
    soft, vector = np.array([0.9, 0.8, 0.2]), np.array([-3.0, 2.0, 0.0])
    found = foreground(np.array([True, False, False]), vector, soft, AREA)
    np.testing.assert_allclose(found.soft, [0.9, 0.5, 0.2])
    assert found.seed == 0
    assert foreground(np.array([True, False, True]), vector, soft, AREA).seed == 2
    assert foreground(np.array([True, False, True]), vector, soft, AREA, 0).seed == 0
    everything = foreground(np.zeros(3, bool), vector, soft, AREA)
    assert everything.is_object.all()
    np.testing.assert_allclose(everything.soft, [0.9, 0.8, 0.5])


def test_softness_is_half_at_the_threshold_and_rises():
    vector = np.array([-1.0, 0.5, 3.0])
    soft = soften(vector, 0.5, AREA)
    spread = np.sqrt((1 * 1.5**2 + 3 * 2.5**2) / 6)
    np.testing.assert_allclose(soft, 1 / (1 + np.exp(-2 * (vector - 0.5) / spread)))
    np.testing.assert_allclose(soften(np.zeros(3), 0.0, AREA), 0.5)


def test_cosines_of_features_of_zeros_are_zero():
    found = cosines(np.array([[2.0, 0], [0, 0], [3, 3]]))
    np.testing.assert_allclose(found, [[1, 0, 0.5**0.5], [0, 0, 0], [0.5**0.5, 0, 1]])


def test_ties_go_to_the_first():
    assert first_largest(np.array([0.1, 1.0 - 1e-12, 1.0])) == 1
    assert first_largest(np.zeros(3)) == 0


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        (np.zeros((2, 3)), "2 rows of features do not fit 4 nodes"),
        (np.zeros((4, 0)), "no channels"),
        (np.full((4, 2), np.nan), "8 of 8 features are not finite"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, problem):
    with pytest.raises(InputError, match=problem):
        check_features(features, grid_graph(2, 2))


def test_more_nodes_than_fit_in_memory_are_refused():
    with pytest.raises(InputError, match=r"10201 nodes are too many: .* Segment with fewer"):
        check_features(np.zeros((101**2, 1)), grid_graph(101, 101))
