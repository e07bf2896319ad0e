import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import supercuts
from supercuts.cli import doctor

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ["supercuts", "python", "processor", "kernels", "weights", "engines", "packages", "extras", "environment"]


@pytest.fixture
def light(monkeypatch):
    """Replace loading torch, which takes seconds."""
    monkeypatch.setattr(doctor, "_ENGINES", {"torch": "facts = {'threads': 3, 'gpus': []}"})


def test_a_whole_installation_has_no_problems(run):
    result = run("doctor", "--json")
    facts = result.json()
    assert (result.exit_code, facts["problems"]) == (0, [])
    assert list(facts) == [*SECTIONS, "problems"]
    assert facts["supercuts"]["version"] == supercuts.__version__
    assert facts["engines"]["torch"]["loads"]
    assert facts["engines"]["torch"]["number_type"] in ("float32", "bfloat16")
    assert facts["weights"]["compact"] == {"tensors": 384, "onnx": True}
    assert facts["processor"]["threads"] >= 1


def test_lines_name_every_section(run, light, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("HOME_PAGE", "private")
    result = run("doctor")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == SECTIONS
    assert lines[-1] == "no problems found"
    assert "OMP_NUM_THREADS 7" in lines[-2]
    assert "private" not in result.stdout
    assert re.search(r"engines +torch \(version \S+, loads yes, threads 3, gpus none\)", result.stdout)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('libgomp.so.1: no such file')", "ImportError: libgomp.so.1: no such file"),
        pytest.param(
            "import os; os.abort()",
            "exit code -6",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows gives another code"),
        ),
        ("import time; time.sleep(60)", "loading took longer than 0.1 s"),
    ],
)
def test_an_engine_that_does_not_load_is_a_problem(run, monkeypatch, code, reason):
    monkeypatch.setattr(doctor, "_ENGINES", {"torch": code})
    monkeypatch.setattr(doctor, "_SECONDS", 0.1 if "sleep" in code else 60)
    result = run("doctor", "--json")
    assert result.exit_code == 1
    assert result.json()["engines"] == {"torch": {"loads": False}}
    assert result.json()["problems"] == [f"torch does not load ({reason}): pip install --force-reinstall torch"]


def test_weights_that_cannot_be_read_are_a_problem(run, light, monkeypatch, tmp_path):
    monkeypatch.setattr("supercuts.networks.network.weights_path", lambda name: tmp_path / name)
    result = run("doctor", "--json")
    assert result.exit_code == 1
    (problem,) = result.json()["problems"]
    assert problem.startswith("the weights of compact cannot be read (")


def test_missing_and_old_packages_are_problems_unless_optional(monkeypatch):
    bounds = ["numpy>=2.1", "torch>=2.6", "numba>=3.0", "zarr>=3.0; extra == 'export'", "ruff; extra == 'dev'"]
    installed = {"numpy": "2.0.9", "numba": "3", "torch": None, "zarr": None}

    def version(name):
        if installed.get(name) is None:
            raise doctor.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "requires", lambda _: bounds)
    monkeypatch.setattr(doctor, "version", version)
    problems = []
    packages, extras = doctor._packages(problems)
    assert packages == {"numpy": "2.0.9", "torch": None, "numba": "3"}
    assert extras == {"export": {"zarr": None}}
    assert problems == ["numpy is 2.0.9: pip install 'numpy>=2.1'", "torch is missing: pip install 'torch>=2.6'"]


def test_kernels_are_loaded_once_they_are_stored(tmp_path):
    code = (
        "import sys; from supercuts.cli.doctor import _kernels; facts = _kernels([])\n"
        "print(facts['source'], facts['files'][sys.argv[1]])"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    printed = [subprocess.check_output(command, cwd=ROOT, env=environment, text=True).strip() for _ in range(2)]
    assert printed == ["compiled now 1", "stored 1"]
