import subprocess
import sys
from pathlib import Path

import pytest

from supercuts.core.version import package_version

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "segment",
    "batch",
    "cut",
    "export",
    "view",
    "objects",
    "parts",
    "refine",
    "train",
    "calibrate",
    "onnx",
    "warmup",
    "evaluate",
)
OF_GROUPS = (
    *(f"refine {name}" for name in ("fit", "train", "apply")),
    *(f"evaluate {name}" for name in ("superpixels", "hierarchy", "objects", "parts")),
)
HEAVY = ("torch", "numba", "skimage", "scipy", "numpy", "timm", "lightning")


def run_process(*arguments):
    # cwd: a checkout that is not installed works too
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_lists_the_commands(run):
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, *OF_GROUPS])
def test_every_command_shows_an_example(run, command):
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: supercuts {command} " in result.stdout


def test_version(run):
    assert run("--version").stdout == f"supercuts {package_version()}\n"


def test_unknown_command_is_a_usage_error(run):
    result = run("segmnt")
    assert result.exit_code == 2
    assert "segmnt" in result.stderr
    assert result.stdout == ""


def test_help_imports_nothing_heavy():
    code = f"import sys, supercuts.cli.main; print(sorted({set(HEAVY)} & set(sys.modules)))"
    done = run_process("-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_runs_as_a_module_and_a_refusal_has_no_traceback(tmp_path):
    done = run_process("-m", "supercuts", "cut", str(tmp_path / "no.npz"), "--regions", "2", "-o", "labels.png")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {tmp_path / 'no.npz'}: no such file. Give an .npz file written by `supercuts segment` or "
        "Hierarchy.save.\n"
    )


def test_says_how_long_it_took(run):
    result = run("warmup")
    assert result.exit_code == 0
    assert result.stdout.startswith("ready after ")


def test_commands_keep_freed_memory(run, monkeypatch):
    calls = []
    monkeypatch.setattr("supercuts.cli.main.keep_freed_memory", lambda: calls.append(True))
    run("--version")
    assert calls == []
    run("cut", "nowhere.npz", "--regions", "2", "-o", "labels.png")
    assert calls == [True]
