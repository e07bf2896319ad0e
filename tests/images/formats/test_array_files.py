import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from supercuts.core.errors import FileFormatError
from supercuts.images.formats.array_files import SUFFIXES, describe, read_shape, read_variables, refusing_damage

MAP = np.array([[0, 7, 7], [300, 0, 1]], np.uint16)
HDF5 = b"\x89HDF\r\n\x1a\n"


def write(path, array):
    writers = {
        ".mat": lambda: scipy.io.savemat(path, {"array": array}, do_compression=True),
        ".npy": lambda: np.save(path, array),
        ".npz": lambda: np.savez_compressed(path, array=array),
        ".png": lambda: Image.fromarray(array).save(path),
        ".tif": lambda: tifffile.imwrite(path, array),
        ".tiff": lambda: tifffile.imwrite(path, array),
    }
    writers[path.suffix]()
    return path


def test_every_format_gives_the_array_as_stored(tmp_path):
    for suffix in SUFFIXES:
        variables = read_variables(write(tmp_path / f"a{suffix}", MAP))
        assert list(variables) == ["array"], suffix
        assert variables["array"].dtype == MAP.dtype, suffix
        np.testing.assert_array_equal(variables["array"], MAP)


def test_suffixes_may_be_upper_case(tmp_path):
    path = write(tmp_path / "a.png", MAP).rename(tmp_path / "a.PNG")
    np.testing.assert_array_equal(read_variables(path)["array"], MAP)


def test_mat_keeps_names_and_the_types_that_matlab_shows(tmp_path):
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = MAP, MAP.astype(float)
    zeros = np.array([[0.0, 1.0]])  # MATLAB stores such doubles as bytes; they are not uint8 strengths
    with (tmp_path / "a.mat").open("wb") as file:
        scipy.io.savemat(file, {"segs": cells, "ucm2": zeros, "mask": zeros > 0, "note": "text"})
    variables = read_variables(tmp_path / "a.mat")
    assert describe(variables) == "segs (1, 2) cell, ucm2 (1, 2) float64, mask (1, 2) bool, note (1,) <U4"


def test_double_stored_as_bytes_stays_double(tmp_path):
    """Write a matrix of class double whose data element has type uint8, as MATLAB does and scipy does not."""

    def element(kind, data):
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    parts = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", 1, 2)) + element(1, b"ucm2")
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    (tmp_path / "a.mat").write_bytes(header + element(14, parts + element(2, bytes([0, 1]))))
    array = read_variables(tmp_path / "a.mat")["ucm2"]
    assert array.dtype == np.float64
    assert array.tolist() == [[0, 1]]


def test_palette_png_gives_indices_unless_refused(tmp_path):
    image = Image.fromarray(MAP.astype(np.uint8))
    image.putpalette([255 - i // 3 for i in range(768)])
    image.save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", MAP.astype(np.uint8), photometric="palette", colormap=np.zeros((3, 256), "u2"))
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_variables(tmp_path / name)["array"], MAP.astype(np.uint8))
        with pytest.raises(FileFormatError, match=rf"{name} is a palette image.*Expected one grey.*--form segm"):
            read_variables(tmp_path / name, accepts_palette=False)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_pngs_are_refused(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    with pytest.raises(FileFormatError, match=rf"a.png is a PNG of mode {mode}: .*Save the map itself"):
        read_variables(tmp_path / "a.png")


def test_colour_tiffs_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3, 3), np.uint8), photometric="rgb")
    with pytest.raises(FileFormatError, match=r"a.tif is a TIFF of colours. Expected one channel"):
        read_variables(tmp_path / "a.tif")


@pytest.mark.parametrize("start", [b"MATLAB 7.3 MAT-file".ljust(512) + HDF5, HDF5, b"user block".ljust(512) + HDF5])
def test_hdf5_is_named_with_the_remedy(tmp_path, start):
    (tmp_path / "a.mat").write_bytes(start + bytes(100))
    with pytest.raises(FileFormatError, match=r"a.mat is a MATLAB v7.3 \(HDF5\) file.*version 7 or older.*'-v7'"):
        read_variables(tmp_path / "a.mat")


def test_sparse_matrices_are_refused(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"seg": scipy.sparse.csc_matrix(np.eye(3))})
    with pytest.raises(FileFormatError, match=r"a.mat: seg is sparse. Expected a full matrix: save full\(seg\)"):
        read_variables(tmp_path / "a.mat")


def test_tiffs_of_several_series_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(MAP)
        tiff.write(MAP.T)
    with pytest.raises(FileFormatError, match=r"a.tif holds 2 series of images. Expected one"):
        read_variables(tmp_path / "a.tif")


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_objects_are_not_unpickled(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", np.array([Trap()], object))
    with pytest.raises(FileFormatError, match=rf"a{suffix} is damaged or not {suffix} \(ValueError: .*bject.*np.save"):
        read_variables(tmp_path / f"a{suffix}")


def test_an_npy_header_cannot_ask_for_memory(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(64))
    with pytest.raises(FileFormatError, match=r"is damaged or not .npy"):
        read_variables(tmp_path / "a.npy")


def test_a_png_header_cannot_ask_for_memory(tmp_path):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 1_000_000, 1_000_000, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    with pytest.raises(FileFormatError, match=r"a.png claims 1000000 x 1000000 values. Expected at most"):
        read_variables(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"not a picture, not an array" * 9, b"PK\x03\x04", bytes(2000)])
def test_other_content_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    kind = suffix.replace("tiff", "tif")
    with pytest.raises(FileFormatError, match=rf"a{suffix} is damaged or not {kind} \(.*Expected a valid .*write"):
        read_variables(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_damage_raises_nothing_else(tmp_path, suffix, data):
    content = write(tmp_path / f"whole{suffix}", MAP).read_bytes()
    cut = data.draw(st.integers(0, len(content)), label="cut")
    at = data.draw(st.integers(0, len(content) - 1), label="at")
    junk = data.draw(st.binary(max_size=8), label="junk")
    path = tmp_path / f"a{suffix}"
    path.write_bytes((content[:at] + junk + content[at + len(junk) :])[:cut])
    try:
        variables = read_variables(path)
    except FileFormatError as error:
        assert str(path) in str(error)  # noqa: PT017 damage may also go unnoticed
    else:
        assert all(isinstance(array, np.ndarray) for array in variables.values())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_paths_that_cannot_be_opened(tmp_path, suffix):
    with pytest.raises(FileFormatError, match=rf"a{suffix} cannot be read \(No such file.*check its path"):
        read_variables(tmp_path / f"a{suffix}")
    (tmp_path / f"b{suffix}").mkdir()
    with pytest.raises(FileFormatError, match=rf"b{suffix} cannot be read \(Is a directory"):
        read_variables(tmp_path / f"b{suffix}")


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"a.jpg: arrays in '.jpg' are not read. Expected .mat, .npy"):
        read_variables(tmp_path / "a.jpg")


def test_refusals_pass_unchanged(tmp_path):
    with pytest.raises(FileFormatError, match=r"^as it was$"), refusing_damage(tmp_path / "a.png"):
        raise FileFormatError("as it was")


def test_no_variables_are_described_as_nothing():
    assert describe({}) == "nothing"


@pytest.mark.parametrize("suffix", [".npy", ".png", ".tif", ".tiff"])
def test_shapes_are_read_from_headers(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", MAP)
    assert read_shape(path) == (2, 3)
    with pytest.raises(FileFormatError, match=r"none.* cannot be read"):
        read_shape(tmp_path / f"none{suffix}")
    path.write_bytes(b"neither an array nor a picture" * 9)
    with pytest.raises(FileFormatError, match=rf"a{suffix} is damaged"):
        read_shape(path)


def test_a_png_that_was_cut_is_found_by_its_checksums(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64)).astype(np.uint16)
    path = write(tmp_path / "a.png", noise)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(FileFormatError, match=r"a.png is damaged"):
        read_shape(path)


def test_the_shape_of_a_colour_picture_is_refused(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    with pytest.raises(FileFormatError, match=r"a.png is a PNG of mode RGB"):
        read_shape(tmp_path / "a.png")
