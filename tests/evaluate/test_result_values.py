from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from supercuts.core.errors import FileFormatError
from supercuts.evaluate.result_values import as_labels, as_strength, check_size, is_integral

PATH = Path("res/2018.mat")
REAL = ["float16", "float32", "float64", ">f4", ">f8"]
WHOLE = ["uint8", "int8", "uint16", ">u2", "int32", "uint32", "int64", "uint64", ">i8"]


@pytest.mark.parametrize("dtype", [*WHOLE, *REAL])
def test_labels_of_any_type_are_renumbered_in_order(dtype):
    labels = as_labels(PATH, np.asfortranarray(np.array([[9, 3, 3], [100, 9, 0]], dtype)))
    assert labels.dtype == np.int32
    assert labels.tolist() == [[2, 1, 1], [3, 2, 0]]


def test_labels_may_be_a_mask():
    assert as_labels(PATH, np.array([[False, True]])).tolist() == [[0, 1]]


@given(arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 2**53 - 1)))
def test_labels_keep_the_partition(ids):
    labels = as_labels(PATH, ids)
    pairs = set(zip(ids.ravel().tolist(), labels.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(ids)) == labels.max() + 1
    assert labels.min() == 0
    np.testing.assert_array_equal(as_labels(PATH, ids.astype(np.float64)), labels)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.array([[0, -1], [-1, 2]]),
            r"2018.mat holds -1 at row 0, column 1, and 2 such.*Give every pixel to a super",
        ),
        (np.array([[0.0], [np.nan]]), r"holds nan at row 1, column 0, and 1 such.*integers from 0.*Give every pixel"),
        (np.array([[-7]]), r"holds -7 at row 0, column 0.*Renumber the ids"),
        (np.array([[2**63]], np.uint64), r"holds 9223372036854775808 at.*Renumber"),
        (np.array([[np.inf]]), r"holds inf at.*Renumber"),
        (np.array([[1.0, 0.25]]), r"holds 0.25 at row 0, column 1.*supercuts evaluate hierarchy"),
        (np.array([["a"]]), r"holds values of type <U1.*Save them as int32"),
        (np.array([[1j]]), r"holds values of type complex128"),
    ],
)
def test_labels_that_are_none_are_refused(array, message):
    with pytest.raises(FileFormatError, match=message):
        as_labels(PATH, array)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[1.0, 2.0]]), True),
        (np.array([[1.0, 2.5]]), False),
        (np.array([[np.nan]]), False),
        (np.array([[3]], np.uint8), True),
        (np.array([[True]]), True),
        (np.array([["a"]]), False),
    ],
)
def test_integral_values(array, expected):
    assert is_integral(array) is expected


@pytest.mark.parametrize("dtype", REAL)
def test_floats_keep_their_values(dtype):
    given_ = np.asfortranarray(np.array([[0, 0.5, 1], [0.25, 0, 0.125]], dtype))
    strength = as_strength(PATH, given_)
    assert strength.dtype == (np.float64 if given_.dtype.itemsize == 8 else np.float32)
    assert strength.flags.c_contiguous
    np.testing.assert_array_equal(strength, given_.astype(np.float64))


@pytest.mark.parametrize(("dtype", "full"), [("uint8", 255), ("uint16", 65535), (">u2", 65535)])
def test_integers_are_divided_by_the_highest_of_their_type(dtype, full):
    strength = as_strength(PATH, np.array([[0, 2, full]], dtype))
    np.testing.assert_array_equal(strength, [[0, 2 / full, 1]])
    assert as_strength(PATH, np.zeros((1, 2), dtype)).tolist() == [[0, 0]]


def test_hard_boundaries_are_strengths():
    assert as_strength(PATH, np.array([[False, True]])).tolist() == [[0.0, 1.0]]


def test_rounding_errors_are_clipped():
    strength = as_strength(PATH, np.array([[-1e-8, 1 + 1e-7]]))
    assert strength.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.5, np.nan]]), r"2018.mat holds NaN at 1 of 2 values. Expected.*replace NaN"),
        (np.array([[0.0, 254.0]]), r"holds values 0..254. Expected strengths in 0..1: divide .*255 if they were uint8"),
        (np.array([[-0.5, 0.5]]), r"holds values -0.5..0.5"),
        (np.array([[0.0, np.inf]]), r"holds values 0..inf"),
        (np.array([[0, 100]]), r"holds 0..100 of type int64. Expected strengths as float"),
        (np.array([[0, 1]], np.uint8), r"only 0 and 1 as uint8. Expected strengths 0..255: save 255 on boundaries"),
        (np.array([[0, 1]], np.uint16), r"only 0 and 1 as uint16. Expected strengths 0..65535"),
        (np.array([[1j]]), r"holds values of type complex128"),
    ],
)
def test_strengths_that_are_none_are_refused(array, message):
    with pytest.raises(FileFormatError, match=message):
        as_strength(PATH, array)


def test_size_is_checked():
    check_size(PATH, (2, 3), (2, 3), "the image")
    with pytest.raises(FileFormatError, match=r"2018.mat is transposed: \(3, 2\). Expected \(2, 3\).*x.' in MATLAB"):
        check_size(PATH, (3, 2), (2, 3), "the image")
    with pytest.raises(FileFormatError, match=r"2018.mat is \(4, 6\). Expected \(2, 3\) .*of the image.*resized"):
        check_size(PATH, (4, 6), (2, 3), "the image")
