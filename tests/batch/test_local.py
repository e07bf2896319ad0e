import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from supercuts.batch import local
from supercuts.batch.local import make_work, physical_cores, run_local, worker_environment
from supercuts.batch.sources import Result, Task
from supercuts.core.errors import SuperCutsError


@pytest.fixture
def run(stub, make, tmp_path):
    """Return a function that does tasks whose files hold these texts; results by name."""

    def do(n_workers=2, threads=None, model="", **texts):
        folder = make(**texts)
        (tmp_path / "stage").mkdir(exist_ok=True)
        tasks = [Task(i, str(folder / f"{name}.png"), name) for i, name in enumerate(texts)]
        settings = {"settings": {"model": model}, "stage": str(tmp_path / "stage")}
        results = list(run_local(tasks, stub, settings, n_workers, threads))
        assert sorted(result.number for result in results) == list(range(len(tasks)))
        return {tasks[result.number].name: result for result in results}

    return do


def children():
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def test_workers_share_the_tasks_and_end(run, calls):
    results = run(a="ok", b="ok", c="bad", d="ok", e="ok")
    assert {name: result.status for name, result in results.items()} == {
        "a": "done", "b": "done", "c": "failed", "d": "done", "e": "done"
    }  # fmt: skip
    assert calls() == list("abcde")
    assert children() == []


def test_a_task_is_tried_again_once_when_its_worker_dies(run, calls):
    results = run(a="once", b="die", c="ok", d="exit")
    assert {name: result.status for name, result in results.items()} == {
        "a": "done", "b": "failed", "c": "done", "d": "failed"
    }  # fmt: skip
    assert calls() == ["a", "a", "b", "b", "c", "d", "d"]
    assert (results["b"].error, results["d"].error) == ("WorkerDied", "WorkerDied")
    assert results["b"].message.endswith("b.png: worker died, probably out of memory")
    assert "worker died (exit code 3)" in results["d"].message


def test_a_worker_that_cannot_start_ends_the_batch(run):
    with pytest.raises(SuperCutsError, match=r"no worker process can be started: .*no such network.*--workers 1"):
        run(model="broken", a="ok")
    assert children() == []


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 2, "4"), (4, 3, "1"), (2, 4, "1")])
def test_threads_of_all_workers_fit_the_cores(run, monkeypatch, cores, workers, threads):
    monkeypatch.setattr(local, "physical_cores", lambda: cores)
    actual = dict(eval(run(workers, a="ok")["a"].message))
    assert {actual[name] for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {threads}
    assert workers * int(threads) <= max(cores, workers)


def test_environment_keeps_existing_variables(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/first")
    environment = worker_environment(3)
    assert environment["PYTHONPATH"].startswith("/first" + os.pathsep)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert os.environ["PYTHONPATH"] == "/first"


def test_physical_cores():
    assert 1 <= physical_cores() <= os.cpu_count()


def test_closing_the_iterator_ends_workers_at_once(stub, make, tmp_path):
    folder = make(a="ok", b="slow 60", c="slow 60")
    (tmp_path / "stage").mkdir()
    tasks = [Task(i, str(folder / f"{name}.png"), name) for i, name in enumerate("abc")]
    results = run_local(tasks, stub, {"settings": {}, "stage": str(tmp_path / "stage")}, 2)
    assert next(results).status == "done"
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 10
    assert children() == []


@pytest.fixture
def worker(stub, tmp_path):
    """Return a started worker that has its task."""
    process = subprocess.Popen(
        [sys.executable, "-m", "supercuts.batch.local"],
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
