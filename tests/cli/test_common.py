import errno
import warnings
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from supercuts.cli import common
from supercuts.core.errors import (
    ConfigError,
    FileFormatError,
    ImageError,
    ImageWarning,
    InputError,
    MissingDependencyError,
    SuperCutsError,
)


def run_raising(error):
    app = typer.Typer()

    @app.command(cls=common.Command)
    def fail():
        raise error

    return CliRunner().invoke(app, [])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InputError, 2),
        (ConfigError, 2),
        (ImageError, 1),
        (FileFormatError, 1),
        (MissingDependencyError, 1),
        (SuperCutsError, 1),
    ],
)
def test_a_refusal_is_one_line_and_an_exit_code(kind, code):
    result = run_raising(kind("photo [1].jpg is " + "long " * 40 + "and damaged"))
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == "error: photo [1].jpg is " + "long " * 40 + "and damaged\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "an output cannot be written (No space left"),
        (OSError(errno.EACCES, "Permission denied", "/nowhere/a.png"), "/nowhere/a.png cannot be written (Permission"),
        (OSError(errno.ENOTDIR, "Not a directory", "/dev/null/a.png"), "/dev/null/a.png cannot be written (Not a dir"),
        (OSError(errno.ENOENT, "No such file or directory", "/no.npz"), "/no.npz cannot be read (No such file"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_exit_code_1(error, message):
    result = run_raising(error)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert "Give a " in result.stderr


def test_warnings_of_images_are_notes():
    app = typer.Typer()

    @app.command(cls=common.Command)
    def warn():
        for _ in range(2):
            warnings.warn("a.tif: holds pages", ImageWarning, stacklevel=1)

    result = CliRunner().invoke(app, [])
    assert result.stderr == "note: a.tif: holds pages\n" * 2


def test_every_problem_of_a_configuration_is_a_line():
    assert run_raising(ConfigError("one\ntwo")).stderr == "error: one\nerror: two\n"


def test_other_exceptions_propagate():
    result = run_raising(ZeroDivisionError("a bug"))
    assert isinstance(result.exception, ZeroDivisionError)
    assert "error:" not in result.stderr


def test_the_prefix_is_red_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    common.print_error("x")
    assert capsys.readouterr().err == "\x1b[1;31merror:\x1b[0m x\n"


def test_read_hierarchy_gives_what_was_saved(saved):
    assert common.read_hierarchy(saved).n_leaves == 4


def test_read_hierarchy_refuses_what_is_no_file(tmp_path):
    with pytest.raises(FileFormatError, match=r"is a folder\. Give an \.npz file written by `supercuts segment`"):
        common.read_hierarchy(tmp_path)


def test_check_suffix():
    common.check_suffix("--out", Path("a.PNG"), ".png")
    with pytest.raises(InputError, match=r"--out a\.jpg does not end in \.png\. Name it a\.png\."):
        common.check_suffix("--out", Path("a.jpg"), ".png")


@pytest.mark.parametrize("make", [common.progress, lambda: common.working("x")])
def test_progress_leaves_no_trace_where_there_is_no_terminal(capsys, make):
    with make():
        pass
    assert capsys.readouterr() == ("", "")
