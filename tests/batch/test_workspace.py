import errno
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.batch.sources import DONE, Result
from supercuts.batch.workspace import FOLDER, Journal, Record, open_workspace
from supercuts.core.errors import InputError


def staged(workspace, content="c", **files):
    """Return a result whose files lie in the stage; a dict is a folder."""
    folder = workspace.stage / f"0-{len(list(workspace.stage.iterdir()))}"
    folder.mkdir()
    for name, text in files.items():
        if isinstance(text, dict):
            (folder / name).mkdir()
            for inner, value in text.items():
                (folder / name / inner).write_text(value)
        else:
            (folder / name).write_text(text)
    suffix = {"h": ".npz", "v": ".html", "m": "_masks"}
    return Result(0, DONE, content, folder.name, {suffix[name]: name for name in files})


def texts(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and FOLDER not in path.parts
    }


def test_commit_puts_files_in_place_and_records_them(tmp_path):
    with open_workspace(tmp_path) as workspace:
        workspace.commit("in/a", "a.png", "s", staged(workspace, m={"1.png": "one"}, h="tree"))
        assert texts(tmp_path) == {"in/a.npz": "tree", "in/a_masks/1.png": "one"}
        assert workspace.known("in/a", "s") == "c"
        assert workspace.known("in/a", "other") is None
        assert workspace.known("b", "s") is None
    with open_workspace(tmp_path) as workspace:
        assert workspace.known("in/a", "s") == "c"


@pytest.mark.parametrize("harm", ["missing", "shorter", "not a folder"])
def test_incomplete_outputs_are_not_reused(tmp_path, harm):
    with open_workspace(tmp_path) as workspace:
        workspace.commit("a", "a.png", "s", staged(workspace, m={"1.png": "one"}, h="tree"))
        if harm == "missing":
            (tmp_path / "a.npz").unlink()
        elif harm == "shorter":
            (tmp_path / "a.npz").write_text("tre")
        else:
            (tmp_path / "a_masks").rename(tmp_path / "moved")
        assert workspace.known("a", "s") is None


def test_a_new_commit_replaces_all_of_the_old_one(tmp_path):
    with open_workspace(tmp_path) as workspace:
        workspace.commit("a", "a.png", "s", staged(workspace, m={"1.png": "one", "2.png": "two"}, v="page", h="tree"))
        (tmp_path / "a.txt").write_text("not ours")
        workspace.commit("a", "a.png", "t", staged(workspace, "d", m={"1.png": "new"}, h="other"))
        assert texts(tmp_path) == {"a.npz": "other", "a_masks/1.png": "new", "a.txt": "not ours"}
        assert (workspace.known("a", "s"), workspace.known("a", "t")) == (None, "d")


def test_a_file_of_old_settings_that_somebody_changed_stays(tmp_path):
    with open_workspace(tmp_path) as workspace:
        workspace.commit("a", "a.png", "s", staged(workspace, v="page", h="tree"))
        (tmp_path / "a.html").write_text("edited page")
        workspace.commit("a", "a.png", "t", staged(workspace, h="other"))
        assert texts(tmp_path) == {"a.npz": "other", "a.html": "edited page"}


def test_a_commit_that_breaks_off_is_not_known(tmp_path):
    with open_workspace(tmp_path) as workspace:
        workspace.commit("a", "a.png", "s", staged(workspace, v="page", h="tree"))
        result = staged(workspace, v="page", h="tree")
        (workspace.stage / result.folder / "h").unlink()  # the page is put in place before the hierarchy is missed
        with pytest.raises(OSError, match="the worker's file is missing"):
            workspace.commit("a", "a.png", "s", result)
        assert workspace.known("a", "s") is None
    with open_workspace(tmp_path) as workspace:
        assert workspace.known("a", "s") is None


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / FOLDER / "stage" / "1-ab").mkdir(parents=True)
    (tmp_path / FOLDER / "stage" / "1-ab" / "x.npz").write_text("half")
    (tmp_path / ".a.npz").write_text("not ours")
    with open_workspace(tmp_path) as workspace:
        assert list(workspace.stage.iterdir()) == []
        (workspace.stage / "2-cd").mkdir()
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["lock"]
    assert (tmp_path / ".a.npz").exists()


def test_one_batch_at_a_time(tmp_path):
    with (
        open_workspace(tmp_path),
        pytest.raises(InputError, match=r"another batch is writing to it\. Wait"),
        open_workspace(tmp_path),
    ):
        pass
    with open_workspace(tmp_path):
        pass


def test_a_destination_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match=r"x cannot be written to .*Give a writable"), open_workspace(tmp_path / "x"):
        pass


RECORD = Record("in/a", "/photos/in/ä.png", "c0ffee", "5e77", {"in/a.npz": 12}, "0.1.0")


def test_the_last_record_of_a_name_counts(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    assert journal.records == {}
    other = replace(RECORD, name="b")
    for record in (RECORD, other, replace(RECORD, content="beef")):
        journal.add(record)
    journal.forget("b")
    assert journal.records == Journal(path).records == {"in/a": replace(RECORD, content="beef")}


@given(cut=st.integers(0, 400), more=st.binary(max_size=20))
def test_a_line_cut_short_loses_itself_only(tmp_path_factory, cut, more):
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    records = [replace(RECORD, name=name) for name in "abc"]
    journal = Journal(path)
    for record in records:
        journal.add(record)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + (more if cut < len(whole) else b""))
    kept = sum(end < cut for end in [i for i, byte in enumerate(whole) if byte == 10])
    actual = Journal(path)
    assert [actual.records.get(record.name) for record in records[:kept]] == records[:kept]
    actual.add(replace(RECORD, name="d"))
    assert Journal(path).records == actual.records
    assert "d" in actual.records


def test_lines_of_other_versions_and_damage_are_passed_over(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"v": 99, "done": {}}\n[]\n\xff\xfe\n{"v": 1, "done": {"name": "x"}}\n{"v": 1}\n\n3\n')
    assert Journal(path).records == {}


def test_a_write_that_is_cut_short_is_an_error(tmp_path, monkeypatch):
    class Short:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def seek(self, *arguments):
            return self.file.seek(*arguments)

        def write(self, line):
            return self.file.write(line[: len(line) // 2])

    journal = Journal(tmp_path / "journal.jsonl")
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda *a, **k: Short(opened(*a, **k)))
    with pytest.raises(OSError, match="No space left") as caught:
        journal.add(RECORD)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert journal.records == Journal(journal.path).records == {}
    journal.add(RECORD)
    assert Journal(journal.path).records == {RECORD.name: RECORD}
