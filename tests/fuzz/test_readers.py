"""Every reader returns a valid result or raises a documented error for any file; the long form is run.py."""

import os
from collections import Counter
from pathlib import Path

import pytest
from corpus import Case
from harness import MIB, SECONDS, judge
from run import cases
from seeds import SEEDS

INPUTS = 200 if os.environ.get("SUPERCUTS_FUZZ") == "long" else 6
SOURCES = Path(__file__).parent


@pytest.fixture(scope="module")
def verdicts():
    return judge(cases(INPUTS, seed=0, kinds=list(SEEDS)))


@pytest.mark.timeout(1800 if INPUTS > 6 else 300)
def test_no_input_breaks_a_reader(verdicts):
    broken = [f"{v.case.kind}: {v.case.name}: {v.error}\n{v.trace}" for v in verdicts if v.outcome == "broken"]
    assert not broken, "\n".join(broken)
    assert max(v.seconds for v in verdicts) < SECONDS
    assert max(v.mib for v in verdicts) <= MIB


def test_every_reader_reads_a_whole_file_and_refuses_broken_ones(verdicts):
    whole = Counter(v.case.kind for v in verdicts if v.case.name.endswith("whole") and v.outcome == "read")
    refused = Counter(v.case.kind for v in verdicts if v.outcome == "refused")
    kinds = {v.case.kind for v in verdicts}
    assert kinds >= SEEDS.keys() - {"georeference"}  # needs an optional package
    assert whole.keys() == kinds
    # a store of scores and a folder of results treat damaged files as missing
    assert kinds - refused.keys() <= {"stored score", "refinement document"}


def test_code_in_a_file_is_never_run(verdicts):
    """A payload that runs leaves the marker in the worker's folder; this checks that payloads were tried."""
    names = " ".join(v.case.name for v in verdicts if v.outcome == "refused")
    for payload in (
        "torch code",
        "old torch code",
        "pickle.npy",
        "pickled labels",
        "code",
        "an object",
        "a header of an expression",
    ):
        assert payload in names


def test_the_same_number_makes_the_same_inputs():
    first, second = ([case.files for case in cases(3, 5, ["hierarchy", "config", "COCO"])] for _ in range(2))
    assert first == second


def test_a_reader_that_fails_crashes_or_hangs_is_found(monkeypatch, tmp_path):
    """Break the code once: the harness must detect it."""
    monkeypatch.setattr("harness.SECONDS", 3.0)
    broken = tmp_path / "worker"
    broken.mkdir()
    for name in ("worker.py", "readers.py"):
        source = (SOURCES / name).read_text().replace("    _import_everything()\n", "")  # takes seconds
        (broken / name).write_text(source + FAULTS if name == "readers.py" else source)
    monkeypatch.setattr("harness.WORKER", broken / "worker.py")
    tried = [Case(kind, kind, {"a": b""}, "a") for kind in ("fails", "crashes", "hangs", "eats", "runs", "config")]
    outcomes = [verdict.outcome for verdict in judge(tried)]
    assert outcomes == ["broken"] * 5 + ["read"]


FAULTS = """
import ctypes, time
READERS.clear()
READERS["fails"] = lambda path: 1 / 0
READERS["crashes"] = lambda path: ctypes.string_at(0)
READERS["hangs"] = lambda path: time.sleep(60)
READERS["eats"] = lambda path: np.ones(1 << 29)
READERS["runs"] = lambda path: open("CODE-WAS-RUN", "w").close()
READERS["config"] = lambda path: None
"""
