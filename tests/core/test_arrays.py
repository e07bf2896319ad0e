from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from supercuts.core.arrays import arrays_repr, contingency, frozen, is_frozen, relabel_consecutive
from supercuts.core.errors import InputError

maps = arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 6))


def test_relabel_matches_hand_worked_map():
    labels, count = relabel_consecutive(np.array([[7, -2], [7, 40]]))
    np.testing.assert_array_equal(labels, [[1, 0], [1, 2]])
    assert count == 3
    assert labels.dtype == np.int32


@given(maps)
def test_relabel_keeps_the_partition_and_the_order(labels):
    before = labels.copy()
    new, count = relabel_consecutive(labels)
    np.testing.assert_array_equal(labels, before)
    assert sorted(set(new.ravel().tolist())) == list(range(count))
    pairs = sorted(set(zip(labels.ravel().tolist(), new.ravel().tolist(), strict=True)))
    assert [new_id for _, new_id in pairs] == list(range(count))


def test_relabel_of_nothing_has_no_regions():
    labels, count = relabel_consecutive(np.zeros((0, 3), dtype=np.int64))
    assert labels.shape == (0, 3)
    assert count == 0


@given(maps, st.randoms(use_true_random=False))
def test_contingency_counts_pixels(truth, random):
    prediction = np.array([random.randrange(4) for _ in range(truth.size)]).reshape(truth.shape)
    table = contingency(truth, prediction)
    counted = Counter(zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True))
    assert table.shape == (truth.max() + 1, prediction.max() + 1)
    assert {(i, j): n for (i, j), n in np.ndenumerate(table) if n} == dict(counted)
    np.testing.assert_array_equal(contingency(prediction, truth), table.T)


def test_contingency_keeps_empty_ids_between():
    np.testing.assert_array_equal(contingency(np.array([0, 2]), np.array([1, 1])), [[0, 1], [0, 0], [0, 1]])


def test_contingency_does_not_overflow_narrow_integers():
    labels = np.arange(100, dtype=np.int8)
    np.testing.assert_array_equal(contingency(labels, labels), np.eye(100))


def test_contingency_of_no_pixels_is_empty():
    empty = np.zeros((0,), dtype=np.int32)
    assert contingency(empty, empty).shape == (0, 0)


def test_contingency_of_two_shapes_is_refused():
    with pytest.raises(InputError, match="score label maps of one image"):
        contingency(np.zeros((2, 3), dtype=int), np.zeros((3, 2), dtype=int))


def test_a_result_of_arrays_is_described_on_one_line():
    @dataclass(repr=False)
    class Result:
        masks: np.ndarray
        scores: np.ndarray
        name: str = "a"

        __repr__ = arrays_repr

    result = Result(np.zeros((2, 30, 40), bool), np.array([0.5, 0.25], np.float32))
    assert repr(result) == "Result(masks=bool (2, 30, 40), scores=array([0.5 , 0.25], dtype=float32), name='a')"


def test_a_frozen_array_has_no_owner_that_can_be_written_into():
    owner = np.arange(6)
    view = owner.reshape(2, 3)
    assert not is_frozen(view)
    view.flags.writeable = False
    assert not is_frozen(view)  # the owner can still be written into
    assert frozen(view) is view
    assert is_frozen(view)
    assert is_frozen(owner)
    with pytest.raises(ValueError, match="read-only"):
        owner[0] = 7


def test_memory_of_others_is_never_frozen(tmp_path):
    stored = np.memmap(tmp_path / "file", np.int32, "w+", shape=4)
    stored.flags.writeable = False
    assert not is_frozen(stored)
    assert not is_frozen(np.frombuffer(b"12345678", np.int32))
