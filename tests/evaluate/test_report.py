import csv
import json

import numpy as np
import pytest

from supercuts.evaluate.hierarchies import score_contour_map, score_segmentations, score_soft_map, summarise
from supercuts.evaluate.report import (
    figures_document,
    hierarchy_document,
    run_facts,
    superpixel_document,
    write_csv,
    write_figures,
    write_hierarchies,
    write_report,
    write_superpixels,
)
from supercuts.evaluate.scorers import MethodResult
from supercuts.evaluate.superpixels import score_superpixels

FACTS = run_facts("BSDS500 val", 3)


def contours(strength):
    ucm = np.zeros((9, 9))
    ucm[:, 4] = strength
    return ucm


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_facts_hold_the_context_of_figures():
    assert {"date", "version", "data", "images", "intervals"} <= FACTS.keys()
    assert FACTS["images"] == "3"


def test_superpixel_files_hold_every_image_and_annotator(tmp_path, halves, whole):
    scores = {"a": score_superpixels(halves, [halves, whole]), "b": score_superpixels(whole, [halves])}
    results = [MethodResult("m", scores, {"c": "missing"}), MethodResult("none", {}, {"a": "x", "b": "y", "c": "z"})]
    document = superpixel_document(FACTS, results)
    paths = write_superpixels(tmp_path / "out.json", document, results)
    assert [path.name for path in paths] == ["out.json", "out.images.csv"]
    read = json.loads(paths[0].read_text())
    first, second = read["methods"]
    assert (first["n_scored"], first["n_images"], first["failures"]) == (2, 3, {"c": "missing"})
    assert first["figures"]["mean"]["asa"] == (1 + 0.5) / 2
    assert first["figures"]["mean"]["explained_variation"] is None  # no image was given: not a number
    assert first["interval_95"]["worst"]["asa"] == [0.5, 1]
    assert first["images"]["b"]["asa"] == 0.5
    assert "figures" not in second
    table = rows(paths[1])
    assert len(table) == 2 * 3
    assert [row["asa"] for row in table if row["annotators"] == "mean"] == ["1.0", "0.5"]


def test_hierarchy_files_hold_images_and_curves(tmp_path, halves):
    scores = {"a": score_contour_map(contours(0.5), [halves]), "b": score_contour_map(contours(0.9), [halves])}
    results = [MethodResult("m", scores, {}), MethodResult("none", {}, {"a": "x", "b": "y"})]
    document = hierarchy_document(FACTS, results)
    paths = write_hierarchies(tmp_path / "out.json", document, results)
    assert [path.name for path in paths] == ["out.json", "out.images.csv", "out.thresholds.csv", "out.pr.png"]
    assert all(path.stat().st_size > 0 for path in paths)
    entry = json.loads(paths[0].read_text())["methods"][0]
    assert entry["figures"] == pytest.approx(summarise(list(scores.values())))
    assert entry["images"]["b"]["covering_ods"] == 1
    curves = rows(paths[2])
    assert len(curves) == 99
    at = {round(float(row["threshold"]), 2): row for row in curves}
    assert [float(at[t]["covering"]) for t in (0.4, 0.6, 0.95)] == [1, 0.75, 0.5]
    assert [float(at[t]["n_regions"]) for t in (0.4, 0.6, 0.95)] == [2, 1.5, 1]
    assert [float(at[t]["boundary_recall"]) for t in (0.4, 0.6, 0.95)] == [1, 0.5, 0]


@pytest.mark.parametrize("boundaries", [True, False])
def test_only_scored_images_are_written(tmp_path, halves, boundaries):
    scores = {"a": score_segmentations([halves], [halves], boundaries)}
    results = [MethodResult("m", scores, {})]
    paths = write_hierarchies(tmp_path / "out.json", hierarchy_document(FACTS, results), results)
    assert (tmp_path / "out.pr.png" in paths) == boundaries
    assert ("boundary_f" in rows(tmp_path / "out.thresholds.csv")[0]) == boundaries
    soft = [MethodResult("m", {"a": score_soft_map(halves * 1.0, [halves])}, {})]
    write_hierarchies(tmp_path / "soft.json", hierarchy_document(FACTS, soft), soft)
    assert "covering" not in rows(tmp_path / "soft.thresholds.csv")[0]


def test_tables_of_different_columns_are_joined(tmp_path):
    write_csv(tmp_path / "t.csv", [{"a": 1}, {"b": "x,y"}])
    assert rows(tmp_path / "t.csv") == [{"a": "1", "b": ""}, {"a": "", "b": "x,y"}]


def test_json_is_standard(tmp_path):
    write_report(tmp_path / "d.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert json.loads((tmp_path / "d.json").read_text()) == {"a": None, "b": [None, 1.5]}


def mean_and_unknown(scores):
    return {"mean": sum(scores) / len(scores), "unknown": float("nan")}


def test_any_figures_are_listed_with_intervals_and_by_image(tmp_path):
    results = [MethodResult("m", {"a.b": 1.0, "c": 3.0}, {"d": "why"}), MethodResult("none", {}, {"a.b": "why"})]
    document = figures_document("objects", FACTS, results, mean_and_unknown)
    entry, failed = document["methods"]
    assert (entry["n_scored"], entry["n_images"], entry["failures"]) == (2, 3, {"d": "why"})
    assert entry["figures"] == {"mean": 2}
    assert list(entry["interval_95"]) == ["mean"]
    assert entry["images"] == {"a.b": {"mean": 1}, "c": {"mean": 3}}
    assert "figures" not in failed
    written = write_figures(tmp_path / "out.json", document)
    assert [path.name for path in written] == ["out.json", "out.images.csv"]
    assert rows(written[1])[1] == {"method": "m", "image": "c", "mean": "3.0"}
