import io
import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from supercuts.core.errors import FileFormatError
from supercuts.images.formats import mat_files
from supercuts.images.formats.mat_files import read_mat

LABELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def saved(path, variables, **options):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, **options)
    path.write_bytes(file.getvalue())
    return path


def cells():
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = LABELS, {"Segmentation": LABELS, "name": "one"}
    return cell


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
def test_numbers_are_read_as_scipy_reads_them(tmp_path, options):
    path = saved(
        tmp_path / "a.mat", {"labels": LABELS, "x": np.eye(2) * 1j, "t": "text", "none": np.zeros((0, 3))}, **options
    )
    actual, expected = read_mat(path), scipy.io.loadmat(path)
    assert actual.keys() == expected.keys()
    for name in ("labels", "x", "t", "none"):
        np.testing.assert_array_equal(actual[name], expected[name])


@pytest.mark.parametrize("compressed", [False, True])
def test_cells_structs_text_flags_and_sparse_matrices_pass(tmp_path, compressed):
    variables = {"segs": cells(), "flags": np.array([[True, False]]), "s": scipy.sparse.csc_matrix(np.eye(3))}
    path = saved(tmp_path / "a.mat", variables, do_compression=compressed)
    actual = read_mat(path)
    np.testing.assert_array_equal(actual["segs"][0, 0], LABELS)
    np.testing.assert_array_equal(actual["segs"][0, 1]["Segmentation"][0, 0], LABELS)
    np.testing.assert_array_equal(actual["s"].toarray(), np.eye(3))


@pytest.mark.parametrize("kind", [0, 8, 10, 14, 16, 19, 255, 65535])
def test_numbers_of_an_unknown_type_are_refused_before_scipy_looks_them_up(tmp_path, kind):
    path = saved(tmp_path / "a.mat", {"labels": LABELS})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rindex(struct.pack("<II", 4, LABELS.nbytes)), kind)
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.mat is damaged or not .mat .*Expected a valid MATLAB file"):
        read_mat(path)


def test_truncated_files_are_refused_or_give_whole_variables(tmp_path):
    content = saved(tmp_path / "a.mat", {"segs": cells()}).read_bytes()
    path = tmp_path / "cut.mat"
    for end in range(len(content)):
        path.write_bytes(content[:end])
        if end == 128:  # a header alone is a file without variables
            assert "segs" not in read_mat(path)
        else:
            with pytest.raises(FileFormatError, match="Expected a valid MATLAB file"):
                read_mat(path)


def test_data_that_unpack_beyond_the_limit_are_refused(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.mat", {"zeros": np.zeros((100, 100))}, do_compression=True)
    assert path.stat().st_size < 1000
    assert read_mat(path)["zeros"].size == 10_000
    monkeypatch.setattr(mat_files, "MAX_BYTES", 80_000)
    with pytest.raises(FileFormatError, match="more than the limit of 80000 bytes"):
        read_mat(path)


def test_cells_in_cells_without_end_are_refused(tmp_path):
    inner = np.ones((1, 1))
    for _ in range(20):
        outer = np.empty((1, 1), object)
        outer[0, 0] = inner
        inner = outer
    with pytest.raises(FileFormatError, match="cells within cells"):
        read_mat(saved(tmp_path / "a.mat", {"c": inner}))


def test_version_73_and_missing_files_are_refused_with_a_remedy(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(FileFormatError, match=r"v7\.3 \(HDF5\).*-v7"):
        read_mat(path)
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_mat(tmp_path / "none.mat")
