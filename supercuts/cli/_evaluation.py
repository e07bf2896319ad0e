"""What the commands of `supercuts evaluate` share: options, the run of all images, the table of figures.

In   Methods to be scored, documents of figures
Out  MethodResults, lines on stdout, the exit code of a run in which images failed
Not  no command, no dataset, no metric
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from supercuts.cli.common import FAILED, print_error, print_note, progress

if TYPE_CHECKING:
    from supercuts.evaluate.methods import Method, MethodResult

_Score = TypeVar("_Score")
N_CORES = os.cpu_count() or 1
Out = Annotated[
    Path | None, typer.Option("--json", metavar="OUT.json", help="Write every figure here, and CSV tables beside it.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes; all cores unless given.", show_default=False)]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")]


def score_all(
    compared: Sequence["Method[_Score]"], kind: type[_Score], out: Path | None, workers: int
) -> list["MethodResult[_Score]"]:
    """Score all methods behind a progress bar; with --json, what is done is kept until the whole run is."""
    from supercuts.evaluate.methods import score_methods
    from supercuts.evaluate.run import Store

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
    """Name every image that has no score; the finished parts are kept only while some image lacks one."""
    for result in scored:
        for name, why in result.failures.items():
            print_error(f"{result.method}: image {name}: {why}")
        if result.failures:
            print_error(f"{result.method}: {len(result.scores)} of {result.n_images} images scored")
    if any(result.failures for result in scored):
        raise typer.Exit(FAILED)
    if out is not None:
        from supercuts.evaluate.run import clear

        clear(_parts(out))


def say_written(paths: Sequence[Path]) -> None:
    typer.echo("wrote " + ", ".join(str(path) for path in paths))


def print_table(
    labels: Mapping[str, str],
    columns: Sequence[tuple[Mapping[str, Any], Mapping[str, float], Mapping[str, tuple[float, float]]]],
    caption: str,
) -> None:
    """Print one row per figure and one column per method."""
    table = Table(caption=caption, caption_justify="left")
    table.add_column("score")
    for entry, _, _ in columns:
        table.add_column(entry["method"], justify="right", overflow="fold")
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
