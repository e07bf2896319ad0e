import errno
import json
import os
from pathlib import Path

import fsspec
import pytest

from supercuts.batch import run as module
from supercuts.batch.run import Engine, check_targets, run_batch
from supercuts.batch.sources import Settings, Source, find_sources
from supercuts.batch.workspace import FOLDER, Workspace
from supercuts.core.errors import InputError, SuperCutsError


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(stub, out, tmp_path):
    """Return a function that runs the files of src/ through the stub."""

    def do(settings=None, force=False, workers=2, on_result=lambda *_: None):
        sources = find_sources(str(tmp_path / "src"))
        return run_batch(sources, out, settings, Engine(workers=workers, factory=stub), force, on_result)

    return do


def texts(out):
    return {
        path.relative_to(out).as_posix(): path.read_text()
        for path in out.rglob("*")
        if path.is_file() and FOLDER not in path.parts
    }


def clean(out):
    return sorted(path.name for path in (out / FOLDER).iterdir()) in (["journal.jsonl", "lock"], ["lock"])


def test_finished_images_are_not_processed_again(run, make, calls, out):
    make(a="ok a", b="ok b", c="bad")
    first = run()
    assert (sorted(first.done), first.unchanged, len(first.failures), first.remaining) == (["a", "b"], [], 1, 0)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.npz")}
    calls()
    second = run()
    assert (second.done, sorted(second.unchanged), len(second.failures)) == ([], ["a", "b"], 1)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.npz")} == before
    assert calls() == ["a", "b", "c"]
    assert clean(out)


def test_changed_content_changed_settings_and_force_process_again(run, make, out):
    folder = make(a="ok a", b="ok b")
    run()
    os.utime(folder / "a.png", (1, 1))
    assert run().done == []
    make(b="ok other")
    assert run().done == ["b"]
    assert sorted(run(Settings(superpixels=7)).done) == ["a", "b"]
    assert texts(out) == {"a.npz": "ok a7", "b.npz": "ok other7"}
    assert run(Settings(superpixels=7)).done == []
    (out / "a.npz").unlink()
    assert run(Settings(superpixels=7)).done == ["a"]
    assert sorted(run(Settings(superpixels=7), force=True).done) == ["a", "b"]


def test_failures_are_listed_until_they_are_gone(run, make, out):
    folder = make(a="bad", b="die", c="ok")
    report = run()
    listed = json.loads((out / "failures.json").read_text())
    listed.sort(key=lambda entry: entry["name"])
    assert [(entry["source"], entry["name"], entry["error"]) for entry in listed] == [
        (str(folder / "a.png"), "a", "ImageError"),
        (str(folder / "b.png"), "b", "WorkerDied"),
    ]
    assert (report.done, report.stopped) == (["c"], "")
    make(a="ok", b="ok")
    assert run().failures == []
    assert not (out / "failures.json").exists()


def test_a_full_disk_ends_the_batch_which_then_resumes(run, make, out):
    make(a="ok a", b="full", c="slow 0.5", d="ok d")
    report = run(workers=1)
    assert report.done == ["a"]
    assert "nothing more can be written (it is full). Free space" in report.stopped
    assert (report.remaining, clean(out)) == (3, True)
    make(b="ok b")
    assert sorted(run(workers=1).done) == ["b", "c", "d"]


@pytest.mark.parametrize("where", ["journal", "place"])
def test_a_disk_that_fills_while_files_are_put_in_place(run, make, out, monkeypatch, where):
    make(a="ok a", b="ok b")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner, name = (module.Workspace, "commit") if where == "place" else ("supercuts.batch.workspace.Journal", "_append")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail) if where == "place" else patch.setattr(f"{owner}.{name}", fail)
        report = run()
        assert report.done == []
        assert "No space left" in report.stopped
        assert clean(out)
    assert sorted(run().done) == ["a", "b"]


def test_a_model_that_cannot_be_loaded_ends_the_batch(run, make, out):
    make(a="unusable", b="ok")
    with pytest.raises(SuperCutsError, match="it is unusable"):
        run(workers=1)
    assert clean(out)


def test_ctrl_c_keeps_finished_images(run, make, out):
    make(a="ok a", b="slow 60", c="slow 60")

    def interrupt(*_):
        raise KeyboardInterrupt

    report = run(on_result=interrupt)
    assert (report.done, report.is_interrupted, report.remaining) == (["a"], True, 2)
    assert texts(out) == {"a.npz": "ok aNone"}
    assert clean(out)


def test_an_output_that_cannot_be_put_in_place_fails_alone(run, make, out):
    make(a="ok a", b="ok b")
    (out / "a.npz").mkdir(parents=True)
    (out / "a.npz" / "x").write_text("")
    real = Workspace.commit

    def deny(self, name, *arguments):
        if name == "a":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(self, name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workspace, "commit", deny)
        report = run()
    assert (report.done, [failure.error for failure in report.failures]) == (["b"], ["PermissionError"])


def test_progress_is_reported_for_each_image(run, make):
    make(a="ok", b="bad")
    told = []
    run(on_result=lambda source, result, report: told.append((source.name, result.status, report.remaining)))
    assert sorted(name for name, _, _ in told) == ["a", "b"]
    assert [remaining for _, _, remaining in told] == [1, 0]


def test_files_in_memory_reach_the_workers(out, tmp_path):
    files = fsspec.filesystem("memory")
    files.store.clear()
    try:
        files.pipe({"/d/p.png": (Path(__file__).parents[2] / "examples" / "photo.jpg").read_bytes()})
        report = run_batch(find_sources("memory://d"), out, Settings(superpixels=20), Engine(workers=1))
    finally:
        files.store.clear()
    assert (report.done, report.failures) == (["p"], [])
    assert (out / "p.npz").is_file()


def test_sources_and_outputs_never_meet(tmp_path):
    with pytest.raises(InputError, match=r"x\.png and y\.png would both be written as a\.npz"):
        check_targets([Source("x.png", "a"), Source("y.png", "A")], tmp_path, Settings())
    with pytest.raises(InputError, match=r"would be overwritten by an output\. Give another folder"):
        check_targets(
            [Source(str(tmp_path / "in" / "a_part.png"), "b"), Source("x.png", "in/a")],
            tmp_path,
            Settings(overlays=True),
        )
    with pytest.raises(InputError, match="Give each once"):
        check_targets([], tmp_path, Settings(formats=("svg", "svg")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(model="no"), "model='no' is unknown"),
        (Settings(model="no.safetensors"), r"no\.safetensors cannot be read"),
        (Settings(merging="no"), "merging='no' is unknown"),
        (Settings(views="no"), "views='no' is unknown"),
        (Settings(formats=("no",)), "'no' is unknown"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(out, settings, message):
    with pytest.raises(InputError, match=message):
        run_batch([Source("a.png", "a")], out, settings)
    assert not out.exists()


def test_wrong_engines_are_refused():
    with pytest.raises(InputError, match=r"engine='spark' is unknown\. Choose one of: local, ray"):
        Engine("spark")
    with pytest.raises(InputError, match=r"workers=0 is outside"):
        Engine(workers=0)
