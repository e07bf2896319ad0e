"""The example in the help of every command runs as pasted, in a folder that `supercuts examples` has filled.

`python tests/test_help_examples.py` runs them in processes, where nothing but the installed package is at hand.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from supercuts.cli.main import app


def help_examples(command=None, names=()) -> Iterator[tuple[str, str]]:
    """Yield the names of each command in the order of the help, with its example."""
    command = command or get_command(app)
    example = re.search(r"Example: (supercuts .+)", (command.epilog or "").split("\n")[0])
    assert example, f"{names} has no example"
    yield " ".join(names), example[1]
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        if not (below := command.get_command(None, name)).hidden:
            yield from help_examples(below, (*names, name))


def in_order() -> list[tuple[str, str]]:
    """Return the examples, with the one that copies the files first."""
    return sorted(help_examples(), key=lambda named: named[0] != "examples")


@pytest.mark.timeout(900)
def test_every_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUPERCUTS_DATA", raising=False)
    monkeypatch.setattr("supercuts.export.html_viewer.open_in_browser", lambda page: None)
    for names, example in in_order():
        if names == "warmup":  # it compiles what these tests have compiled, and has a test
            continue
        for part in re.sub(r" > \S+$", "", example).split(" && "):
            program, *arguments = part.split()
            assert program == "supercuts"
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, (names, part, result.output, result.exception)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"out/photo.npz", "labels.png", "runs/first/model.safetensors", "applied/cup.npz", "cars.json"} <= written


def main() -> None:
    """Run the examples with the installed command."""
    folder = Path(tempfile.mkdtemp(prefix="supercuts-examples-"))
    environment = {**os.environ, "BROWSER": "true"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    for _, example in in_order():
        sys.stdout.write(f"{example}\n")
        subprocess.run(example, shell=True, cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    main()
