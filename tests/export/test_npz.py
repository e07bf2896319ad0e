import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from supercuts.core.errors import FileFormatError
from supercuts.export import npz
from supercuts.images.georeference import Georeference

ARRAYS = ("labels", "parents", "altitudes", "embeddings", "image")


class Bomb:
    """An object that records its unpickling."""

    def __reduce__(self):
        return (exit, ("unpickled",))


def rewrite(path, change, allow_pickle=False):
    """Write the file again with some arrays changed; None removes one."""
    with np.load(path) as arrays:
        kept = {**arrays, **change}
    np.savez(path, allow_pickle=allow_pickle, **{name: array for name, array in kept.items() if array is not None})


def npy_bytes(header, data=b""):
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.fixture
def saved(small, tmp_path):
    path = tmp_path / "h.npz"
    npz.write_npz(path, small)
    return path


def test_read_restores_the_written_hierarchy(small, saved):
    back = npz.read(saved)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(small, name), strict=True)
    assert list(back.levels.items()) == list(small.levels.items())


def test_numpy_alone_reads_the_file(small, saved):
    with np.load(saved, allow_pickle=False) as arrays:
        assert int(arrays["format_version"]) == 1
        assert arrays["level_names"].tolist() == ["scene", "object", "part"]
        assert arrays["level_names"].dtype.kind == "U"
        assert arrays["level_altitudes"].tolist() == [0.75, 0.5, 0.1]
        np.testing.assert_array_equal(arrays["labels"], small.labels, strict=True)


def test_image_is_optional_and_levels_may_be_empty(small, tmp_path):
    npz.write_npz(tmp_path / "h.npz", small, image=False)
    assert npz.read(tmp_path / "h.npz").image is None
    bare = type(small)(small.labels, small.parents, small.altitudes, np.zeros((3, 0), np.float32))
    npz.write_npz(tmp_path / "bare.npz", bare)
    back = npz.read(tmp_path / "bare.npz")
    assert (back.image, back.levels, back.embeddings.shape) == (None, {}, (3, 0))


def test_equal_hierarchies_give_equal_bytes_and_no_other_files(small, saved, tmp_path):
    npz.write_npz(tmp_path / "again.npz", npz.read(saved))
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "h.npz"]


def test_a_failed_write_leaves_the_old_file(small, saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr(np.lib.format, "write_array", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        npz.write_npz(saved, small)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["h.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parents": None}, r"lacks parents.npy\. Write it again with Hierarchy.save"),
        ({"notes": np.zeros(2)}, r"holds notes.npy, which format_version 1 does not have"),
        ({"format_version": None}, r"no format_version"),
        ({"format_version": np.array(2)}, r"lacks before_altitudes.npy, before_parents.npy, edit_groups"),
        (
            {"format_version": np.array(3)},
            r"format_version 3, this program reads 1 and 2; .*pip install --upgrade supercuts",
        ),
        ({"labels": np.zeros((2, 3), np.int64)}, r"labels is int64 \(2, 3\), expected int32 with 2 axes"),
        ({"labels": np.zeros(6, np.int32)}, r"labels is int32 \(6,\), expected int32 with 2"),
        ({"labels": np.full((2, 3), 7, np.int32)}, r"holds no valid hierarchy: labels hold 7"),
        ({"parents": np.array([3, 3, 4, 2, 4], np.int32)}, r"holds no valid hierarchy: node 3 "),
        ({"altitudes": np.array([0, 0, 0, np.nan, 1], np.float32)}, r"holds no valid hierarchy: node 3 "),
        ({"image": np.zeros((3, 3, 3), np.uint8)}, r"image \(3, 3, 3\) does not fit"),
        ({"level_names": np.array(["scene", "object"])}, r"shorter|longer"),
        ({"level_names": np.array(["scene", "object", "x"])}, r"'x' is unknown"),
        ({"level_altitudes": np.array([0.1, 0.2, np.inf])}, r"inf is outside 0..1"),
    ],
)
def test_refuses_files_that_save_would_not_write(as_installed, saved, change, message):
    rewrite(saved, change)
    with pytest.raises(FileFormatError, match=message) as caught:
        npz.read(saved)
    assert str(saved) in str(caught.value)


@pytest.mark.parametrize("crs", ["EPSG:32632", None])
def test_a_georeference_is_kept(small, tmp_path, crs):
    placed = replace(small, georeference=Georeference((0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7), crs)).lock(0)
    placed.save(tmp_path / "h.npz")
    assert npz.read(tmp_path / "h.npz").georeference == placed.georeference
    with np.load(tmp_path / "h.npz", allow_pickle=False) as arrays:
        assert arrays["georeference_transform"].tolist() == [0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7]
        assert str(arrays["georeference_crs"]) == (crs or "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"georeference_crs": None}, r"lacks georeference_crs.npy"),
        ({"georeference_transform": None}, r"lacks georeference_transform.npy"),
        ({"georeference_transform": np.zeros(5)}, r"holds no valid hierarchy: transform=\(0.0, .* places no pixels"),
        ({"georeference_transform": np.full(6, np.inf)}, r"places no pixels: give six finite numbers"),
        ({"georeference_crs": np.array(["EPSG:1"])}, r"georeference_crs is <U6 \(1,\), expected"),
        ({"georeference_crs": np.array("  ")}, r"crs='  ' is not text"),
    ],
)
def test_forged_georeferences_are_refused(as_installed, small, tmp_path, change, message):
    path = tmp_path / "h.npz"
    replace(small, georeference=Georeference((2, 0, 100, 0, -2, 50), "EPSG:4326")).save(path)
    rewrite(path, change)
    with pytest.raises(FileFormatError, match=message):
        npz.read(path)


@pytest.mark.parametrize("name", ["labels", "level_names", "format_version", "image"])
def test_pickled_objects_are_refused_unopened(saved, name):
    rewrite(saved, {name: np.array([Bomb()], dtype=object)}, allow_pickle=True)
    with pytest.raises(FileFormatError, match=rf"{name} is object"):
        npz.read(saved)


@pytest.mark.parametrize(
    "shape", [(10**7, 10**7), (2, 4), (0, 0), (2, -3), (-2, -3)], ids=["huge", "long", "empty", "negative", "both"]
)
def test_a_header_that_lies_about_its_size_is_refused(small, saved, shape):
    header = {"descr": "<i4", "fortran_order": False, "shape": shape}
    forge(saved, "labels", npy_bytes(header, small.labels.tobytes()))
    with pytest.raises(FileFormatError, match=r"labels"):
        npz.read(saved)


def test_fortran_order_is_read(small, saved):
    rewrite(saved, {"labels": np.asfortranarray(small.labels)})
    np.testing.assert_array_equal(npz.read(saved).labels, small.labels)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04 not a zip", b"{}" * 1000])
def test_refuses_files_of_another_kind(tmp_path, content):
    path = tmp_path / "h.npz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"h.npz is not a complete .npz \(zip\) file.*Hierarchy.save"):
        npz.read(path)


def test_damage_is_refused_wherever_it_is(small, saved):
    whole = saved.read_bytes()
    for position in range(0, len(whole), 7):
        saved.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            back = npz.read(saved)
        except FileFormatError:
            continue
        for name in ARRAYS:  # a byte that nothing depends on, such as a date
            np.testing.assert_array_equal(getattr(back, name), getattr(small, name))
    for length in range(0, len(whole), 50):
        saved.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            npz.read(saved)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        npz.read(tmp_path / "none.npz")


def forge(path, name, content):
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[f"{name}.npy"] = content
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    path.write_bytes(buffer.getvalue())


@pytest.fixture
def edited(small):
    """Return a hierarchy with three edits, the last of them a lock."""
    h = small.merge(0, 2)
    h = h.split(h.root)
    return h.lock(1)


def test_edits_are_kept_in_the_file(edited, tmp_path):
    edited.save(tmp_path / "h.npz")
    back = npz.read(tmp_path / "h.npz")
    while edited.edits is not None:
        np.testing.assert_array_equal(back.parents, edited.parents, strict=True)
        np.testing.assert_array_equal(back.altitudes, edited.altitudes, strict=True)
        np.testing.assert_array_equal(back.cut(altitude=1), edited.cut(altitude=1))
        assert back.edits.limits == edited.edits.limits
        edited, back = edited.undo(), back.undo()
    assert back.edits is None
    with np.load(tmp_path / "h.npz") as arrays:
        assert int(arrays["format_version"]) == 2


def test_files_of_before_there_were_limits_are_read(edited, tmp_path):
    edited.save(tmp_path / "h.npz")
    rewrite(tmp_path / "h.npz", {"edit_limits": None})
    assert npz.read(tmp_path / "h.npz").edits.limits == edited.edits.limits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": np.array(1)}, r"holds before_altitudes.npy, .*which format_version 1 does not have"),
        ({"edit_kinds": np.array(["merge", "split", "x"])}, r"kind='x' is unknown"),
        ({"edit_kinds": np.array(["merge", "split", "merge"])}, r"the merge of 1 leaves is none: merge takes two"),
        ({"edit_leaves": np.zeros(6, np.int32)}, r"the merge of 1 and 1 leaves is none"),
        ({"edit_kinds": np.array(["merge", "split"])}, r"do not name leaves"),
        ({"edit_leaves": np.array([0, 9, 1, 0, 2, 1], np.int32)}, r"do not name leaves"),
        ({"edit_sizes": np.array([2**62, 2**62, 2**62, 2**62 + 5, 1])}, r"do not name leaves"),
        ({"edit_groups": np.array([-1, 5, 1])}, r"do not name leaves"),
        ({"before_parents": np.array([3, 3, 4, 2, 4], np.int32)}, r"node 3 "),
        ({"altitudes": np.array([0, 0, 0, 0.125, 1], np.float32)}, r"edits do not lead to its altitudes"),
        ({"edit_limits": np.array([1, 9])}, r"edits do not lead to its edit_limits"),
        ({"before_altitudes": np.zeros(4, np.float32)}, r"do not make a tree"),
    ],
)
def test_forged_edits_are_refused(as_installed, edited, tmp_path, change, message):
    path = tmp_path / "h.npz"
    edited.save(path)
    rewrite(path, change)
    with pytest.raises(FileFormatError, match=message):
        npz.read(path)


def test_a_file_above_the_limit_is_refused_before_it_is_unpacked(saved):
    with pytest.raises(FileFormatError, match="above the limit max_bytes=100"):
        npz.read(saved, max_bytes=100)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice_is_refused(saved):
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("labels.npy", b"x")
    with pytest.raises(FileFormatError, match=r"'labels\.npy' more than once"):
        npz.read(saved)
