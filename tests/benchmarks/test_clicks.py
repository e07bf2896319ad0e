import importlib
from pathlib import Path

import numpy as np
import pytest

from supercuts.hierarchy.tree import Hierarchy

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def clicks():
    """Return the script as a module: scripts find each other by their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("clicks")


def test_next_click_lies_in_the_centre_of_the_largest_error(clicks):
    truth = np.zeros((20, 30), bool)
    truth[2:9, 2:9] = True
    assert clicks.next_click(truth, np.zeros_like(truth)) == (1, (5, 5))
    selected = truth.copy()
    selected[10:19, 15:24] = True  # 81 pixels too many
    selected[2, 2:9] = False  # and 7 too few
    assert clicks.next_click(truth, selected) == (2, (14, 19))


def test_a_perfect_answer_ends_the_clicking(clicks):
    labels = np.repeat([[0, 1]], 4, axis=0).repeat(4, axis=1).astype(np.int32)
    h = Hierarchy(
        labels, np.array([2, 2, 2], np.int32), np.array([0, 0, 0.9], np.float32), np.zeros((2, 0), np.float32)
    )
    curve = clicks.simulate(h, labels == 1, 4)
    assert curve.iou[-1] == 1
    assert curve.iou.size == 4
    assert curve.seconds > 0
    assert clicks.row("one", [curve])[-1] == "100%"


def test_prompts_are_scored_by_image(clicks, monkeypatch, capsys):
    labels = np.repeat([[0, 1]], 4, axis=0).repeat(4, axis=1).astype(np.int32)
    h = Hierarchy(
        labels,
        np.array([2, 2, 2], np.int32),
        np.array([0, 0, 0.9], np.float32),
        np.zeros((2, 0), np.float32),
        image=np.zeros((4, 8, 3), np.uint8),
        levels={"scene": 0.95, "object": 0.5, "part": 0.1},
    )
    monkeypatch.setattr(clicks, "load_task", lambda task: (h, labels == 1))
    task = clicks.Task("image", "mask", "compact", 2, 1)
    best, by_score, first, second, n_masks, n_kept = clicks.prompt(task)
    assert (best, second, n_masks) == (1, 1, 3)
    assert 0 < by_score <= 1
    assert 0 < first <= 1
    assert n_kept <= 3
    clicks.report_prompts([task], [[best, by_score, first, second, n_masks, n_kept]])
    assert "one click, best of three masks | 1.000 | 1.000" in capsys.readouterr().out
