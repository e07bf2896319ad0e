import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

ROOT = Path(__file__).resolve().parents[1]


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", f"examples/{script}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_node_classification_is_short_and_beats_chance():
    assert len((ROOT / "examples/node_classification.py").read_text().splitlines()) < 40
    printed = run("node_classification.py")
    accuracy, chance = (float(re.search(rf"{words} (\S+)", printed)[1]) for words in ("the others", "would give"))
    assert accuracy > 0.8 > chance + 0.2


def test_statistics_table_has_a_row_for_every_object(tmp_path):
    pandas = pytest.importorskip("pandas")
    assert "red_mean" in run("statistics_table.py", "examples/photo.jpg", tmp_path / "a.csv")
    table = pandas.read_csv(tmp_path / "a.csv")
    assert table["area"].sum() == 400 * 600
    assert table["share"].sum() == pytest.approx(1)
    assert table["node"].is_unique


def test_superpixel_features_in_a_pipeline():
    accuracy = float(re.search(r"accuracy (\S+)", run("sklearn_pipeline.py"))[1])
    assert accuracy > 0.8


def test_superpixel_features_follow_the_rules_of_scikit_learn():
    spec = importlib.util.spec_from_file_location("sklearn_pipeline", ROOT / "examples/sklearn_pipeline.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    transformer = clone(module.SuperpixelFeatures(superpixels=9))
    assert transformer.get_params() == {"model": "compact", "superpixels": 9}
    images = [np.zeros((20, 30, 3), np.uint8), np.full((25, 25, 3), 200, np.uint8)]
    rows = transformer.fit_transform(images)
    assert rows.shape[0] == 2
    assert np.isfinite(rows).all()
