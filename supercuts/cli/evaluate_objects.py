"""`supercuts evaluate objects` and `parts`: score predictions against masks, boxes, regions and keypoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from supercuts.cli.common import check_suffix, print_json, working
from supercuts.cli.evaluate import (
    N_CORES,
    AsJson,
    Limit,
    Out,
    Scoring,
    Workers,
    app,
    finish,
    print_table,
    say_written,
    score_all,
    with_figures,
)

if TYPE_CHECKING:
    from supercuts.evaluate.plot import Case
    from supercuts.evaluate.scorers import Method, ObjectsOfModel, ObjectsOfPatches

_Score = TypeVar("_Score")
_OBJECT_FIGURES = {
    "iou": "mean IoU",
    "accuracy": "accuracy",
    "max_f_beta": "max F-beta",
    "corloc": "CorLoc",
    "box_iou": "IoU of the box",
    "best_node": "Jaccard, best node",
    "best_union": "Jaccard, best three nodes",
    "n_objects": "objects found",
}
_PART_FIGURES = {
    "best_node": "Jaccard, best node, parts",
    "matched_iou": "IoU of matched parts",
    "object_iou": "IoU of the object",
    "object_best_node": "Jaccard, best node, object",
    "object_best_union": "Jaccard, best three nodes, object",
    "nested": "parts within the object",
    "n_parts": "parts found",
    "nmi_fg": "NMI FG",
    "ari_fg": "ARI FG",
    "nmi_full": "NMI Full",
    "ari_full": "ARI Full",
    "nmi_per_image": "NMI, mean of images",
}

Data = Annotated[str | None, typer.Option(help="Folder that holds the dataset; else $SUPERCUTS_DATA, else ./data.")]
ModelName = Annotated[str, typer.Option("--model", help="compact, or a .safetensors file of weights.")]
FinderName = Annotated[str, typer.Option("--model", help="The same, or a transformer such as dino_vits16.")]
MethodName = Annotated[str | None, typer.Option(help="Method of the model; default: the model's own.")]
Sheet = Annotated[
    Path | None,
    typer.Option(metavar="WORST.png", help="Draw the worst cases (image, truth, result) to this .png or .jpg."),
]


@app.command(
    cls=Scoring,
    epilog="Example: supercuts evaluate objects --dataset ecssd --data data -o ecssd.json --sheet worst.png",
)
def objects(
    dataset: Annotated[str, typer.Option(help="ecssd, duts, omron, voc07, voc12, coco20k or cub.")],
    data: Data = None,
    model: FinderName = "compact",
    method: MethodName = None,
    weights: Annotated[
        str, typer.Option(metavar="FILE", help="Weights of a transformer given as --model; hub: cached or downloaded.")
    ] = "hub",
    no_hard: Annotated[bool, typer.Option("--no-hard", help="VOC: leave out difficult and truncated objects.")] = False,
    out: Out = None,
    as_json: AsJson = False,
    workers: Workers = N_CORES,
    limit: Limit = None,
    sheet: Sheet = None,
) -> None:
    """Score the object a model finds in each image: IoU, accuracy and F-beta of its mask, CorLoc of its box.

    Beside them, what the tree allows: the best node, and the best three nodes together. With a transformer such as
    dino_vits16 as the model, methods run on its patches as published; there is no tree.
    """
    _check_paths(out, sheet)
    from supercuts.datasets.named import open_objects
    from supercuts.datasets.sample import data_root
    from supercuts.evaluate.objects import ObjectScores, summarise_objects
    from supercuts.evaluate.scorers import of_model

    opened = open_objects(dataset, data_root(data), no_hard)
    opened.check()
    scorer, path = _object_scorer(model, method, weights)
    # part of the name under which scores are kept, because scores of easy objects alone differ
    settings = [model, method, "without hard objects" if no_hard else None]
    job = _Job(
        task="objects",
        data=dataset,
        method=of_model(_joined(settings), opened[:limit], scorer, path),
        case=scorer.case,
        kind=ObjectScores,
        summarise=summarise_objects,
        shown=_OBJECT_FIGURES,
        order=("iou", "box_iou"),
    )
    _run(job, out, as_json, workers, sheet)


@app.command(
    cls=Scoring,
    epilog="Example: supercuts evaluate parts --dataset carparts --data data -o cars.json --sheet worst_parts.png",
)
def parts(
    dataset: Annotated[str, typer.Option(help="ccp, carparts, cub or coco.")],
    data: Data = None,
    model: ModelName = "compact",
    method: MethodName = None,
    n_parts: Annotated[
        int | None, typer.Option("--parts", min=1, metavar="N", help="Number to find; default: the model decides.")
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
    workers: Workers = N_CORES,
    limit: Limit = None,
    sheet: Sheet = None,
) -> None:
    """Score the parts a model finds in each image, against regions (ccp, carparts, coco) or keypoints (cub)."""
    _check_paths(out, sheet)
    from supercuts.datasets.named import open_parts
    from supercuts.datasets.sample import data_root
    from supercuts.evaluate.objects import PartScores, by_part, summarise_parts
    from supercuts.evaluate.scorers import PartsOfModel, of_model
    from supercuts.networks.network import weights_path

    opened = open_parts(dataset, data_root(data))
    opened.check()
    scorer = PartsOfModel(model, n_parts, method)
    settings = [model, method, None if n_parts is None else f"{n_parts} parts"]
    job = _Job(
        task="parts",
        data=dataset,
        method=of_model(_joined(settings), opened[:limit], scorer, weights_path(model)),
        case=scorer.case,
        kind=PartScores,
        summarise=summarise_parts,
        shown=_PART_FIGURES,
        order=("matched_iou", "nmi_per_image"),
        by_part=by_part,
    )
    _run(job, out, as_json, workers, sheet)


def _object_scorer(model: str, method: str | None, weights: str) -> "tuple[ObjectsOfModel | ObjectsOfPatches, Path]":
    """Return the scorer that finds the objects, and the file of its weights; raise if it cannot find any."""
    from supercuts.core.checks import check_choice
    from supercuts.evaluate.scorers import ObjectsOfModel, ObjectsOfPatches
    from supercuts.networks.network import weights_path
    from supercuts.networks.ssn_config import DINO, TIMM
    from supercuts.objects.discover import METHODS

    if method is not None:
        check_choice("--method", method, METHODS)
    if model not in DINO and not model.startswith(TIMM):
        return ObjectsOfModel(model, method), weights_path(model)
    from supercuts.networks.backbones.pretrained import download  # imports timm

    path = download(model) if weights == "hub" else Path(weights)
    patches = ObjectsOfPatches(model, str(path), method or "tokencut")
    patches.check()
    return patches, path


@dataclass(frozen=True, slots=True)
class _Job(Generic[_Score]):
    """Method to score and figures to show; the first available figure of `order` ranks the worst cases."""

    task: str
    data: str
    method: "Method[_Score]"
    case: "Callable[[Any, str], Case]"
    kind: type[_Score]
    summarise: Callable[[Sequence[_Score]], Mapping[str, float]]
    shown: Mapping[str, str]
    order: tuple[str, ...]
    by_part: Callable[[Sequence[_Score]], Mapping[str, Any]] | None = None


def _joined(settings: Sequence[str | None]) -> str:
    return ", ".join(part for part in settings if part is not None)


def _check_paths(out: Path | None, sheet: Path | None) -> None:
    if out is not None:
        check_suffix("--out", out, ".json")
    if sheet is not None:
        from supercuts.evaluate.plot import check_sheet

        check_sheet(sheet)


def _run(job: _Job[_Score], out: Path | None, as_json: bool, workers: int, sheet: Path | None) -> None:
    """Score all images, print the table, write the requested files and print the images that failed."""
    from supercuts.core.files import atomic_paths
    from supercuts.evaluate.report import figures_document, run_facts, write_figures

    scored = score_all([job.method], job.kind, out, workers)
    with working("computing intervals"):
        document = figures_document(job.task, run_facts(job.data, scored[0].n_images), scored, job.summarise)
    entry = document["methods"][0]
    if job.by_part is not None and scored[0].scores:
        entry["by_part"] = job.by_part(list(scored[0].scores.values()))
    rows = [(entry, entry["figures"], entry["interval_95"]) for entry in with_figures(document)]
    if as_json:
        print_json(document)
    else:
        print_table(job.shown, rows, f"{job.data}: {job.task}, with 95 % intervals over images")
    sheets = [sheet] if sheet is not None and rows else []
    with atomic_paths(sheets) as staged:
        for path in staged:
            _draw_worst(job, entry["images"], path)
        written = [] if out is None else write_figures(out, document)
    for paths in filter(None, (written, sheets)):
        say_written(paths, as_json)
    finish(scored, out)


def _draw_worst(job: _Job[_Score], images: Mapping[str, Mapping[str, float]], sheet: Path) -> None:
    """Draw the cases with the lowest scores; their masks are computed again, because scores do not keep them."""
    from supercuts.evaluate.plot import worst, write_sheet

    order = next((figure for figure in job.order if any(figure in values for values in images.values())), job.order[0])
    by_name = {task.sample.name: task.sample for task in job.method.tasks}
    chosen = worst({name: values[order] for name, values in images.items() if order in values})
    with working("drawing the worst cases"):
        cases = [
            job.case(by_name[name], f"found: {job.shown[order].removeprefix('mean ')} {images[name][order]:.3f}")
            for name in chosen
        ]
        write_sheet(sheet, cases)
