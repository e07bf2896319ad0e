"""The command `supercuts`: its name, its options and the list of its commands."""

import importlib
import io
import logging
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from supercuts.cli.common import FAILED, Command, Group, Overwrite, explain, print_error, print_lines, working
from supercuts.core.files import atomic_path, check_replaceable
from supercuts.core.threads import keep_freed_memory, wait_without_spinning


def warmup() -> None:
    """Compile now what the first segmentation would compile: after an editable install, or for another NUMBA_CACHE_DIR.

    An ordinary installation has compiled it already.
    """
    from supercuts.warm import compile_kernels

    start = time.perf_counter()
    with working("compiling"):
        compile_kernels()
    print_lines(f"ready after {time.perf_counter() - start:.1f} s")


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
        content = _truth(path) if target.suffix == ".mat" else path.read_bytes()
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)
    print_lines(f"{folder}: {len(files)} files; cd {folder} && supercuts segment photo.jpg -o out")


def _truth(labels: Path) -> bytes:
    """Return a label map as BSDS500 stores the drawing of one annotator."""
    import numpy as np
    import scipy.io
    from PIL import Image

    from supercuts.metrics.boundary import thin_boundaries

    truth = np.empty((1, 1), object)
    segments = np.asarray(Image.open(labels), np.int32)
    boundaries = thin_boundaries(segments)
    truth[0, 0] = {"Segmentation": segments.astype(np.uint16), "Boundaries": boundaries.astype(np.uint8)}
    buffer = io.BytesIO()
    savemat: Any = scipy.io.savemat  # declared for names of files alone
    savemat(buffer, {"groundTruth": truth}, do_compression=True)
    return buffer.getvalue()


_SEGMENT, _USE, _LEARN, _SETUP = "Segment images", "Use a hierarchy", "Train and score", "Installation"
_COMMANDS = {  # module, panel of the help, example; in the order of the help
    "examples": ("main", _SETUP, "examples ."),
    "segment": ("segment", _SEGMENT, "segment photo.jpg photos/ -o out --superpixels 600 --resume"),
    "batch": ("batch", _SEGMENT, "batch photos/ batch --format html --workers 2"),
    "objects": ("objects", _SEGMENT, "objects photos/ -o out -n 3"),
    "parts": ("objects", _SEGMENT, "parts photos/ -o out --shared --parts 6"),
    "refine": ("refine", _SEGMENT, None),
    "info": ("cut", _USE, "info out/photo.npz"),
    "cut": ("cut", _USE, "cut out/photo.npz --regions 12 -o twelve.png --overlay overlay.png"),
    "export": ("cut", _USE, "export out/photo.npz --format ucm -o photo.mat"),
    "view": ("cut", _USE, "view out/photo.npz"),
    "train": ("train", _LEARN, "train configs/my_images.yaml out=runs/first max_steps=4 data.workers=0"),
    "calibrate": (
        "train",
        _LEARN,
        "calibrate runs/first/model.safetensors --folder data/my_images --split train --leaves 50",
    ),
    "onnx": ("train", _LEARN, "onnx compact -o compact.onnx"),
    "warmup": ("main", _SETUP, "warmup"),
    "doctor": ("doctor", _SETUP, "doctor --json > doctor.json"),
    "refine-train": ("refine", _SEGMENT, None),
    "refine-apply": ("refine", _SEGMENT, None),
    "evaluate": ("evaluate_objects", _LEARN, None),
}


class _Commands(Group):
    """Imports the module of a command when it is run or its help is shown, because all of them take long to import."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if there is none of this name."""
        for name in [cmd_name] if cmd_name in _COMMANDS else _COMMANDS:  # all, to suggest the nearest
            if name not in self.commands:
                self.commands[name] = _load(name)
        return self.commands.get(cmd_name)


def _load(name: str) -> Any:
    try:
        Path.cwd()
    except FileNotFoundError as error:  # in a removed folder, importing torch may end the process
        print_error(explain(error))
        raise typer.Exit(FAILED) from error
    module, panel, example = _COMMANDS[name]
    home = importlib.import_module(f"supercuts.cli.{module}")
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    if name.startswith("refine-"):
        home.add_old_names(app)
    elif example is None:
        app.add_typer(home.app, name=name, rich_help_panel=panel)
    else:
        app.command(cls=Command, rich_help_panel=panel, epilog=f"Example: supercuts {example}")(getattr(home, name))
    app.callback()(lambda: None)  # a group, also of one command
    group: Any = get_command(app)
    return group.commands[name]


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # keep Python's own traceback of unexpected exceptions, for bug reports
    epilog="Example: supercuts segment photo.jpg -o out && supercuts cut out/photo.npz --regions 12 -o labels.png\n\n"
    "The examples of all commands run where `supercuts examples DIR` has copied their files, in this order.",
)


def _print_version(is_asked: bool) -> bool:
    if is_asked:
        from supercuts.core.files import package_version

        print_lines(f"supercuts {package_version()}")
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
    wait_without_spinning()
    if not logging.getLogger().handlers:  # without a handler, log lines of libraries go to stderr
        logging.getLogger().addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may hold characters that the terminal or UTF-8 lacks
            stream.reconfigure(errors="backslashreplace")
