import errno
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.batch.journal import Journal, Record

RECORD = Record("in/a", "/photos/in/ä.png", "c0ffee", "5e77", {"in/a.npz": 12}, "0.1.0")


def test_the_last_that_was_said_of_a_name_holds(tmp_path):
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
    found = Journal(path)
    assert [found.records.get(record.name) for record in records[:kept]] == records[:kept]
    found.add(replace(RECORD, name="d"))
    assert Journal(path).records == found.records
    assert "d" in found.records


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
