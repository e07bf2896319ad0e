import subprocess
import sys
from pathlib import Path

import pytest

from supercuts.cli.train import check_fresh
from supercuts.core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(f"out: {tmp_path / 'run'}\nmax_steps: 1\n")
    return path


def test_an_unknown_key_is_a_usage_error(run, config):
    result = run("train", config, "max_step=3")
    assert result.exit_code == 2
    assert result.stderr == "error: override max_step=3: unknown key 'max_step'; did you mean 'max_steps'?\n"


def test_every_problem_is_a_line(run, config):
    result = run("train", config, "max_steps=0", "data.workers=x")
    assert result.exit_code == 2
    assert sorted(line.split("=")[0] for line in result.stderr.splitlines()) == [
        "error: override data.workers",
        "error: override max_steps",
    ]


def test_a_missing_config_names_those_there(run, config):
    result = run("train", config.with_name("long.yaml"))
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {config.with_name('long.yaml')}: no such file; {config.parent} holds {config}. "
        "Give one as the first argument: CONFIG.yaml [key=value ...]\n"
    )


def test_no_resume_refuses_a_run_that_has_begun(run, config, tmp_path):
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"hours of work")
    result = run("train", config, "--no-resume")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: --no-resume: {checkpoint.parent} already holds last.ckpt. Give out=")
    assert checkpoint.read_bytes() == b"hours of work"


def test_check_fresh(tmp_path):
    check_fresh(tmp_path / "not there yet")
    (tmp_path / "checkpoints").mkdir()
    check_fresh(tmp_path)
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(InputError, match="leave out --no-resume to go on with this one"):
        check_fresh(tmp_path)


def test_a_missing_trainer_names_the_extra(run, config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "lightning" else True)
    result = run("train", config)
    assert result.exit_code == 1
    assert result.stderr == ('error: lightning not installed, needed for this: pip install "supercuts[train]"\n')


def run_script(*arguments):
    script = ROOT / "train_ssn_dino.py"
    return subprocess.run([sys.executable, script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_script_takes_another_config(config):
    done = run_script(str(config.with_name("long.yaml")), "max_steps=3")
    assert done.returncode == 2
    assert f"{config.parent} holds {config}. Give one as the first argument" in done.stderr


def test_script_has_a_default_config():
    done = run_script("no_such_key=1")
    assert done.returncode == 2
    default = str(ROOT / "configs" / "ssn_dino_bsds500.yaml")
    is_there = Path(default).is_file()
    assert ("unknown key 'no_such_key'" if is_there else f"error: {default}: no such file; ") in done.stderr
