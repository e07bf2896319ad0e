import importlib
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    """Return the script as a module: scripts find each other by their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("speed")


def test_sizes_are_sides_or_megapixels(script):
    assert script.rows_and_columns("321x481", 1.5) == (321, 481)
    assert script.rows_and_columns("321x481", 0.7) == (481, 321)
    rows, columns = script.rows_and_columns("2", 1.5)
    assert abs(rows * columns / 2e6 - 1) < 0.01
    assert abs(columns / rows / 1.5 - 1) < 0.01


def test_every_program_is_timed_in_one_run(tmp_path):
    out = tmp_path / "speed.json"
    command = [sys.executable, FOLDER / "speed.py", "--sizes", "48x64", "--runs", "1", "--superpixels", "20"]
    environment = {**os.environ, "PYTHONSAFEPATH": ""}  # scripts import others of their folder
    done = subprocess.run([*command, "--json", out], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())["results"]["48x64"]
    assert {name: result.get("failed") for name, result in results.items() if "failed" in result} == {}
    assert len(results) == 9
    ours = results["SuperCuts"]
    stages = {stage: seconds for stage, seconds in ours["seconds"].items() if stage != "total"}
    assert sum(stages.values()) == pytest.approx(ours["seconds"]["total"])
    assert all(seconds > 0 for seconds in stages.values())
    assert ours["pixels"] == 48 * 64
    assert "| all but the network, % |" in done.stdout


def test_runs_that_take_too_long_are_stopped(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["speed.py", "--sizes", "48x64", "--timeout", "0.01"])
    arguments = script.parse()
    assert script.in_a_process("OpenCV LSC", "48x64", arguments) == {"failed": "over 0 s"}


def test_time_that_the_host_took_is_a_share_of_all(script):
    linux = namedtuple("scputimes", "user idle steal")
    assert script.stolen(linux(1.0, 2.0, 0.5), linux(2.0, 4.0, 1.5)) == pytest.approx(0.25)
    assert script.stolen(linux(1.0, 2.0, 0.5), linux(1.0, 2.0, 0.5)) == 0
    elsewhere = namedtuple("scputimes", "user idle")
    assert script.stolen(elsewhere(1.0, 2.0), elsewhere(2.0, 4.0)) is None
