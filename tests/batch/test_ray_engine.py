"""A real Ray cluster of this machine with two workers."""

import os
import signal
from importlib.util import find_spec

import numpy as np
import psutil
import pytest

import supercuts
from supercuts.batch.ray_engine import run_ray
from supercuts.batch.run import Engine, run_batch
from supercuts.batch.sources import Settings, find_sources
from supercuts.core.errors import MissingDependencyError, SuperCutsError

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="needs ray, whose import takes seconds"),
    # Ray warns of its own future, and leaves files to the garbage collector
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def cluster(stub, tmp_path):
    """Return a cluster of two CPUs whose workers can import the stub."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def test_a_cluster_survives_the_death_of_a_worker(cluster, stub, make, tmp_path, calls):
    texts = {f"n{i}": f"slow 0.4 {i}" for i in range(8)}
    folder = make(**texts, bad="bad", fatal="die")
    killed = []

    def kill(*_):
        pids = {int(line.split()[1]) for line in (tmp_path / "calls.txt").read_text().splitlines()}
        if not killed:
            alive = [pid for pid in pids if psutil.pid_exists(pid)]
            killed.append(alive[0])
            os.kill(alive[0], signal.SIGKILL)

    engine = Engine("ray", workers=2, factory=stub)
    out = tmp_path / "out"
    report = run_batch(find_sources(str(folder)), out, Settings(), engine, on_result=kill)
    assert len(killed) == 1
    assert sorted(report.done) == sorted(texts)
    assert {failure.name: failure.error for failure in report.failures} == {"bad": "ImageError", "fatal": "WorkerDied"}
    assert calls().count("fatal") == 2, "a task whose worker dies is tried again once"
    for name, text in texts.items():
        assert (out / f"{name}.npz").read_text() == f"{text}None"
    again = run_batch(find_sources(str(folder)), out, Settings(), Engine("local", workers=2, factory=stub))
    assert (again.done, sorted(again.unchanged)) == ([], sorted(texts)), "both engines keep one journal"
    assert sorted(path.name for path in (out / ".supercuts-batch").iterdir()) == ["journal.jsonl", "lock"]

    for path in folder.iterdir():
        path.unlink()
    make(one="now", two="after first")
    engine = Engine("ray", workers=1, factory=stub)
    first = folder / "first"
    report = run_batch(
        find_sources(str(folder)), tmp_path / "two", Settings(), engine, on_result=lambda *_: first.touch()
    )
    assert report.done == ["one", "two"], "a result is reported while the next task runs"


def test_a_model_works_in_actors_after_loading_and_after_segmenting(cluster):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    model = supercuts.load()

    @cluster.remote(num_cpus=1)
    class Segmenter:
        def labels(self, model):
            return model.segment(image, superpixels=12).labels

    actor = Segmenter.remote()
    loaded = actor.labels.remote(model)
    expected = model.segment(image, superpixels=12).labels
    used = actor.labels.remote(model)
    for labels in cluster.get([loaded, used], timeout=240):
        np.testing.assert_array_equal(labels, expected)


def test_without_ray_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'ray not installed.*"supercuts\[distributed\]"'):
        next(run_ray([], "", {}))


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_an_existing_cluster_is_used_else_a_local_one_starts_or_an_error_says_why(monkeypatch, address):
    asked = []

    def init(address, **options):
        asked.append((address, "num_cpus" in options))  # Ray refuses num_cpus for a cluster that exists
        if address == "auto":
            raise ConnectionError("no cluster there.")
        raise Exception("The current node timed out during startup.")  # the class that Ray raises

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(SuperCutsError, match=r"^Ray did not start: (The current node|no cluster) .* --engine local"):
        next(run_ray([], "", {}))
    assert asked == [("auto", False), ("local", True)][: 1 if address else 2]
