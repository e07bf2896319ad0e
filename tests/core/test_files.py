import io
import json
import struct
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import supercuts
from supercuts.core import files
from supercuts.core.errors import InputError
from supercuts.core.files import (
    atomic_folder,
    atomic_path,
    atomic_paths,
    check_members,
    printable,
    remove_leftovers,
    write_json,
)


def test_file_appears_whole_and_leaves_no_other_file(tmp_path):
    target = tmp_path / "new" / "photo.npz"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.suffix == ".npz"
        assert temporary.parent == target.parent
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_error_keeps_the_old_file_and_removes_the_part(tmp_path):
    target = tmp_path / "photo.npz"
    target.write_text("old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    with atomic_path(tmp_path / "a.txt") as first, atomic_path(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a.txt").read_text() == "1"  # the first one's block ends last


def write_folder(path, text, overwrite=False):
    with atomic_folder(path, "index.json", overwrite) as folder:
        (folder / "index.json").write_text(text)
        if not text:
            raise RuntimeError("disk full")


def test_folder_appears_whole_and_replaces_only_its_own_format(tmp_path):
    target = tmp_path / "new" / "masks"
    write_folder(target, "first")
    with pytest.raises(InputError, match=r"exists and is not an empty folder: choose another path"):
        write_folder(target, "second")
    write_folder(target, "second", overwrite=True)
    assert (target / "index.json").read_text() == "second"
    with pytest.raises(RuntimeError, match="disk full"):
        write_folder(target, "", overwrite=True)
    assert (target / "index.json").read_text() == "second"
    assert list(target.parent.iterdir()) == [target]


def test_overwrite_does_not_remove_files_of_others(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds no index.json, so it was not written by this format"):
        write_folder(tmp_path / "thesis", "masks", overwrite=True)
    (tmp_path / "note").write_text("mine")
    with pytest.raises(InputError, match=r"holds no index.json"):
        write_folder(tmp_path / "note", "masks", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    with atomic_path(tmp_path / "last.ckpt") as temporary:
        temporary.write_bytes(b"whole")
    temporary.write_bytes(b"half")  # left by a killed process
    others = [
        tmp_path / name for name in ("last.ckpt", ".hidden", ".last.ckpt", ".last.0123.ckpt", "last.0123456789ab.ckpt")
    ]
    for path in others:
        path.write_bytes(b"mine")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
    remove_leftovers(tmp_path / "none")


def test_errors_name_the_requested_file(tmp_path):
    (tmp_path / "a.png").mkdir()
    (tmp_path / "a.png" / "in the way").touch()
    (tmp_path / "file").touch()
    for path in (tmp_path / "a.png", tmp_path / "file" / "b.png"):
        with pytest.raises(OSError) as caught, atomic_path(path) as temporary:  # noqa: PT011 (its kind differs)
            temporary.write_text("whole")
        assert str(caught.value.filename).startswith(str(path.parent if path.name == "b.png" else path))
        assert ".a." not in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.png", "file"]


def test_several_files_appear_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "new" / "b.json"]
    with atomic_paths(paths) as staged:
        assert [path.suffix for path in staged] == [".png", ".json"]
        for path in staged:
            path.write_text(path.suffix)
    assert [path.read_text() for path in paths] == [".png", ".json"]

    def fail():
        with atomic_paths(paths) as staged:
            staged[0].write_text("new")
            write_json(staged[1], {})
            raise OSError(28, "full", str(staged[1]))

    with pytest.raises(OSError, match="full") as caught:
        fail()
    assert str(caught.value) == f"[Errno 28] full: '{paths[1]}'"
    assert [path.read_text() for path in paths] == [".png", ".json"]
    assert {path.name for path in tmp_path.rglob("*")} == {"a.png", "new", "b.json"}


@pytest.mark.parametrize("name", ["x" * 251 + ".npz", "a." + "b" * 250, "caf\udce9.npz", "a.b\udce9", "-", "[x].npz"])
def test_any_name_that_the_file_system_takes_is_written(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("whole")
        str(temporary).encode()  # some libraries take UTF-8 alone
    with atomic_folder(tmp_path / "folders" / name, "marker") as folder:
        (folder / "marker").touch()
    assert (tmp_path / name).read_text() == "whole"
    assert [path.name for path in (tmp_path / "folders").iterdir()] == [name]


def test_documents_hold_names_that_are_not_text(tmp_path):
    document = {"image": "caf\udce9.png", "other": "ä"}
    write_json(tmp_path / "a.json", document)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == document
    assert "ä" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert printable("caf\udce9 ä.png") == "caf\ufffd ä.png"


def archive(*members, packing=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as target:
        for name, content in members:
            target.writestr(name, content)
    return file.getvalue()


def check(content: bytes, **limits) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        check_members(opened, **limits)


def test_usual_archives_pass():
    check(archive(("a", b"x" * 1000), ("b", b"")))
    check(archive(("a", bytes(50_000_000))))  # the most that deflate compresses
    check(archive(("a", b"12"), packing=zipfile.ZIP_STORED), max_bytes=2)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused():
    with pytest.raises(ValueError, match="it holds 'a' more than once"):
        check(archive(("a", b"1"), ("a", b"2")))


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_refused(packing):
    with pytest.raises(ValueError, match="'a' has an unsupported compression"):
        check(archive(("a", b"1" * 99), packing=packing))


@pytest.mark.parametrize(("packing", "claim"), [(zipfile.ZIP_STORED, 1001), (zipfile.ZIP_DEFLATED, 3 << 30)])
def test_a_claim_that_the_member_cannot_hold_is_refused(packing, claim):
    content = bytearray(archive(("a", b"x" * 1000), packing=packing))
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, claim)
    with pytest.raises(ValueError, match=f"'a' claims {claim} bytes, which its .* cannot hold"):
        check(bytes(content))


def test_more_than_the_limit_is_refused():
    content = archive(("a", bytes(600)), ("b", bytes(600)))
    check(content, max_bytes=1200)
    with pytest.raises(ValueError, match="claims 1200 bytes unpacked, above the limit max_bytes=1199"):
        check(content, max_bytes=1199)


def test_version_is_that_of_pyproject_or_marks_a_missing_installation():
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    declared = tomllib.loads(pyproject.read_text())["project"]["version"]
    assert files.package_version() in {declared, "0+unknown"}
    assert supercuts.__version__ == files.package_version()


def test_checkout_without_installation_has_a_version(monkeypatch):
    def refuse(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(files, "version", refuse)
    assert files.package_version() == "0+unknown"
