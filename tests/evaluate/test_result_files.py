import jaxtyping
import numpy as np
import pytest

from supercuts.core.errors import FileFormatError
from supercuts.evaluate.result_files import read_hierarchy
from supercuts.hierarchy.tree import Hierarchy


@pytest.fixture
def as_installed():
    """Switch the array annotations off, as they are outside the tests: damaged files must reach our own refusals."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def tree():
    return Hierarchy(
        labels=np.array([[0, 0, 1], [2, 2, 2]], dtype=np.int32),
        parents=np.array([3, 3, 4, 4, 4], dtype=np.int32),
        altitudes=np.array([0, 0, 0, 0.25, 0.75], dtype=np.float32),
        embeddings=np.zeros((3, 0), dtype=np.float32),
    )


def test_hierarchy_is_told_from_other_files(tmp_path):
    tree().save(tmp_path / "h.npz")
    read = read_hierarchy(tmp_path / "h.npz")
    assert isinstance(read, Hierarchy)
    np.testing.assert_array_equal(read.labels, tree().labels)
    np.savez(tmp_path / "a.npz", array=np.zeros((2, 3), np.uint16))
    assert read_hierarchy(tmp_path / "a.npz") is None
    assert read_hierarchy(tmp_path / "a.mat") is None


def test_damaged_hierarchy_is_refused(tmp_path, as_installed):
    tree().save(tmp_path / "h.npz")
    content = (tmp_path / "h.npz").read_bytes()
    (tmp_path / "h.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match=r"h.npz is damaged or not .npz .*Hierarchy.save"):
        read_hierarchy(tmp_path / "h.npz")
    with pytest.raises(FileFormatError, match=r"none.npz cannot be read"):
        read_hierarchy(tmp_path / "none.npz")
