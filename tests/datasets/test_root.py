from pathlib import Path

import pytest

from supercuts.datasets.root import data_root


def test_an_explicit_folder_wins_over_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SUPERCUTS_DATA", "/elsewhere")
    assert data_root(tmp_path) == tmp_path
    assert data_root("some/folder") == Path("some/folder")


def test_the_environment_wins_over_the_default(monkeypatch):
    monkeypatch.setenv("SUPERCUTS_DATA", "/elsewhere")
    assert data_root() == Path("/elsewhere")


@pytest.mark.parametrize("value", [None, ""])
def test_without_both_it_is_data_below_the_working_folder(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("SUPERCUTS_DATA", raising=False)
    else:
        monkeypatch.setenv("SUPERCUTS_DATA", value)
    assert data_root() == Path("data")
