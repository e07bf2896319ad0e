"""A training killed at any moment resumes with the same result: 3 kills, or 50 with SUPERCUTS_FUZZ=long."""

import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from supercuts.core.config import load_config, save_resolved
from supercuts.images.io import read_image
from supercuts.networks.files import load_network
from supercuts.training.training_config import TrainConfig, ValidationConfig

ROOT = Path(__file__).parents[2]
KILLS = 50 if os.environ.get("SUPERCUTS_FUZZ") == "long" else 3
STEPS = 3


class Server:
    """Runs trainings one after the other, each in a process of its own."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "fuzz" / "trainer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, settings: Path, kill_after: float | None = None) -> tuple[int, float]:
        """Return the status of a run, negative if it was killed, and its seconds."""
        self.process.stdin.write(f"{settings}\n")
        self.process.stdin.flush()
        child, started = int(self.process.stdout.readline()), time.monotonic()
        if kill_after is not None:
            killer = threading.Timer(kill_after, _kill, [child])
            killer.start()
        status = int(self.process.stdout.readline().split()[1])
        if kill_after is not None:
            killer.cancel()
            killer.join()
        return os.waitstatus_to_exitcode(status), time.monotonic() - started

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def _kill(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(child, signal.SIGKILL)


def check_files(out: Path) -> int:
    """Read all that a killed run left under final names; return the steps that its checkpoint holds."""
    steps = 0
    for path in out.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".ckpt":
            steps = max(steps, torch.load(path, map_location="cpu", weights_only=True)["global_step"])
        elif path.name == "config.yaml":
            load_config(path, TrainConfig)
        elif path.suffix == ".png":
            assert min(read_image(path).shape[:2]) >= 64  # the picture has captions
        elif path.name == "validation.csv":
            rows = list(csv.DictReader(path.read_text().splitlines()))
            assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
        elif path.suffix == ".safetensors":
            load_network(path)
    return steps


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_network(out / "model.safetensors")[0].state_dict()


@pytest.mark.timeout(300 if KILLS == 3 else 3600)
def test_a_run_that_is_killed_again_and_again_ends_as_one_in_one_go(training_root, tmp_path, make_train_config):
    def settings(name: str) -> Path:
        config = make_train_config(training_root, tmp_path / name, max_steps=STEPS, checkpoint_steps=1)
        save_resolved(config, tmp_path / f"{name}.yaml")
        return tmp_path / f"{name}.yaml"

    moments, killed, rounds, at = random.Random(0), 0, 0, []
    server = Server()
    try:
        status, seconds = server.run(settings("whole"))
        assert status == 0
        while killed < KILLS:
            out, before = tmp_path / f"cut{rounds}", 0
            path = settings(out.name)
            rounds += 1
            status = None
            while status != 0:
                moment = moments.uniform(0, seconds) if killed < KILLS else None
                status, took = server.run(path, moment)
                assert status in (0, -signal.SIGKILL)
                if status == 0:
                    seconds = min(seconds, took)  # the first run imports what the others have
                else:
                    killed += 1
                    done = check_files(out)
                    assert done >= before, "a checkpoint was lost"
                    if done == before:  # on a busy machine, kills before the first step would test little
                        seconds *= 1.1
                    before = done
                    at.append(done)
            assert (out / "validation.csv").read_text() == (tmp_path / "whole" / "validation.csv").read_text()
            actual, expected = weights(out), weights(tmp_path / "whole")
            for name, value in expected.items():
                torch.testing.assert_close(actual[name], value, rtol=0, atol=1e-6, msg=name)
            assert not [file for file in out.rglob(".*") if file.is_file()], "leftovers"
    finally:
        server.close()
    sys.stdout.write(f"{killed} kills in {rounds} runs of {STEPS} steps, at steps {at}; nothing lost\n")


# each command runs in a fork, which saves importing everything again
STOPPED = """
import os, signal, sys, time
from pathlib import Path
import torch
import supercuts.training.ssn
from supercuts.cli.main import app

settings, out = sys.argv[1], Path(sys.argv[2])
last = out / "checkpoints" / "last.ckpt"
torch.set_num_threads(1)
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    before = last.stat().st_mtime_ns if last.exists() else 0
    child = os.fork()
    if not child:
        with open(out.with_name(name), "wb") as err:
            os.dup2(err.fileno(), 1)
            os.dup2(err.fileno(), 2)
        app(["train", settings])
    while not (last.exists() and last.stat().st_mtime_ns != before) and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    start = time.monotonic()
    os.kill(child, getattr(signal, name))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(name, code - getattr(signal, name), time.monotonic() - start, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals on this system")
@pytest.mark.timeout(600)
def test_a_signal_ends_the_command_in_time_and_it_resumes(training_root, tmp_path, make_train_config):
    out, steps = tmp_path / "run", 0
    config = make_train_config(
        training_root, out, max_steps=100_000, checkpoint_steps=1, validation=ValidationConfig(every_steps=100_000)
    )
    save_resolved(
        config.model_copy(update={"data": config.data.model_copy(update={"workers": 1})}), tmp_path / "a.yaml"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "a.yaml"), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            ended, code, seconds = process.stdout.readline().split()
            assert (ended, int(code)) == (name, 128), (tmp_path / name).read_text()
            assert float(seconds) < 4  # two seconds, on a machine that does nothing else
            note = f"note: stopped by {name}; run the same command to resume from the last checkpoint\n"
            assert note in (tmp_path / name).read_text()
            assert not [file for file in out.rglob(".*") if file.is_file()], "leftovers"
            before, steps = steps, check_files(out)
            assert steps > before, "did not resume"
