"""Write the report of an evaluation: one JSON document and CSV tables next to it."""

import csv
import json
import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from supercuts.core import files
from supercuts.core.files import package_version
from supercuts.evaluate.hierarchies import HierarchyScores, HierarchyTable, summarise
from supercuts.evaluate.parallel import bootstrap_95
from supercuts.evaluate.plot import PrecisionRecallCurve, PrecisionRecallPoint, draw_precision_recall
from supercuts.evaluate.scorers import MethodResult
from supercuts.evaluate.superpixels import ANNOTATORS, SuperpixelScores, SuperpixelTable
from supercuts.metrics.boundary import aggregate_boundary, total_boundary

_Score = TypeVar("_Score")


def run_facts(data: str, n_images: int) -> dict[str, str]:
    """Return the facts to quote with the figures: date, versions, data, number of images, kind of intervals."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "version": f"supercuts {package_version()}, Python {platform.python_version()}",
        "data": data,
        "images": str(n_images),
        "intervals": "95 %, bootstrap over images",
    }


def superpixel_document(facts: Mapping[str, str], results: Sequence[MethodResult[SuperpixelScores]]) -> dict[str, Any]:
    """Return figures and intervals for the mean, best and worst annotator, and the scores of each image."""
    methods = []
    for result in results:
        entry = _describe(result)
        if result.scores:
            table = SuperpixelTable(tuple(result.scores), tuple(result.scores.values()))
            entry["figures"] = {over: asdict(table.mean(over)) for over in ANNOTATORS}
            entry["interval_95"] = {over: table.interval_95(over) for over in ANNOTATORS}
            entry["images"] = {name: asdict(scores.over("mean")) for name, scores in result.scores.items()}
        methods.append(entry)
    return {"task": "superpixels", "facts": dict(facts), "methods": methods}


def hierarchy_document(facts: Mapping[str, str], results: Sequence[MethodResult[HierarchyScores]]) -> dict[str, Any]:
    """Return figures and intervals, and the figures of each single image, for which ODS equals OIS."""
    methods = []
    for result in results:
        entry = _describe(result)
        if result.scores:
            table = HierarchyTable(tuple(result.scores), tuple(result.scores.values()))
            entry["figures"] = table.figures
            entry["interval_95"] = table.interval_95()
            entry["images"] = {name: summarise([scores]) for name, scores in result.scores.items()}
        methods.append(entry)
    return {"task": "hierarchy", "facts": dict(facts), "methods": methods}


def figures_document(
    task: str,
    facts: Mapping[str, str],
    results: Sequence[MethodResult[_Score]],
    summarise: Callable[[Sequence[_Score]], Mapping[str, float]],
) -> dict[str, Any]:
    """Return figures and intervals of scores of any kind, and each image's own figures; NaN figures are left out."""
    methods = []
    for result in results:
        entry = _describe(result)
        if result.scores:
            scores = list(result.scores.values())
            entry["figures"] = _known(summarise(scores))
            intervals = bootstrap_95(summarise, scores)
            entry["interval_95"] = {name: intervals[name] for name in entry["figures"]}
            entry["images"] = {name: _known(summarise([score])) for name, score in result.scores.items()}
        methods.append(entry)
    return {"task": task, "facts": dict(facts), "methods": methods}


def write_figures(out: Path, document: Mapping[str, Any]) -> list[Path]:
    """Write a figures_document as OUT.json and OUT.images.csv; return their paths."""
    images = out.with_suffix(".images.csv")
    with files.atomic_paths([images, out]) as staged:
        write_csv(staged[0], _image_rows(document))
        write_report(staged[1], document)
    return [out, images]


def write_superpixels(
    out: Path, document: Mapping[str, Any], results: Sequence[MethodResult[SuperpixelScores]]
) -> list[Path]:
    """Write OUT.json and OUT.images.csv; return their paths."""
    images = out.with_suffix(".images.csv")
    with files.atomic_paths([images, out]) as staged:
        write_csv(staged[0], _superpixel_rows(results))
        write_report(staged[1], document)
    return [out, images]


def write_hierarchies(
    out: Path, document: Mapping[str, Any], results: Sequence[MethodResult[HierarchyScores]]
) -> list[Path]:
    """Write OUT.json, OUT.images.csv, OUT.thresholds.csv and, with boundaries, OUT.pr.png; return their paths."""
    curves = [_precision_recall(result) for result in results if _has_boundaries(result)]
    suffixes = (".images.csv", ".thresholds.csv", ".pr.png") if curves else (".images.csv", ".thresholds.csv")
    tables = [out.with_suffix(suffix) for suffix in suffixes]
    with files.atomic_paths([*tables, out]) as staged:
        write_csv(staged[0], _image_rows(document))
        write_csv(staged[1], _threshold_rows(results))
        if curves:
            draw_precision_recall(staged[2], curves)
        write_report(staged[-1], document)
    return [out, *tables]


def _superpixel_rows(results: Sequence[MethodResult[SuperpixelScores]]) -> Iterable[dict[str, Any]]:
    """Yield one row per method, image and reduction over annotators (mean, best, worst)."""
    for result in results:
        for name, scores in result.scores.items():
            for over in ANNOTATORS:
                yield {"method": result.method, "image": name, "annotators": over, **asdict(scores.over(over))}


def _image_rows(document: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield one row per method and image of a document that has one set of figures per image."""
    for entry in document["methods"]:
        for name, figures in entry.get("images", {}).items():
            yield {"method": entry["method"], "image": name, **figures}


def _threshold_rows(results: Sequence[MethodResult[HierarchyScores]]) -> Iterable[dict[str, Any]]:
    """Yield one row per method and threshold: the dataset's curves."""
    for result in results:
        if not result.scores:
            continue
        columns = dict(_curves(list(result.scores.values())))
        for values in zip(*columns.values(), strict=True):
            yield {"method": result.method, **dict(zip(columns, values, strict=True))}


def write_report(path: Path, document: object) -> None:
    """Write a JSON file; NaN and infinite figures become null, because standard JSON has no such numbers."""
    standard = json.loads(json.dumps(document), parse_constant=lambda _: None)
    files.write_json(path, standard, indent=1)


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV; the columns are the union of the rows' columns, in order of first appearance."""
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    with (
        files.atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(listed)


def _has_boundaries(result: MethodResult[HierarchyScores]) -> bool:
    return bool(result.scores) and all(scores.boundaries is not None for scores in result.scores.values())


def _precision_recall(result: MethodResult[HierarchyScores]) -> PrecisionRecallCurve:
    boundaries = [scores.boundaries for scores in result.scores.values() if scores.boundaries is not None]
    total, summary = total_boundary(boundaries), aggregate_boundary(boundaries)
    best = PrecisionRecallPoint(summary.ods_recall, summary.ods_precision)
    return PrecisionRecallCurve(result.method, total.recall, total.precision, best, summary.ap)


def _known(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def _describe(result: MethodResult[Any]) -> dict[str, Any]:
    return {
        "method": result.method,
        "n_scored": len(result.scores),
        "n_images": result.n_images,
        "failures": result.failures,
    }


def _curves(scores: Sequence[HierarchyScores]) -> Iterable[tuple[str, list[float]]]:
    """Yield the columns of the dataset's curves."""
    if all(image.regions is not None for image in scores):
        regions = [image.regions for image in scores if image.regions is not None]
        area = sum(image.area for image in regions)
        yield "threshold", regions[0].thresholds.tolist()
        yield "n_regions", np.mean([image.n_regions for image in regions], axis=0).tolist()
        yield "covering", (np.sum([image.overlap for image in regions], axis=0) / area).tolist()
        yield "pri", np.mean([image.rand_index for image in regions], axis=0).tolist()
        yield "vi", np.mean([image.variation_of_information for image in regions], axis=0).tolist()
    if all(image.objects_parts is not None for image in scores):
        curves = [image.objects_parts for image in scores if image.objects_parts is not None]
        yield "objects_parts_recall", np.mean([image.recall for image in curves], axis=0).tolist()
        yield "objects_parts_precision", np.mean([image.precision for image in curves], axis=0).tolist()
    if all(image.boundaries is not None for image in scores):
        total = total_boundary([image.boundaries for image in scores if image.boundaries is not None])
        yield "threshold", total.thresholds.tolist()
        yield "boundary_recall", total.recall.tolist()
        yield "boundary_precision", total.precision.tolist()
        yield "boundary_f", total.f.tolist()
