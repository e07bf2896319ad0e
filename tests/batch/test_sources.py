import dataclasses
import hashlib
import json
import os
import sys
from pathlib import Path, PurePosixPath

import fsspec
import numpy as np
import pytest

from supercuts.batch.sources import (
    Result,
    Settings,
    Source,
    Task,
    check_names,
    find_sources,
    fitting,
    is_url,
    leave_out_outputs,
    read_bytes,
)
from supercuts.cli.segment import find_images
from supercuts.core import files
from supercuts.core.errors import ImageWarning, InputError, MissingDependencyError
from supercuts.images.io import write_png


@pytest.fixture
def tree(tmp_path):
    """Return a folder of photos in subfolders, next to files that are not photos."""
    for name in ("b.png", "a.JPG", "in/c.tif", "in/deep/a.jpg", ".hidden.png", "in/.x/d.png", "notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


@pytest.fixture
def memory():
    """Return an empty file system in memory."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def names(sources):
    return {
        Path(source.address).name if not is_url(source.address) else source.address: source.name for source in sources
    }


def test_a_folder_keeps_its_subfolders(tree):
    actual = find_sources(str(tree))
    assert actual == sorted(actual, key=lambda source: source.address)
    assert sorted(source.name for source in actual) == ["a", "b", "in/c", "in/deep/a"]
    assert all(Path(source.address).is_file() for source in actual)
    assert find_sources(f"{tree}/") == actual


def test_a_glob_keeps_the_folders_below_its_fixed_part(tree, monkeypatch):
    assert sorted(source.name for source in find_sources(f"{tree}/in/**/*.jpg")) == ["deep/a"]
    assert sorted(source.name for source in find_sources(f"{tree}/**")) == ["a", "b", "in/c", "in/deep/a"]
    monkeypatch.chdir(tree.parent)
    assert [source.name for source in find_sources("photos/?.png")] == ["b"]


def test_one_file_whose_name_looks_like_a_glob(tmp_path):
    (tmp_path / "x[1].png").write_bytes(b"x")
    assert [source.name for source in find_sources(str(tmp_path / "x[1].png"))] == ["x[1]"]


def test_a_list_names_paths_urls_and_outputs(tree):
    listing = tree / "some.txt"
    listing.write_text(
        f"\ufeff# a comment\n\nin/c.tif\n{tree}/b.png\nhttps://x.org/d/e.png?size=3\ns3://d/f.png\tother/f\n"
    )
    assert find_sources(str(listing)) == [
        Source(f"{tree}/in/c.tif", "in/c"),
        Source(f"{tree}/b.png", "b"),
        Source("https://x.org/d/e.png?size=3", "e"),
        Source("s3://d/f.png", "other/f"),
    ]


def test_urls_of_a_folder_a_glob_and_a_list(memory, tree):
    memory.pipe({"/d/a.png": b"1", "/d/e/b.jpg": b"2", "/d/list.txt": b"e/b.jpg\n"})
    assert names(find_sources("memory://d")) == {"memory:///d/a.png": "a", "memory:///d/e/b.jpg": "e/b"}
    assert names(find_sources("memory://d/e/*")) == {"memory:///d/e/b.jpg": "b"}
    assert names(find_sources("memory://d/list.txt")) == {"memory://d/e/b.jpg": "e/b"}
    assert read_bytes("memory://d/e/b.jpg") == b"2"
    assert [source.name for source in find_sources(f"file://{tree}/in")] == ["c", "deep/a"]


def test_a_web_address_is_not_asked_what_it_is():
    assert find_sources("https://no.such.host.invalid/a/b%20c.png?w=1") == [
        Source("https://no.such.host.invalid/a/b%20c.png?w=1", "b c")
    ]


def test_refuses_sources_without_images(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "latin.txt").write_bytes("ä.png".encode("latin-1"))
    for given in ("empty", "empty.txt", "photos/*.bmp"):
        with pytest.raises(InputError, match=r"holds no image .*Give a folder of images, a glob"):
            find_sources(str(tmp_path / given))
    with pytest.raises(InputError, match="no such file or folder"):
        find_sources(str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"list cannot be read .*Check the path"):
        find_sources(str(tmp_path / "missing.txt"))
    with pytest.raises(InputError, match="Save it as UTF-8"):
        find_sources(str(tmp_path / "latin.txt"))


ODD_NAMES = (
    "caf\udce9",
    "a[1]",
    "-x",
    "~",
    "~root",
    "%s{x}",
    " ",
    "a::b",
    "s3:x",
    "é" * 120,
    "new\nline",
    "#x",
    "a=b?c",
)


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_odd_names_are_found_in_a_folder_alone_and_by_a_glob(tmp_path, monkeypatch, name):
    (tmp_path / f"{name}.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    expected = [Source(str(tmp_path / f"{name}.png"), name)]
    assert find_sources(str(tmp_path)) == expected
    assert find_sources(str(tmp_path / "*.png")) == expected
    assert find_sources(f"{name}.png") == [Source(f"{name}.png", name)]


def test_a_backslash_in_a_name_and_a_line_that_comes_twice_stop_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("b\\c.png").write_bytes(b"x")
    assert find_sources("b\\c.png") == [Source("b\\c.png", "b/c")]
    Path("list.txt").write_text("b\\c.png\nd.png\nb\\c.png\n")
    assert find_sources("list.txt") == [Source("b\\c.png", "b/c"), Source("d.png", "d")]


def test_lists_of_other_systems_are_read_and_their_errors_named(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("ä.png", "caf\udce9.png", "b\\c.png"):
        (tmp_path / "in" / name).write_bytes(b"x")
    listing = tmp_path / "list.txt"
    listing.write_bytes("in\\ä.png\r\nC:\\photos\\d.png\r\n".encode("utf-16"))  # written by a shell of Windows
    assert find_sources(str(listing)) == [
        Source(f"{tmp_path}/in/ä.png", "in/ä"),
        Source(f"{tmp_path}/C:/photos/d.png", "C:/photos/d"),
    ]
    listing.write_bytes(b"in/caf\xe9.png\nin/b\\c.png\nin/\xe4.png\n.x.png\nin/n\0l.png\nin/\xc3\xa4.png\t../x\n")
    actual = find_sources(str(listing))
    assert actual[:2] == [
        Source(f"{tmp_path}/in/caf\udce9.png", "in/caf\udce9"),
        Source(f"{tmp_path}/in/b\\c.png", "in/b/c"),
    ]
    said = [source.problem for source in actual[2:]]
    assert "Save it as UTF-8" in said[0]
    assert all("is not usable as an output name" in problem for problem in said[1:])
    assert len(said) == 4


@pytest.mark.parametrize(
    ("suffix", "told"),
    [("heic", "HEIC is skipped: pip install pillow-heif"), ("jp2", "JPEG 2000 is skipped: convert it")],
)
def test_pictures_that_are_not_read_are_named_with_the_remedy(tree, monkeypatch, suffix, told):
    monkeypatch.setitem(files._SKIPPED, ".heic", ("HEIC", "pip install pillow-heif, or convert it to JPEG"))
    monkeypatch.setattr("supercuts.batch.sources.IMAGES", (".jpg", ".png", ".tif"))
    for name in ("a", "in/e", ".b"):
        (tree / f"{name}.{suffix}").write_bytes(b"x")
    for find in (lambda: find_sources(str(tree)), lambda: find_sources(f"{tree}/**")):
        with pytest.warns(ImageWarning, match=rf"{suffix} and 1 more like it: {told}"):
            assert sorted(source.name for source in find()) == ["a", "b", "in/c", "in/deep/a"]
    (tree / f"in/e.{suffix}").unlink()
    (tree / f"a.{suffix}").rename(tree / f"z.{suffix.upper()}")
    with pytest.warns(ImageWarning, match=rf"photos/z\.{suffix.upper()}: {told}"):
        assert [path.name for path in find_images([tree])] == ["a.JPG", "b.png", "c.tif", "a.jpg"]


def test_pictures_of_this_package_are_left_out(tree):
    write_png(tree / "in" / "d.png", np.zeros((2, 3, 3), np.uint8))
    for argument in (str(tree), f"{tree}/**"):
        with pytest.warns(ImageWarning, match=r"in/d\.png is left out: written by SuperCuts"):
            assert sorted(source.name for source in find_sources(argument)) == ["a", "b", "in/c", "in/deep/a"]
    assert [source.name for source in find_sources(str(tree / "in" / "d.png"))] == ["d"]


def test_outputs_are_never_taken_for_images(tmp_path):
    mine, theirs = Source(str(tmp_path / "a.png"), "a"), Source(str(tmp_path / "out" / "a_part.png"), "out/a_part")
    web = Source("https://x.org/a.png", "b")
    assert leave_out_outputs([mine, theirs, web], tmp_path / "out") == [mine, web]
    assert leave_out_outputs([mine, theirs], tmp_path) == [mine, theirs]


@pytest.mark.parametrize("name", ["x" * 251, "é" * 125, "in/" + "x" * 251])
def test_names_leave_room_for_the_suffixes(name):
    short = fitting(name, [".npz", "_overview.png"])
    assert len(os.fsencode(PurePosixPath(short).name)) <= 255 - len("_overview.png")
    assert short[:60] == name[:60]
    assert fitting(short, ["_overview.png"]) == short
    assert fitting(name[:-1] + "y", ["_overview.png"]) != short


def test_two_sources_of_one_name_are_refused(tree):
    (tree / "A.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.JPG.* would both be written as .*Rename one, or write a list"):
        find_sources(str(tree))


@pytest.mark.parametrize("name", ["../x", "/x", "", "a//b", ".supercuts-batch/stage", "a/.b", "a\\b"])
def test_names_that_leave_the_destination_are_refused(name):
    with pytest.raises(InputError, match="Give another after a tab"):
        check_names([Source("x.png", name)])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "s3" not in fsspec.registry
    with pytest.raises(MissingDependencyError, match="needs a package: pip install s3fs"):
        find_sources("s3://bucket/photos/*.png")
    with pytest.raises(InputError, match=r"nowhere://x.*Give a path, or a URL of .*s3"):
        find_sources("nowhere://x")


@pytest.mark.parametrize("data", [None, b"", bytes(range(256))])
def test_tasks_and_results_survive_their_lines(data):
    task = Task(3, "ä\n.png", "in/a", "abc", data)
    assert Task.from_line(task.to_line()) == task
    assert "\n" not in task.to_line()
    result = Result(3, "failed", "abc", "f", {".npz": "out/a.npz"}, "OSError", "two\nlines \udcff", 0.5, ("a", "b"))
    assert Result.from_line(result.to_line()) == result
    assert "\n" not in result.to_line()


def test_every_setting_changes_the_fingerprint():
    changed = {
        "superpixels": 7, "merging": "spectral", "views": "many", "formats": ("svg",), "overlays": True,
        "mask": "m", "bands": (3, 2, 1), "axes": "CHW", "page": 2, "stretch": "none",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(Settings)} == {"model", *changed}
    prints = {Settings(**{name: value}).fingerprint("w", 1) for name, value in changed.items()}
    prints |= {Settings().fingerprint(*arguments) for arguments in (("w", 1), ("v", 1), ("w", 2))}
    assert len(prints) == len(changed) + 3
    # the weights count, not what their file is called
    assert Settings(model="a.safetensors").fingerprint("w", 1) == Settings(model="b.safetensors").fingerprint("w", 1)


def test_options_of_reading_that_are_not_given_leave_earlier_fingerprints():
    given = {"superpixels": 9, "merging": None, "views": None, "formats": ["svg"], "overlays": False}
    earlier = given | {"model": "w", "format_version": 1}
    expected = hashlib.sha256(json.dumps(earlier, sort_keys=True).encode()).hexdigest()
    assert Settings(superpixels=9, formats=("svg",)).fingerprint("w", 1) == expected
