import numpy as np
import pytest
import scipy.io

from supercuts.core.errors import InputError

EXPECTED = [
    [0, 0, 0, 0, 0.25, 0, 0],
    [0, 0, 0, 0, 0.25, 0, 0],
    [0.75] * 7,
    [0] * 7,
    [0] * 7,
]


def test_npy_is_float32(small, tmp_path):
    small.export(tmp_path / "h.npy", format="ucm")
    np.testing.assert_array_equal(np.load(tmp_path / "h.npy"), np.array(EXPECTED, np.float32), strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["h.npy"]


def test_mat_has_the_benchmarks_key_and_type(small, tmp_path):
    small.export(tmp_path / "h.mat", format="ucm")
    ucm = scipy.io.loadmat(tmp_path / "h.mat")["ucm2"]
    np.testing.assert_array_equal(ucm, np.array(EXPECTED, np.float64), strict=True)


def test_refuses_other_suffixes(small, tmp_path):
    with pytest.raises(InputError, match=r"'.png' is unknown. Choose one of: .npy, .mat"):
        small.export(tmp_path / "h.png", format="ucm")
