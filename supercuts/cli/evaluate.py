"""`supercuts evaluate`: score superpixels and hierarchies against annotators' segmentations, with intervals."""

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from supercuts.cli.common import (
    FAILED,
    Command,
    Group,
    Merging,
    Views,
    check_suffix,
    one_line,
    print_error,
    print_json,
    print_lines,
    print_note,
    progress,
    working,
)

if TYPE_CHECKING:
    from supercuts.datasets.bsds500 import BSDS500
    from supercuts.evaluate.scorers import Method, MethodResult


_Score = TypeVar("_Score")
N_CORES = os.cpu_count() or 1
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="OUT.json", help="Write every figure here, and CSV tables next to it."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Workers = Annotated[int, typer.Option(min=1, help="Number of processes; default: all cores.", show_default=False)]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N images.")]


class Scoring(Command):
    """A command that scores; `--json OUT.json` still means `--out OUT.json`, as before --json was a flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Any: as in Command
        """Parse the arguments, after replacing the old form of --json."""
        args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--json=") else [arg])]
        for i, (option, value) in enumerate(itertools.pairwise(args)):
            if option == "--json" and not value.startswith("-"):
                print_note(f"--json {value} is now --out {value}; --json alone prints the document.")
                args[i] = "--out"
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def score_all(
    compared: Sequence["Method[_Score]"], kind: type[_Score], out: Path | None, workers: int
) -> list["MethodResult[_Score]"]:
    """Score all methods with a progress bar; with --out, finished scores are kept until the whole run is finished."""
    from supercuts.evaluate.parallel import Store
    from supercuts.evaluate.scorers import score_methods

    for method in compared:
        for note in method.notes:
            print_note(note)
    store = None if out is None else Store(_parts(out), kind)
    with progress() as bar:
        task = bar.add_task("scoring", total=sum(len(method.tasks) for method in compared))
        return score_methods(compared, workers, store, lambda _: bar.advance(task))


def _parts(out: Path) -> Path:
    return out.with_suffix(".parts")


def finish(scored: Sequence["MethodResult[Any]"], out: Path | None) -> None:
    """Print every image without a score and exit with an error if there are any; else delete the finished parts."""
    for result in scored:
        for name, why in result.failures.items():
            print_error(f"{result.method}: image {name}: {why}")
        if result.failures:
            print_error(f"{result.method}: {len(result.scores)} of {result.n_images} images scored")
    if any(result.failures for result in scored):
        raise typer.Exit(FAILED)
    if out is not None:
        from supercuts.evaluate.parallel import clear

        clear(_parts(out))


def say_written(paths: Sequence[Path], as_json: bool) -> None:
    """Print the files that were written, to stderr if stdout holds a JSON document."""
    print_lines("wrote " + ", ".join(str(path) for path in paths), err=as_json)


def with_figures(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the methods of a document that scored at least one image."""
    return [entry for entry in document["methods"] if "figures" in entry]


def print_table(
    labels: Mapping[str, str],
    columns: Sequence[tuple[Mapping[str, Any], Mapping[str, float], Mapping[str, tuple[float, float]]]],
    caption: str,
) -> None:
    """Print one row per figure and one column per method."""
    table = Table(caption=Text(one_line(caption)), caption_justify="left")
    table.add_column("score")
    for entry, _, _ in columns:
        table.add_column(Text(one_line(entry["method"])), justify="right", overflow="fold")
    table.add_row("images scored", *(f"{entry['n_scored']} of {entry['n_images']}" for entry, _, _ in columns))
    for name, label in labels.items():
        if any(name in figures for _, figures, _ in columns):
            table.add_row(label, *(_cell(figures.get(name), intervals.get(name)) for _, figures, intervals in columns))
    Console().print(table)


def _cell(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "-"
    digits = 1 if abs(value) >= 10 else 4
    low, high = interval
    # exact counts, and the figures of a single image, have no interval to show
    spread = f" ({low:.{digits}f}-{high:.{digits}f})" if low < high else ""
    return f"{value:.{digits}f}{spread}"


_SHOWN = {
    "superpixels": {
        "n_superpixels": "superpixels",
        "asa": "ASA",
        "undersegmentation_error": "UE",
        "undersegmentation_error_corrected": "UE corrected",
        "boundary_recall": "boundary recall",
        "boundary_recall_2px": "... within 2 px",
        "boundary_precision": "boundary precision",
        "compactness": "compactness",
        "explained_variation": "explained variation",
        "n_fragments": "stray fragments",
    },
    "hierarchy": {
        "covering_ods": "covering ODS",
        "covering_ois": "covering OIS",
        "covering_best": "covering best",
        "pri_ods": "PRI ODS",
        "pri_ois": "PRI OIS",
        "vi_ods": "VI ODS (lower is better)",
        "vi_ois": "VI OIS (lower is better)",
        "boundary_ods_f": "boundary F ODS",
        "boundary_ois_f": "boundary F OIS",
        "boundary_ap": "boundary AP",
        "objects_parts_ods_f": "objects and parts F ODS",
        "objects_parts_ois_f": "objects and parts F OIS",
        "miou_all": "mIoU, all annotators",
        "miou_fine": "mIoU, finest annotator",
        "miou_coarse": "mIoU, coarsest annotator",
        "miou_mean": "mIoU, mean of these",
        "best_cut": "Jaccard, best cut",
        "best_node": "Jaccard, best node",
        "best_disjoint": "Jaccard, best disjoint nodes",
    },
}

Data = Annotated[str | None, typer.Option(help="Folder with BSDS500; else $SUPERCUTS_DATA, else ./data.")]
Split = Annotated[
    Literal["train", "val", "test", "train+val"], typer.Option(help="Which images; test is for reporting only.")
]
ModelName = Annotated[str | None, typer.Option("--model", help="compact, or a .safetensors file of weights.")]
Results = Annotated[
    list[Path] | None, typer.Option("--results", metavar="DIR", help="A folder of results to score; may be repeated.")
]
Form = Literal["auto", "ucm", "soft", "segmentations"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog="Example: supercuts evaluate superpixels --data data --split val",
)


@app.callback()
def evaluate() -> None:
    """Score superpixels, hierarchies, objects or parts against human annotations."""


@app.command(
    cls=Scoring,
    epilog="Example: supercuts evaluate superpixels --data data --superpixels 200 --superpixels 600 -o mine.json",
)
def superpixels(
    data: Data = None,
    split: Split = "val",
    model: ModelName = None,
    counts: Annotated[
        list[int] | None,
        typer.Option("--superpixels", min=1, metavar="N", help="Superpixels of the model; may be repeated."),
    ] = None,
    results: Results = None,
    annotators: Annotated[
        Literal["mean", "best", "worst"], typer.Option(help="How the table combines an image's annotators.")
    ] = "mean",
    out: Out = None,
    as_json: AsJson = False,
    workers: Workers = N_CORES,
    limit: Limit = None,
) -> None:
    """Score superpixels: a model's (default: compact), or label maps in folders (.png .npy .npz .mat)."""
    dataset = _open(data, split, out)
    from supercuts.evaluate import report, scorers
    from supercuts.evaluate.superpixels import SuperpixelScores
    from supercuts.networks.network import weights_path

    samples = dataset[:limit]
    compared = [
        scorers.of_model(f"{name}, {n}", samples, scorers.SuperpixelsOfModel(name, n), weights_path(name))
        for name in _models(model, results)
        for n in counts or [200, 600]
    ]
    compared += [scorers.of_folder(folder, samples, scorers.SuperpixelsOfFile) for folder in results or []]
    scored = score_all(compared, SuperpixelScores, out, workers)
    with working("computing intervals"):
        document = report.superpixel_document(report.run_facts(f"BSDS500 {split}", len(samples)), scored)
    if as_json:
        print_json(document)
    else:
        print_table(
            _SHOWN["superpixels"],
            [(e, e["figures"][annotators], e["interval_95"][annotators]) for e in with_figures(document)],
            f"BSDS500 {split}: {annotators} over annotators, then mean over images with its 95 % interval",
        )
    if out is not None:
        say_written(report.write_superpixels(out, document, scored), as_json)
    finish(scored, out)


@app.command(
    cls=Scoring,
    epilog="Example: supercuts evaluate hierarchy --data data --split val -o hierarchy.json",
)
def hierarchy(
    data: Data = None,
    split: Split = "val",
    model: ModelName = None,
    leaves: Annotated[
        int | None, typer.Option("--superpixels", min=1, metavar="N", help="Number of leaves of the hierarchies.")
    ] = None,
    merging: Merging = None,
    views: Views = None,
    results: Results = None,
    form: Annotated[Form, typer.Option(help="Form of the results; auto: by their shape.")] = "auto",
    nms: Annotated[bool, typer.Option("--nms", help="Suppress non-maxima of soft boundary maps first.")] = False,
    boundaries: Annotated[bool, typer.Option(help="Also match boundaries, which takes most of the time.")] = True,
    out: Out = None,
    as_json: AsJson = False,
    workers: Workers = N_CORES,
    limit: Limit = None,
) -> None:
    """Score hierarchies: a model's (default: compact), or files (ucm2, soft maps, segmentations, .npz)."""
    dataset = _open(data, split, out)
    from supercuts.evaluate import report, scorers
    from supercuts.evaluate.hierarchies import HierarchyScores
    from supercuts.networks.network import weights_path

    samples = dataset[:limit]
    compared = []
    for name in _models(model, results):
        settings = [str(part) for part in (name, leaves, merging, views and f"{views} views") if part is not None]
        scorer = scorers.HierarchyOfModel(name, leaves, boundaries, merging, views)
        scorer.check()
        compared.append(scorers.of_model(", ".join(settings), samples, scorer, weights_path(name)))
    of_file = scorers.HierarchyFiles(form, boundaries, nms)
    compared += [scorers.of_folder(folder, samples, of_file) for folder in results or []]
    scored = [scorers.set_aside_uneven(result) for result in score_all(compared, HierarchyScores, out, workers)]
    with working("computing intervals"):
        document = report.hierarchy_document(report.run_facts(f"BSDS500 {split}", len(samples)), scored)
    if as_json:
        print_json(document)
    else:
        print_table(
            _SHOWN["hierarchy"],
            [(entry, entry["figures"], entry["interval_95"]) for entry in with_figures(document)],
            f"BSDS500 {split}: all annotators, with 95 % intervals over images",
        )
    if out is not None:
        say_written(report.write_hierarchies(out, document, scored), as_json)
    finish(scored, out)


def _open(data: str | None, split: str, out: Path | None) -> "BSDS500":
    """Return the dataset; raise an error, before any work, if the options are wrong."""
    if out is not None:
        check_suffix("--out", out, ".json")
    from supercuts.datasets.bsds500 import BSDS500
    from supercuts.datasets.sample import data_root

    dataset = BSDS500(data_root(data), split)
    dataset.check()
    return dataset


def _models(model: str | None, results: list[Path] | None) -> list[str]:
    """Return the model to score; none if only folders of results are given."""
    return [model or "compact"] if model or not results else []
