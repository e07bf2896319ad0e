"""The command `supercuts`: its name, its options and the list of its commands."""

import io
import logging
import sys
import time
from typing import Annotated

import typer

from supercuts.cli.batch import batch
from supercuts.cli.common import Command, working
from supercuts.cli.cut import cut, export, view
from supercuts.cli.doctor import doctor
from supercuts.cli.evaluate import Scoring
from supercuts.cli.evaluate import app as evaluate
from supercuts.cli.evaluate_objects import objects as evaluate_objects
from supercuts.cli.evaluate_objects import parts as evaluate_parts
from supercuts.cli.objects import objects, parts
from supercuts.cli.refine import add_old_names
from supercuts.cli.refine import app as refine
from supercuts.cli.segment import segment
from supercuts.cli.train import calibrate, onnx, train
from supercuts.core.threads import keep_freed_memory


def warmup() -> None:
    """Compile now what the first segmentation would compile: after an editable install, or for another NUMBA_CACHE_DIR.

    An ordinary installation has compiled it already.
    """
    from supercuts.warm import compile_kernels

    start = time.perf_counter()
    with working("compiling"):
        compile_kernels()
    typer.echo(f"ready after {time.perf_counter() - start:.1f} s")


app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # keep Python's own traceback of unexpected exceptions, for bug reports
    epilog="Example: supercuts segment photo.jpg -o out && supercuts cut out/photo.npz --regions 12 -o labels.png",
)

app.command(cls=Command, epilog="Example: supercuts segment photos/ more/*.jpg -o out --superpixels 600")(segment)
app.command(cls=Command, epilog="Example: supercuts batch photos/ out --format html --workers 4")(batch)
app.command(
    cls=Command, epilog="Example: supercuts cut out/photo.npz --regions 12 -o labels.png --overlay overlay.png"
)(cut)
app.command(cls=Command, epilog="Example: supercuts export out/photo.npz --format ucm -o photo.mat")(export)
app.command(cls=Command, epilog="Example: supercuts view out/photo.npz")(view)
app.command(cls=Command, epilog="Example: supercuts objects photos/ -o out -n 3")(objects)
app.command(cls=Command, epilog="Example: supercuts parts photos/ -o out --shared --parts 6")(parts)
app.add_typer(refine, name="refine")
app.command(
    cls=Command,
    epilog="Example: supercuts train configs/ssn_dino_bsds500.yaml out=runs/first max_steps=2000 data.workers=4",
)(train)
app.command(cls=Command, epilog="Example: supercuts calibrate runs/first/model.safetensors --split val")(calibrate)
app.command(cls=Command, epilog="Example: supercuts onnx compact -o compact.onnx")(onnx)
app.command(cls=Command, epilog="Example: supercuts warmup")(warmup)
app.command(cls=Command, epilog="Example: supercuts doctor --json > doctor.json")(doctor)
add_old_names(app)
evaluate.command(
    "objects",
    cls=Scoring,
    epilog="Example: supercuts evaluate objects --dataset ecssd -o ecssd.json --sheet worst.png",
)(evaluate_objects)
evaluate.command(
    "parts",
    cls=Scoring,
    epilog="Example: supercuts evaluate parts --dataset carparts -o cars.json --sheet worst.png",
)(evaluate_parts)
app.add_typer(evaluate, name="evaluate")


def _print_version(is_asked: bool) -> bool:
    if is_asked:
        from supercuts.core.files import package_version

        typer.echo(f"supercuts {package_version()}")
        raise typer.Exit
    return is_asked


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Turn images into hierarchies of superpixels: segment once, cut at any granularity."""
    keep_freed_memory()
    if not logging.getLogger().handlers:  # without a handler, log lines of libraries go to stderr
        logging.getLogger().addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may hold characters that the terminal or UTF-8 lacks
            stream.reconfigure(errors="backslashreplace")
