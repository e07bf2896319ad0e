import os
import threading

import pytest

from supercuts.core import threads
from supercuts.core.threads import in_threads, thread_count


def test_the_environment_says_how_many(monkeypatch):
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
        if thread not in here:  # else a fast one might take all
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


def test_who_is_done_takes_the_next_part(monkeypatch):
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
