import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import pytest

from supercuts.evaluate.hierarchies import HierarchyScores, score_contour_map, score_soft_map
from supercuts.evaluate.records import from_plain, to_plain
from supercuts.evaluate.superpixels import SuperpixelScores, score_superpixels


def same(a, b):
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a)
        )
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return a == b or (a != a and b != b)


def contours():
    ucm = np.zeros((9, 9))
    ucm[:, 4] = 0.7
    return ucm


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (SuperpixelScores, lambda truth: score_superpixels(truth, [truth, truth])),
        (HierarchyScores, lambda truth: score_contour_map(contours(), [truth])),
        (HierarchyScores, lambda truth: score_soft_map(np.linspace(0, 1, 16).reshape(4, 4), [truth])),
    ],
)
def test_scores_survive_json(kind, make, halves):
    scores = make(halves)
    again = from_plain(kind, json.loads(json.dumps(to_plain(scores))))
    assert same(scores, again)


def test_numpy_numbers_become_plain():
    assert json.dumps(to_plain(np.float64(0.1))) == "0.1"


@dataclass(frozen=True, slots=True)
class Named:
    names: tuple[str, ...]


def test_tuples_come_back_as_tuples():
    assert from_plain(Named, json.loads(json.dumps(to_plain(Named(("a", "b")))))).names == ("a", "b")


@pytest.mark.parametrize("value", [None, [], "0.5", {}, True])
def test_a_number_that_is_none_is_refused(value):
    @dataclass
    class Score:
        share: float

    assert from_plain(Score, {"share": 1}).share == 1
    with pytest.raises((TypeError, KeyError)):
        from_plain(Score, {"share": value})
