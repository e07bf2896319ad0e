"""Faults during a batch: kills at any moment, a full disk, broken files. Nothing is lost, nothing is half-written.

SUPERCUTS_KILLS: number of times that the whole batch is killed (default 5; 50 is the long form).
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import supercuts
from supercuts.batch.workspace import FOLDER

KILLS = int(os.environ.get("SUPERCUTS_KILLS", "5"))
ROOT = Path(__file__).parents[2]
N_IMAGES = 12
SIZE = (120, 80)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return a folder of crops of a photo, two of them broken."""
    folder = tmp_path_factory.mktemp("faults") / "photos"
    folder.mkdir()
    with Image.open(ROOT / "examples" / "photo.jpg") as image:
        rng = np.random.default_rng(0)
        for i in range(N_IMAGES):
            x, y = (int(rng.integers(0, long - short)) for long, short in zip(image.size, SIZE, strict=True))
            path = folder / ("in" if i % 3 == 0 else ".") / f"p{i:02}.png"
            path.parent.mkdir(exist_ok=True)
            image.crop((x, y, x + SIZE[0], y + SIZE[1])).save(path)
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "p01.png").read_bytes()[:999])
    return folder


@pytest.fixture(scope="module")
def undisturbed(photos, tmp_path_factory):
    """Return the outputs of an undisturbed run, by their path."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert batch(photos, out).wait(250) == 1, "two images are broken"
    actual = outputs(out)
    assert len(actual) == 2 * N_IMAGES
    return actual


def batch(photos, out, *options):
    """Start the command in a process of its own."""
    command = [sys.executable, "-m", "supercuts", "batch", str(photos), str(out), "--workers", "2", "--format", "svg"]
    with photos.with_name("stderr.txt").open("w") as stderr:
        return subprocess.Popen(
            [*command, "--superpixels", "40", *options], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr
        )


def outputs(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and FOLDER not in path.parts and path.name != "failures.json"
    }


def check_whole(out, undisturbed):
    """Check that the existing outputs are complete and equal those of the undisturbed run, byte by byte."""
    actual = outputs(out)
    assert actual.items() <= undisturbed.items(), sorted(actual.items() ^ undisturbed.items())[:1]
    for name in actual:
        if name.endswith(".npz"):
            supercuts.read(out / name)
            assert name.replace(".npz", ".svg") in actual, "the hierarchy comes last"
    return len(actual) // 2


def check_finished(out, undisturbed):
    assert outputs(out) == undisturbed
    assert sorted(path.name for path in (out / FOLDER).iterdir()) == ["journal.jsonl", "lock"]
    failed = {
        Path(failure["source"]).name: failure["error"] for failure in json.loads((out / "failures.json").read_text())
    }
    assert failed == {"empty.png": "ImageError", "cut.png": "ImageError"}


def n_recorded(out):
    path = out / FOLDER / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


@pytest.mark.timeout(300 + 60 * KILLS)
def test_kills_of_the_whole_batch_lose_nothing(photos, undisturbed, tmp_path, record_testsuite_property):
    """Kill the parent at random moments, most of them while files are being written."""
    rng = random.Random(os.environ.get("SUPERCUTS_SEED", "0"))
    out = tmp_path / "out"
    kills, rounds, inside = 0, 0, 0
    while kills < KILLS:
        before = n_recorded(out)
        process = batch(photos, out)
        if rng.random() < 0.8:  # between two images; else at any time from the start on
            wait_for(lambda p=process, b=before: n_recorded(out) > b or p.poll() is not None)
            time.sleep(rng.uniform(0, 0.25))
        else:
            time.sleep(rng.uniform(0, 5))
        workers = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        if process.wait() == -signal.SIGKILL:
            kills += 1
            inside += bool(workers)
        assert psutil.wait_procs(workers, 30)[1] == [], "no worker outlives its parent"
        check_whole(out, undisturbed)
        if len(outputs(out)) == len(undisturbed):
            assert batch(photos, out).wait(250) == 1
            check_finished(out, undisturbed)
            shutil.rmtree(out)
            rounds += 1
    assert batch(photos, out).wait(250) == 1
    check_finished(out, undisturbed)
    record_testsuite_property("kills", kills)
    record_testsuite_property("kills while workers were there", inside)
    record_testsuite_property("batches that came to their end", rounds + 1)


def test_a_killed_worker_is_replaced(photos, undisturbed, tmp_path):
    out = tmp_path / "out"
    process = batch(photos, out)
    parent = psutil.Process(process.pid)
    # first the newer, later the older: the second kill must not hit the first one's image, which is tried again
    for seen, which in ((1, -1), (6, 0)):
        wait_for(lambda n=seen: n_recorded(out) >= n)
        parent.children()[which].kill()
    assert process.wait(250) == 1
    check_finished(out, undisturbed)


def test_ctrl_c_prints_how_to_resume(photos, undisturbed, tmp_path):
    out = tmp_path / "out"
    # a shell that runs the tests in the background ignores it, and processes inherit that
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = batch(photos, out)
    signal.signal(signal.SIGINT, before)
    wait_for(lambda: n_recorded(out) >= 1)
    workers = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert psutil.wait_procs(workers, 10)[1] == []
    done = check_whole(out, undisturbed)
    assert sorted(path.name for path in (out / FOLDER).iterdir()) == ["journal.jsonl", "lock"]
    note = photos.with_name("stderr.txt").read_text()
    assert "run the same command to resume" in note
    assert 1 <= done < N_IMAGES
    assert "Traceback" not in note
    assert batch(photos, out).wait(250) == 1
    check_finished(out, undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that resizes a file system of its own, which is mounted at disk/."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)]
    if (
        sys.platform != "linux"
        or os.geteuid() != 0
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("mounting a small tmpfs takes root; test_run.py and test_outputs.py stub the full disk")
    yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_batch_which_then_resumes(photos, undisturbed, tmp_path, small_disk):
    out = tmp_path / "disk" / "out"
    assert batch(photos, out).wait(250) == 1
    said = photos.with_name("stderr.txt").read_text()
    assert said.count("error: ") <= 2, "one clear error, beside that of broken images"
    assert "nothing more can be written" in said
    assert "Free space, then run the same command again" in said
    done = check_whole(out, undisturbed)
    assert 0 < done < N_IMAGES
    assert list((out / FOLDER).glob("stage/*")) == []
    small_disk("64m")
    assert batch(photos, out).wait(250) == 1
    check_finished(out, undisturbed)
