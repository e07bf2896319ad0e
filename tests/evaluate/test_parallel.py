import dataclasses
import functools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from supercuts.core.errors import InputError, SuperCutsError
from supercuts.datasets.sample import Sample
from supercuts.evaluate.hierarchies import HierarchyScores, score_contour_map, score_soft_map
from supercuts.evaluate.parallel import (
    ScoringTask,
    Store,
    bootstrap_95,
    check_truths,
    clear,
    from_plain,
    naming,
    pair,
    run,
    to_plain,
)
from supercuts.evaluate.superpixels import SuperpixelScores, score_superpixels

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, eq=False)
class Size:
    n_bytes: int
    process: int
    rows: np.ndarray


def no_truths(_path):
    return []


def size(sample, fail=()):
    if sample.name in fail:
        raise InputError(f"{sample.name} is bad: mend it.")
    if sample.name == "bug":
        raise ZeroDivisionError("oops")
    return Size(len(sample.image_path.read_bytes()), os.getpid(), np.arange(2))


def make_samples(folder, *names):
    for name in names:
        (folder / f"{name}.bin").write_bytes(name.encode())
    return [Sample(name, folder / f"{name}.bin", folder / f"{name}.bin", no_truths) for name in names]


def make_tasks(samples, **keywords):
    score = functools.partial(size, **keywords) if keywords else size
    return [ScoringTask("method/a", sample, score) for sample in samples]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_failures_do_not_stop_the_others(tmp_path, n_workers, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)  # workers import `size` by its module's name, from where this process would
    samples = make_samples(tmp_path, "one", "second", "bug", "third")
    outcomes = {o.task.sample.name: o for o in run(make_tasks(samples, fail=("second",)), n_workers)}
    assert outcomes["one"].score.n_bytes == 3
    assert outcomes["third"].score.n_bytes == 5
    assert outcomes["second"].error == "second is bad: mend it."
    assert outcomes["bug"].error == "ZeroDivisionError: oops"
    assert (outcomes["one"].score.process == os.getpid()) == (n_workers == 1)


@dataclass(frozen=True)
class Counting:
    seen: list[str] = field(repr=False)  # a task is stored as its repr

    def __call__(self, sample):
        self.seen.append(sample.name)
        return size(sample)


def test_an_interrupted_run_resumes(tmp_path):
    count = Counting([])
    tasks = [ScoringTask("a", sample, count) for sample in make_samples(tmp_path, "one", "second", "third")]
    store = Store(tmp_path / "parts", Size)
    running = run(tasks, 1, store)
    next(running)
    next(running)
    running.close()
    assert count.seen == ["one", "second"]
    outcomes = list(run(tasks, 1, store))
    assert count.seen == ["one", "second", "third"]
    assert [outcome.score.n_bytes for outcome in outcomes] == [3, 6, 5]


def vanish(sample):
    if sample.name == "second":
        os._exit(9)
    return size(sample)


def test_a_killed_worker_ends_the_run_with_a_remedy(tmp_path):
    tasks = [ScoringTask("a", sample, vanish) for sample in make_samples(tmp_path, "one", "second", "third")]
    with pytest.raises(SuperCutsError, match=r"memory ran out with 2 workers\. Run the command again with fewer"):
        list(run(tasks, 2))


WAITING = """
import time
from pathlib import Path
from supercuts.datasets.sample import Sample
from supercuts.evaluate.parallel import ScoringTask, run

def wait(sample):
    Path(sample.name).touch()
    time.sleep(1)

if __name__ == "__main__":
    path = Path(__file__)
    samples = [Sample(f"{path.parent}/{i}.begun", path, path, None) for i in range(1000)]
    list(run([ScoringTask("a", sample, wait) for sample in samples], 2))
"""


def test_no_worker_outlives_a_killed_run(tmp_path):
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    process = psutil.Popen([sys.executable, script])
    while len(list(tmp_path.glob("*.begun"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    workers = process.children()
    process.kill()
    process.wait()
    assert len(workers) >= 2
    assert psutil.wait_procs(workers, 30)[1] == []


COUNTING = """
from pathlib import Path
import torch
from supercuts.datasets.sample import Sample
from supercuts.evaluate.parallel import ScoringTask, run

def threads(sample):
    return torch.get_num_threads()

if __name__ == "__main__":
    path = Path(__file__)
    samples = [Sample(name, path, path, None) for name in "ab"]
    print([outcome.score for outcome in run([ScoringTask("a", sample, threads) for sample in samples], 2)])
"""


def test_a_worker_has_one_thread_even_if_the_script_imports_torch(tmp_path):
    script = tmp_path / "counting.py"
    script.write_text(COUNTING)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[1, 1]", done.stderr


def test_stored_scores_are_used_only_while_everything_is_equal(tmp_path):
    (task,) = make_tasks(make_samples(tmp_path, "one"))
    store = Store(tmp_path / "parts", Size)
    (outcome,) = run([task], 1, store)
    stored = store.read(task)
    assert stored.n_bytes == outcome.score.n_bytes
    np.testing.assert_array_equal(stored.rows, [0, 1])
    (other,) = make_tasks([task.sample], fail=("two",))  # other settings
    assert store.read(other) is None
    task.sample.image_path.write_bytes(b"longer")
    assert store.read(task) is None
    (again,) = run([task], 1, store)
    assert again.score.n_bytes == 6


def test_a_damaged_store_is_scored_again(tmp_path):
    (task,) = make_tasks(make_samples(tmp_path, "one"))
    store = Store(tmp_path / "parts", Size)
    list(run([task], 1, store))
    (path,) = (tmp_path / "parts").glob("*/*.json")
    for damage in ("", "{", "[]", "{}"):
        path.write_text(damage)
        assert store.read(task) is None


def test_clear_removes_only_stored_scores(tmp_path):
    folder = tmp_path / "parts"
    list(run(make_tasks(make_samples(tmp_path, "one")), 1, Store(folder, Size)))
    (folder / "mine.txt").write_text("keep")
    clear(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    (folder / "mine.txt").unlink()
    clear(folder)
    assert not folder.exists()
    clear(Path(folder))


def test_names_with_slashes_are_stored_and_cleared(tmp_path):
    folder = tmp_path / "parts"
    store = Store(folder, Size)
    [sample] = make_samples(tmp_path, "a")
    nested = Sample("001.Finch/a.b", sample.image_path, sample.truth_path, no_truths)
    [outcome] = run([ScoringTask("m", nested, size)], 1, store)
    assert store.read(ScoringTask("m", nested, size)).n_bytes == outcome.score.n_bytes
    clear(folder)
    assert not folder.exists()


def test_an_annotation_file_of_all_images_is_read_once_and_again_when_it_changes(tmp_path):
    [sample] = make_samples(tmp_path, "a")
    store, task = Store(tmp_path / "parts", Size), ScoringTask("m", sample, size)
    list(run([task], 1, store))
    assert store.read(task) is not None
    sample.truth_path.write_bytes(b"other")
    assert store.read(task) is None


def same(a, b):
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a)
        )
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return a == b or (a != a and b != b)


def contours():
    ucm = np.zeros((9, 9))
    ucm[:, 4] = 0.7
    return ucm


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (SuperpixelScores, lambda truth: score_superpixels(truth, [truth, truth])),
        (HierarchyScores, lambda truth: score_contour_map(contours(), [truth])),
        (HierarchyScores, lambda truth: score_soft_map(np.linspace(0, 1, 16).reshape(4, 4), [truth])),
    ],
)
def test_scores_survive_json(kind, make, halves):
    scores = make(halves)
    again = from_plain(kind, json.loads(json.dumps(to_plain(scores))))
    assert same(scores, again)


def test_numpy_numbers_become_plain():
    assert json.dumps(to_plain(np.float64(0.1))) == "0.1"


@dataclass(frozen=True, slots=True)
class Named:
    names: tuple[str, ...]


def test_tuples_come_back_as_tuples():
    assert from_plain(Named, json.loads(json.dumps(to_plain(Named(("a", "b")))))).names == ("a", "b")


@pytest.mark.parametrize("value", [None, [], "0.5", {}, True])
def test_a_wrong_number_is_refused(value):
    @dataclass
    class Score:
        share: float

    assert from_plain(Score, {"share": 1}).share == 1
    with pytest.raises((TypeError, KeyError)):
        from_plain(Score, {"share": value})


def test_a_function_gets_each_image_and_a_list_reads_none(samples):
    made = list(pair(lambda image: image.shape, samples))
    assert [(sample.name, prediction) for sample, _, prediction in made] == [
        ("first", (4, 4, 3)),
        ("second", (4, 4, 3)),
    ]
    assert [image for _, image, _ in pair([1, 2], samples)] == [None, None]


def test_counts_must_match(samples):
    with pytest.raises(InputError, match="1 predictions for 2 samples: give one for each"):
        list(pair([1], samples))
    with pytest.raises(InputError, match="more predictions than the 2 samples: give one for each"):
        list(pair([1, 2, 3], samples))
    with pytest.raises(InputError, match="give a dataset"):
        list(pair([], []))


def test_errors_name_the_image(samples):
    def fail(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        list(pair(fail, samples))
    assert caught.value.__notes__ == ["while scoring image first"]
    with pytest.raises(KeyError) as also, naming("third"):
        raise KeyError
    assert also.value.__notes__ == ["while scoring image third"]


def test_truths_must_be_of_the_image(halves):
    check_truths((4, 4), [halves])
    with pytest.raises(InputError, match="at least one truth"):
        check_truths((4, 4), [])
    with pytest.raises(InputError, match="score label maps of one image"):
        check_truths((4, 5), [halves])
    with pytest.raises(InputError, match="relabel_consecutive"):
        check_truths((4, 4), [halves - 1])
    assert np.array_equal(halves, halves.copy())


def mean(values):
    return {"mean": float(np.mean(values)), "maximum": float(np.max(values))}


def test_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(1).normal(3, 2, 200).tolist()
    low, high = bootstrap_95(mean, values)["mean"]
    half = 1.96 * np.std(values) / np.sqrt(200)
    assert low == pytest.approx(np.mean(values) - half, abs=0.05)
    assert high == pytest.approx(np.mean(values) + half, abs=0.05)


def test_figures_are_computed_for_each_draw():
    low, high = bootstrap_95(mean, [0.0] * 9 + [1.0])["maximum"]
    assert (low, high) == (0, 1)  # a draw misses the one image in a third of all cases


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(1).normal(3, 2, 50).tolist()
    assert bootstrap_95(mean, values) == bootstrap_95(mean, values)
    assert bootstrap_95(mean, values, seed=1) != bootstrap_95(mean, values)


def test_one_image_has_no_interval():
    assert np.isnan(bootstrap_95(mean, [0.5])["mean"]).all()
