"""`supercuts batch`: any number of images into a folder of hierarchies, resumable."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from supercuts.batch.outputs import ALSO
from supercuts.batch.sources import Settings, find_sources, is_url, leave_out_outputs
from supercuts.cli.common import (
    FAILED,
    Axes,
    Bands,
    Merging,
    Page,
    Stretch,
    Superpixels,
    Views,
    one_line,
    own_words,
    parse_bands,
    print_error,
    print_json,
    print_lines,
    print_note,
    progress,
)
from supercuts.core.errors import InputError

if TYPE_CHECKING:
    from supercuts.batch.run import Report

INTERRUPTED = 130
_SHOWN = 20  # failures shown in the table; the file lists all


def batch(
    src: Annotated[
        str, typer.Argument(metavar="SRC", help="A folder, glob, .txt list, image, or fsspec URL of these.")
    ],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write to; created if needed.")],
    model: Annotated[str, typer.Option(help="compact, or a .safetensors file of weights.")] = "compact",
    superpixels: Superpixels = None,
    merging: Merging = None,
    views: Views = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help=f"Also write {', '.join(ALSO)}; may be repeated.")
    ] = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Also write pictures of the superpixels and levels.")
    ] = False,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Mask image, nonzero where pixels are valid, for all images; or a folder of NAME.png.",
        ),
    ] = None,
    bands: Bands = None,
    axes: Axes = None,
    page: Page = None,
    stretch: Stretch = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes (with ray: of actors); default: the physical cores.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local: processes on this machine; ray: actors of a Ray cluster.")
    ] = "local",
    gpus: Annotated[
        float | None, typer.Option(min=0, help="With ray: number of GPUs per actor; default: 1 if the cluster has any.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Process all images again, even those finished and unchanged.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
) -> None:
    """Segment any number of images by several processes; started again, it resumes where it stopped."""
    from supercuts.batch.run import Engine, run_batch

    if is_url(str(dst)) or ":/" in str(dst):
        raise InputError(
            f"{dst} is not a folder on this machine. Write to a local folder, or to one where the store is mounted."
        )
    settings = Settings(
        model,
        superpixels,
        merging,
        views,
        tuple(formats or ()),
        overlays,
        None if mask is None else str(mask.resolve()),
        parse_bands(bands),
        axes,
        page,
        stretch,
    )
    runner = Engine(engine, workers, gpus=gpus)
    try:
        sources = leave_out_outputs(find_sources(src), dst)
        with progress() as bar:
            task = bar.add_task("starting", total=len(sources))
            report = run_batch(
                sources,
                dst,
                settings,
                runner,
                force,
                lambda _s, _r, now: bar.update(task, advance=1, description=_count(now)),
            )
    except KeyboardInterrupt:  # before any image was started
        print_note("stopped before the first image; run the same command to resume")
        raise typer.Exit(INTERRUPTED) from None
    _print_report(report, dst, as_json)


def _count(report: "Report") -> str:
    counts: dict[str, list[Any]] = {"done": report.done, "unchanged": report.unchanged, "failed": report.failures}
    return ", ".join(f"{len(names)} {label}" for label, names in counts.items() if names or label == "done")


def _print_report(report: "Report", dst: Path, as_json: bool) -> None:
    """Print the results; exit with the matching code if images failed or remain."""
    from supercuts.batch.run import FAILURES

    if as_json:
        print_json(
            {
                "done": report.done,
                "unchanged": report.unchanged,
                "failures": [
                    {"source": failure.source, "error": failure.error, "message": failure.message}
                    for failure in report.failures
                ],
                "remaining": report.remaining,
                "stopped": report.stopped,
                **({"notes": report.notes} if report.notes else {}),
            }
        )
    else:
        print_lines(f"{_count(report)} of {report.total}; written to {dst}")
    for note in report.notes[:_SHOWN]:
        print_note(note)
    if len(report.notes) > _SHOWN:
        print_note(f"and {len(report.notes) - _SHOWN} more of these")
    if report.failures:
        if not as_json:
            _print_failures(report)
        print_error(f"{len(report.failures)} of {report.total} images failed; {dst / FAILURES} lists them")
    if report.is_interrupted:
        print_note(f"stopped with {report.remaining} images left; run the same command to resume")
        raise typer.Exit(INTERRUPTED)
    if report.stopped:
        print_error(f"{report.stopped} {report.remaining} of {report.total} images are left.")
    if report.stopped or report.failures:
        raise typer.Exit(FAILED)


def _print_failures(report: "Report") -> None:
    table = Table("image", "error", "message", title=None)
    for failure in report.failures[:_SHOWN]:
        message = one_line(own_words(failure.message.removeprefix(f"{failure.source}: ")))
        table.add_row(Text(one_line(failure.source), overflow="fold"), failure.error, Text(message, overflow="fold"))
    if len(report.failures) > _SHOWN:
        table.caption = f"and {len(report.failures) - _SHOWN} more"
    Console(stderr=True).print(table)
