import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a script as if from the project's root and return what it prints; in this process: imports take seconds."""
    monkeypatch.chdir(ROOT)

    def invoke(script, *arguments):
        monkeypatch.setattr("sys.argv", [script, *map(str, arguments)])
        runpy.run_path(f"examples/{script}", run_name="__main__")
        return capsys.readouterr().out

    return invoke


def test_node_classification_is_short_and_beats_chance(run):
    assert len((ROOT / "examples/node_classification.py").read_text().splitlines()) < 40
    printed = run("node_classification.py")
    accuracy, chance = (float(re.search(rf"{words} (\S+)", printed)[1]) for words in ("the others", "would give"))
    assert accuracy > 0.8 > chance + 0.2


def test_statistics_table_has_a_row_for_every_object(run, tmp_path):
    pandas = pytest.importorskip("pandas")
    assert "red_mean" in run("statistics_table.py", "examples/photo.jpg", tmp_path / "a.csv")
    table = pandas.read_csv(tmp_path / "a.csv")
    assert table["area"].sum() == 400 * 600
    assert table["share"].sum() == pytest.approx(1)
    assert table["node"].is_unique


def test_superpixel_features_in_a_pipeline(run):
    accuracy = float(re.search(r"accuracy (\S+)", run("sklearn_pipeline.py"))[1])
    assert accuracy > 0.8


def test_superpixel_features_follow_the_rules_of_scikit_learn():
    module = runpy.run_path(str(ROOT / "examples/sklearn_pipeline.py"))
    transformer = clone(module["SuperpixelFeatures"](superpixels=9))
    assert transformer.get_params() == {"model": "compact", "superpixels": 9}
    images = [np.zeros((20, 30, 3), np.uint8), np.full((25, 25, 3), 200, np.uint8)]
    rows = transformer.fit_transform(images)
    assert rows.shape[0] == 2
    assert np.isfinite(rows).all()
