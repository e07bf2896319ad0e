import json
import subprocess
import sys

import pytest

from supercuts.batch.local import worker_environment
from supercuts.batch.task import Result, Task
from supercuts.batch.worker import make_work


@pytest.fixture
def worker(stub, tmp_path):
    """Return a started worker that has its order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "supercuts.batch.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=worker_environment(1),
    )
    order = {"factory": stub, "arguments": {"settings": {}, "stage": str(tmp_path)}}
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.flush()
    yield process
    process.kill()
    process.communicate()


def test_answers_each_task_and_nothing_else(worker, make):
    folder = make(a="ok", b="bad")
    assert worker.stdout.readline() == b"ready\n"
    for number, name in enumerate("ab"):
        worker.stdin.write(Task(number, str(folder / f"{name}.png"), name).to_line().encode() + b"\n")
        worker.stdin.flush()
        assert Result.from_line(worker.stdout.readline()).number == number
    rest, stderr = worker.communicate()
    assert rest == b""
    assert stderr.count(b"a library prints") == 2


def test_ends_with_its_stdin_whatever_it_does(worker, make):
    assert worker.stdout.readline() == b"ready\n"
    task = Task(0, str(make(a="slow 60") / "a.png"), "a")
    worker.stdin.write(task.to_line().encode() + b"\n")
    worker.stdin.close()
    worker.stdin = None
    assert worker.wait(20) == 0


def test_make_work_calls_the_factory(stub):
    work = make_work({"factory": stub, "arguments": {"settings": {"superpixels": 7}, "stage": "s"}})
    assert (work.again, work.stage.name) == (7, "s")
