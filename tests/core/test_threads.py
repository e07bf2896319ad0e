import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from supercuts.core import threads
from supercuts.core.threads import Progress, close_threads, in_threads, in_waves, thread_count


def test_the_environment_sets_the_number(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    for value in ("", "0", "2,2", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert 1 <= thread_count() <= (os.cpu_count() or 1)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert thread_count() == os.cpu_count()


@pytest.mark.parametrize("n", [1, 2, 7])
def test_every_part_is_worked_on_once(monkeypatch, n):
    monkeypatch.setattr(threads, "thread_count", lambda: n)
    done, here, meet = [], set(), threading.Barrier(min(n, 5), timeout=30)

    def work(thread, part):
        if thread not in here:  # else a fast thread might take all parts
            here.add(thread)
            meet.wait()
        done.append((thread, part))

    in_threads(work, range(5))
    assert sorted(part for _, part in done) == list(range(5))
    assert {thread for thread, _ in done} == set(range(min(n, 5)))
    in_threads(lambda thread, part: done.append((thread, part)), [])
    assert len(done) == 5
    in_threads(lambda thread, part: done.append((thread, part)), "ab", 1)
    assert done[5:] == [(0, "a"), (0, "b")]


def test_threads_work_side_by_side(monkeypatch):
    monkeypatch.setattr(threads, "thread_count", lambda: 2)
    meet = threading.Barrier(2, timeout=30)
    in_threads(lambda *_: meet.wait(), [0, 1])


def test_an_idle_thread_takes_the_next_part(monkeypatch):
    monkeypatch.setattr(threads, "thread_count", lambda: 2)
    others_done = threading.Event()

    def work(_, part):
        if part == 0:
            assert others_done.wait(timeout=30)
        elif part == 4:
            others_done.set()

    in_threads(work, range(5))


def test_an_error_is_raised(monkeypatch):
    monkeypatch.setattr(threads, "thread_count", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda _, part: 1 // part, [1, 0, 1])


def sum_in_threads(_=None):
    done = []
    in_threads(lambda _, part: done.append(part), range(100))
    return sum(done)


def test_callers_at_the_same_time_and_within_one_another(monkeypatch):
    monkeypatch.setattr(threads, "thread_count", lambda: 3)
    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(sum_in_threads, range(200))) == [4950] * 200
    inner = []
    in_threads(lambda *_: inner.append(sum_in_threads()), range(20))
    assert inner == [4950] * 20


def n_waiting():
    return sum(thread.name.startswith("supercuts") for thread in threading.enumerate())


def meet_in_threads(n):
    meet = threading.Barrier(n, timeout=30)
    in_threads(lambda *_: meet.wait(), range(n), n)


def test_threads_are_as_many_as_a_call_asks_for_and_can_be_ended():
    close_threads()
    before = n_waiting()
    for n in (2, 4, 3, 2, 4):
        meet_in_threads(n)
    deadline = time.monotonic() + 30
    while n_waiting() > before + 3 and time.monotonic() < deadline:  # the first one ends once it notices
        time.sleep(0.01)
    assert n_waiting() == before + 3
    close_threads()
    assert n_waiting() == before
    meet_in_threads(2)
    assert n_waiting() == before + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(threads, "thread_count", lambda: 2)
    meet = threading.Barrier(2, timeout=30)
    in_threads(lambda *_: meet.wait(), [0, 1])  # this process has one that waits now
    child = os.fork()
    if child == 0:
        code = 1
        try:
            in_threads(lambda *_: meet.wait(), [0, 1])
            code = 42
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


class Sandpile:
    """Rows of grains: a call moves all but three of each row's grains, half to each side, as sweeps of pixels do."""

    def __init__(self, n_rows, delays=None):
        self.rows = np.random.default_rng(0).integers(0, 6, n_rows)
        self.delays = delays
        self.calls = []

    def topple(self, part):
        if self.delays is not None:
            time.sleep(self.delays.random() / 500)
        self.calls.append(part)
        before = self.rows[part[0] : part[1]].copy()
        for i in range(*part):
            share = max(self.rows[i] - 3, 0) // 2
            self.rows[i] -= 2 * share
            for beside in (i - 1, i + 1):
                if 0 <= beside < len(self.rows):
                    self.rows[beside] += share
        return not np.array_equal(before, self.rows[part[0] : part[1]])


@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_waves_equal_sequential_rounds(n_threads):
    parts = [(i, i + 4) for i in range(0, 96, 4)]
    for n_rounds in (1, 2, 7, 200):
        expected, actual = Sandpile(96), Sandpile(96, np.random.default_rng(n_rounds))
        in_waves(expected.topple, parts, n_rounds, 1)
        in_waves(actual.topple, parts, n_rounds, n_threads)
        np.testing.assert_array_equal(actual.rows, expected.rows)
        assert len(expected.calls) <= len(actual.calls) <= n_rounds * len(parts)
    assert len(expected.calls) < 200 * len(parts)  # they end once nothing changes
    assert len(actual.calls) < 200 * len(parts)


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_the_pieces_of_the_first_round_follow_the_part_before(n_threads):
    done, seen = [], []

    def work_on_piece(part, piece):
        time.sleep(0.001)
        assert part == 0 or (part - 1, min(piece + 1, 4)) in done
        done.append((part, piece))
        return part == 3

    def work(part):
        seen.append(part)
        assert n_threads == 1 or (min(part + 1, 11), 4) in done
        return False

    in_waves(work, range(12), 5, n_threads, 5, work_on_piece)
    assert set(seen) == set(range(12))
    if n_threads > 1:
        assert sorted(done) == [(part, piece) for part in range(12) for piece in range(5)]
        for part in range(12):
            assert [piece for at, piece in done if at == part] == list(range(5))


def test_parts_of_the_first_round_are_worked_on_at_the_same_time():
    meet = threading.Barrier(2, timeout=30)

    def work_on_piece(part, piece):
        if (part, piece) in ((0, 3), (1, 1)):
            meet.wait()
        return False

    in_waves(lambda _: False, range(6), 1, 2, 5, work_on_piece)


def test_rounds_of_waves_are_under_way_at_the_same_time():
    calls, second_began = [0] * 6, threading.Event()

    def work(part):
        calls[part] += 1
        if part == 0 and calls[0] == 2:
            second_began.set()
        if part == 4 and calls[4] == 1:
            assert second_began.wait(timeout=30)
        return True

    in_waves(work, range(6), 2, 2)
    assert calls == [2] * 6


def test_an_error_in_a_wave_ends_all_rounds():
    done = []

    def work(part):
        if part == 5:
            raise ZeroDivisionError
        done.append(part)
        return True

    for n_threads in (1, 2, 4):
        done.clear()
        with pytest.raises(ZeroDivisionError):
            in_waves(work, range(20), 50, n_threads)
        assert set(done) <= set(range(5))


ROOT = Path(__file__).resolve().parents[2]
IS_GLIBC = sys.platform.startswith("linux") and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")

# arrays of the size of an image's maps, freed and allocated in turns: their pages are cleared once or every time
FAULTS = """
import resource, sys
import numpy as np
from supercuts.core.threads import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    a, b = np.ones(3 * 10**5), np.ones(3 * 10**5)
    del a, b
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    a, b = np.ones(3 * 10**5), np.ones(3 * 10**5)
    del a, b
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    environment = {name: value for name, value in os.environ.items() if name not in threads._SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not IS_GLIBC, reason="glibc alone is told")
def test_freed_memory_is_used_again():
    assert faults("keep") < 100
    assert faults("let go") > 1000


@pytest.mark.parametrize("name", threads._SETTINGS)
def test_settings_of_the_environment_stand(monkeypatch, name):
    for other in threads._SETTINGS:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "1")
    assert not threads.keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    for name in threads._SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not threads.keep_freed_memory()


GIVEN_BACK = """
import numpy as np
from supercuts.core.threads import give_freed_memory_back, keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
keep_freed_memory()
arrays = [np.ones(10**5) for _ in range(200)]
last = np.ones(10**4)  # memory below it on the heap cannot be released by itself
del arrays
before = resident()
give_freed_memory_back()
print(before - resident())
"""


@pytest.mark.skipif(not IS_GLIBC, reason="glibc alone is told")
def test_freed_memory_is_given_back():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100e6


def test_other_systems_release_no_memory(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    threads.give_freed_memory_back()


def test_progress_is_called_with_the_steps_done_and_all_steps():
    calls = []

    def work(progress: Progress) -> None:
        for step in range(3):
            progress(step + 1, 3)

    work(lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


WAITING = """
from supercuts.core.threads import wait_without_spinning
print(wait_without_spinning())
import torch
"""


@pytest.mark.skipif(not IS_GLIBC, reason="torch has GNU's OpenMP on Linux")
@pytest.mark.parametrize(
    ("setting", "expected", "spins"),
    [({}, "True", "1000"), ({"GOMP_SPINCOUNT": "77"}, "False", "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "False", "0")],
)
def test_openmp_sleeps_soon(setting, expected, spins):
    """OpenMP itself prints what it has read."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", WAITING],
        cwd=ROOT,
        env={**environment, **setting, "OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
