"""The command `supercuts`: its name, its options and the list of its commands."""

import io
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from supercuts.cli.batch import batch
from supercuts.cli.common import Command, Group, Overwrite, working
from supercuts.cli.cut import cut, export, info, view
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
from supercuts.core.files import check_replaceable
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


def examples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to copy to; created if needed.")],
    overwrite: Overwrite = False,
) -> None:
    """Copy a photograph, configurations and small sample data, on which the example of every command runs."""
    package = Path(__file__).parents[1]
    roots = (package / "examples", package.parent / "examples", package.parent)  # the last two are of a checkout
    files: dict[Path, Path] = {}
    for name in ("configs", "data", "photo.jpg", "photos"):
        source = next(root / name for root in roots if (root / name).exists())
        paths = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
        files |= {path: folder / name / path.relative_to(source) for path in paths}
    files = {path: to.with_suffix(".mat") if "groundTruth" in path.parts else to for path, to in files.items()}
    for target in files.values():
        check_replaceable(target, overwrite)
    for path, target in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".mat":
            _write_truth(path, target)
        else:
            shutil.copyfile(path, target)
    typer.echo(f"{folder}: {len(files)} files; cd {folder} && supercuts segment photo.jpg -o out")


def _write_truth(labels: Path, target: Path) -> None:
    """Write a label map as BSDS500 stores the drawing of one annotator."""
    import numpy as np
    import scipy.io
    from PIL import Image

    from supercuts.metrics.boundary import thin_boundaries

    truth = np.empty((1, 1), object)
    segments = np.asarray(Image.open(labels), np.int32)
    boundaries = thin_boundaries(segments)
    truth[0, 0] = {"Segmentation": segments.astype(np.uint16), "Boundaries": boundaries.astype(np.uint8)}
    scipy.io.savemat(target, {"groundTruth": truth}, do_compression=True)


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # keep Python's own traceback of unexpected exceptions, for bug reports
    epilog="Example: supercuts segment photo.jpg -o out && supercuts cut out/photo.npz --regions 12 -o labels.png\n\n"
    "The examples of all commands run where `supercuts examples DIR` has copied their files, in this order.",
)


def _add(panel: str, command: Callable[..., None], example: str) -> None:
    app.command(cls=Command, rich_help_panel=panel, epilog=f"Example: supercuts {example}")(command)


_SEGMENT, _USE, _LEARN, _SETUP = "Segment images", "Use a hierarchy", "Train and score", "Installation"
_add(_SETUP, examples, "examples .")
_add(_SEGMENT, segment, "segment photo.jpg photos/ -o out --superpixels 600 --resume")
_add(_SEGMENT, batch, "batch photos/ batch --format html --workers 2")
_add(_SEGMENT, objects, "objects photos/ -o out -n 3")
_add(_SEGMENT, parts, "parts photos/ -o out --shared --parts 6")
app.add_typer(refine, name="refine", rich_help_panel=_SEGMENT)
_add(_USE, info, "info out/photo.npz")
_add(_USE, cut, "cut out/photo.npz --regions 12 -o twelve.png --overlay overlay.png")
_add(_USE, export, "export out/photo.npz --format ucm -o photo.mat")
_add(_USE, view, "view out/photo.npz")
_add(_LEARN, train, "train configs/my_images.yaml out=runs/first max_steps=4 data.workers=0")
_add(_LEARN, calibrate, "calibrate runs/first/model.safetensors --folder data/my_images --split train --leaves 50")
_add(_LEARN, onnx, "onnx compact -o compact.onnx")
_add(_SETUP, warmup, "warmup")
_add(_SETUP, doctor, "doctor --json > doctor.json")
add_old_names(app)
evaluate.command(
    "objects",
    cls=Scoring,
    epilog="Example: supercuts evaluate objects --dataset ecssd --data data -o ecssd.json --sheet worst.png",
)(evaluate_objects)
evaluate.command(
    "parts",
    cls=Scoring,
    epilog="Example: supercuts evaluate parts --dataset carparts --data data -o cars.json --sheet worst_parts.png",
)(evaluate_parts)
app.add_typer(evaluate, name="evaluate", rich_help_panel=_LEARN)


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
