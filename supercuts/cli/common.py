"""Shared parts of the commands: options, one-line errors with exit codes, progress, reading of hierarchies."""

import atexit
import errno
import json
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

import supercuts
from supercuts.core.errors import CacheWarning, ConfigError, FileFormatError, ImageWarning, InputError, SuperCutsError
from supercuts.core.files import IMAGES, NO_SPACE, remove_unfinished

FAILED, USAGE = 1, 2
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LAYOUT = re.compile(r"\n(?=  |- |\.{3} and |(?:Expected|Get|where|or all)\b)")  # our lists
Merging = Annotated[
    str | None, typer.Option("--merging", help="How the tree is built: agglomerative (default), spectral or gnn.")
]
Views = Annotated[
    str | None,
    typer.Option("--views", help="Views of an image that are averaged: one (default), flip, or many (best)."),
]


Superpixels = Annotated[
    int | None,
    typer.Option("--superpixels", min=1, metavar="N", help="Exactly this many superpixels per image; default: 600."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Axes = Annotated[
    str | None,
    typer.Option("--axes", metavar="HWC|CHW|HW", help="Order of the axes of a .npy, or of a TIFF without axis names."),
]
Page = Annotated[
    int | None,
    typer.Option("--page", min=1, metavar="N", help="Page, frame, time or depth to read from files with several."),
]
Stretch = Annotated[
    str | None,
    typer.Option(
        "--stretch",
        metavar="none|percentile|minmax",
        help="Stretch values to the full range; default: only if they use less than a tenth of it.",
    ),
]
Bands = Annotated[
    str | None,
    typer.Option("--bands", metavar="B,B,B", help="Bands for the network, counted from 1; the others are colour."),
]


class Command(TyperCommand):
    """A command: errors of SuperCuts become a line on stderr and an exit code, its warnings become notes."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as the help shows them."""
        return _without_types(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:  # Any: the context class is private in some releases of typer
        """Run the command; other exceptions are bugs and keep their traceback."""
        set_stop_note(next((text for name, text in _GO_ON.items() if name in ctx.command_path.split()), _ANEW))
        options = {name: max(param.opts, key=len) for param in self.params for name in _keywords(param)}
        given = " ".join(map(str, ctx.params.values()))  # paths may hold words such as level=2
        _options.set({name: option for name, option in options.items() if f"{name}=" not in given})
        try:
            with _EndedBySignals(), _warnings_as_notes():
                return super().invoke(ctx)
        except SuperCutsError as error:
            # a configuration's message has one line per problem
            for problem in str(error).splitlines() if isinstance(error, ConfigError) else [str(error)]:
                print_error(problem)
            raise typer.Exit(exit_code(error)) from error
        except OSError as error:
            # without a name: a closed pipe, or a bug
            if error.filename is None and error.errno not in {*NO_SPACE, errno.ENOENT}:
                raise
            print_error(explain(error))
            raise typer.Exit(FAILED) from error


class Group(TyperGroup):
    """A group of commands, whose help names no types of flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as the help shows them."""
        return _without_types(super().get_params(ctx))


def _without_types(params: list[Any]) -> list[Any]:
    """Leave out types such as <bool> and <list[Path]> in the help: flags take no value, arguments are described."""
    for param in params:
        if param.param_type_name == "argument" or param.is_flag:
            param.display_type_rich = lambda ctx: None
    return params


_options: ContextVar[dict[str, str]] = ContextVar("options")  # by the keyword of the Python interface
_VALUE = r"""(["'][^"']*["']|\([^)]*\)|[^\s,;:)"'.]*(?:\.\d+)?)"""


def _keywords(param: Any) -> set[str]:
    """Return the keywords by which messages name a parameter of a command; none for its arguments."""
    names = [param.name, *(opt.lstrip("-").replace("-", "_") for opt in param.opts)]
    return {str(name) for name in names if len(str(name)) > 1} if param.param_type_name == "option" else set()


def own_words(message: str) -> str:
    """Return a message of the Python interface with the options of the running command in place of keywords.

    >>> own_words("segment with a larger superpixels=.")
    'segment with a larger --superpixels.'
    """
    for path, name in _shown_names.items():
        message = message.replace(path, name)
    for name, option in {"superpixels": "--superpixels", **_options.get({})}.items():
        keyword = rf"(?<![\w/\\.-]){name}={_VALUE}"
        message = re.sub(rf"{keyword} \(({option}[^)]*)\)", r"\2", message)
        message = re.sub(keyword, partial(_as_option, option), message)
    return message


def _as_option(option: str, setting: re.Match[str]) -> str:
    value = setting[1]
    if value.startswith("("):  # a tuple
        value = value[1:-1].replace(", ", ",")
    value = value.strip(chr(34))
    return option if value in ("", "True") else f"{option} {value}"


_shown_names: dict[str, str] = {}


def set_shown_name(path: Path, name: str) -> None:
    """Set the name that messages give to a temporary file."""
    _shown_names[str(path)] = name


_ANEW = "files written so far are complete; run the command again for the rest"
_GO_ON = {
    "batch": "run the same command to resume",
    "train": "run the same command to resume from the last checkpoint",
    "evaluate": "with --out, the same command resumes where it stopped",
}
_SECONDS_TO_END = 1.0
_stop_note = [_ANEW]


def set_stop_note(text: str) -> None:
    """Set the note that is printed when a signal ends the running command."""
    _stop_note[0] = text


class _EndedBySignals:
    """End a command at SIGINT, SIGTERM or SIGHUP: as Ctrl-C does, or by force if that takes longer than a second.

    The interpreter handles signals only between two steps of its main thread, and compiled code may take long.
    """

    def __init__(self) -> None:
        known = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        is_main = threading.current_thread() is threading.main_thread()
        # nohup makes a process ignore SIGHUP, a shell makes background jobs ignore SIGINT
        self.numbers = [n for n in known if is_main and signal.getsignal(n) not in (signal.SIG_IGN, None)]
        self.received = 0
        self.is_done = threading.Event()

    def __enter__(self) -> None:
        atexit.register(self._leave)  # registered before all others, so called after them
        if not self.numbers:
            return
        self.read, self.write = os.pipe()
        os.set_blocking(self.write, False)
        self.before = signal.set_wakeup_fd(self.write, warn_on_full_buffer=False)
        self.handlers = {number: signal.signal(number, self._interrupt) for number in self.numbers}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._begin_child)
        threading.Thread(target=self._end_in_time, daemon=True).start()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self.numbers:
            self._restore()
            self.is_done.set()
            os.close(self.write)
        if not self.received:
            atexit.unregister(self._leave)
            return
        _clean_up()
        if not isinstance(error, typer.Exit):  # a command that handles Ctrl-C itself ends with Exit
            print_note(self._message(self.received))
        raise typer.Exit(128 + self.received)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.received:  # more signals would disturb the cleaning up
            return
        self.received = number
        # exceptions cannot be raised around a fork: the second thread ends the process
        hooks = (self._hold.__code__, self._release.__code__)
        if not any(caller.f_code in hooks for caller, _ in traceback.walk_stack(frame)):
            raise KeyboardInterrupt

    def _restore(self) -> None:
        if not self.is_done.is_set():
            for number, handler in self.handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self.before)

    def _hold(self) -> None:
        # block signals: one that a child gets before it has its own handlers would appear to be the parent's
        self.mask = None if self.is_done.is_set() else signal.pthread_sigmask(signal.SIG_BLOCK, self.numbers)

    def _release(self) -> None:
        if self.mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def _begin_child(self) -> None:
        self._restore()
        self._release()

    def _end_in_time(self) -> None:
        """Wait for a signal; end the process and its children unless the main thread is done soon after."""
        number = -1
        while number and number not in self.numbers:
            number = (os.read(self.read, 1) or b"\0")[0]  # 0: the other end is closed
        if not number or self.is_done.wait(_SECONDS_TO_END):
            os.close(self.read)
            return
        _clean_up()
        with suppress(OSError):
            os.write(2, f"note: {self._message(number)}\n".encode())
        os._exit(128 + number)

    def _message(self, number: int) -> str:
        return f"stopped by {signal.Signals(number).name}; {_stop_note[0]}"

    def _leave(self) -> None:
        if self.received:  # skip freeing memory, which takes seconds
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(128 + self.received)


def _clean_up() -> None:
    remove_unfinished()
    if "multiprocessing" in sys.modules:  # it would wait for its children
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()


_REMEDIES = {
    errno.EISDIR: "Give the path of a file, not of a folder",
    errno.ENOTEMPTY: "Give the path of a file, not of a folder",
    errno.ENAMETOOLONG: "Give a shorter name",
}


def explain(error: Exception, source: object = "") -> str:
    """Return the error in one line, with the remedy; `source` is the image that it concerns."""
    message = own_words(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None and error.errno == errno.ENOENT:  # from os.getcwd
            return "the current folder does not exist any more. Give a path in another one, after changing to it."
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else "an output"
        is_there = os.path.exists(path)  # noqa: PTH110 (a name too long is not an error)
        reason = error.strerror or message
        if (is_there and not os.access(path, os.R_OK)) or (error.errno == errno.ENOENT and Path(path).parent.is_dir()):
            message = f"{path} cannot be read ({reason}). Give a readable file."
        else:
            remedy = _REMEDIES.get(error.errno, "Give a writable path with free space")
            message = f"{path} cannot be written ({reason}). {remedy}."
    return message if str(source) in message else f"{source}: {message}"


def check_writable(path: Path) -> None:
    """Raise OSError, before any work, if a file can evidently not be written."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    folder = next((folder for folder in path.absolute().parents if os.path.lexists(folder)), path.absolute().parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def make_folder(out: Path, files: Iterable[Path]) -> None:
    """Create the folder --out for these files; raise OSError if one of them can evidently not be written."""
    if out.suffix.lower() in (".npz", ".html", *IMAGES) and not out.exists():
        raise InputError(f"--out {out} is the folder to write to, but has a file's name. Give {out.with_suffix('')}.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be created ({error.strerror}). Give a writable folder.") from error
    for path in files:
        check_writable(path)


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print our own warnings as notes; warnings of other libraries stay unchanged."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(PIL|tifffile|rasterio|pyogrio)\b")  # on files that are read anyway
        warnings.filterwarnings("ignore", module=r"joblib\._multiprocessing_helpers")  # no /dev/shm: not needed
        warnings.simplefilter("always", ImageWarning)
        show = warnings.showwarning
        shown = set[str]()

        def show_note(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, ImageWarning | CacheWarning):
                if str(message) not in shown:  # a folder may be listed for each split
                    print_note(str(message))
                shown.add(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = show_note
        yield


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers in a list such as 4,3,2.

    >>> parse_bands("4,3,2")
    (4, 3, 2)
    """
    if text is None:
        return None
    try:
        return tuple(int(band) for band in text.split(","))
    except ValueError:
        raise InputError(f"--bands {text!r} is not a list of whole numbers. Give it as --bands 4,3,2.") from None


def check_reading(axes: str | None, stretch: str | None) -> None:
    """Raise InputError, before any image is read, if the order of axes or the stretch does not exist."""
    from supercuts.images.raster import ReadOptions, check_options

    check_options(ReadOptions(axes, stretch=stretch))


def exit_code(error: SuperCutsError) -> int:
    """Return 2 for a wrong option or configuration, 1 for files that cannot be processed or written."""
    cause = error.__cause__
    # an address that does not answer (without errno) is a wrong configuration
    is_refused_by_system = isinstance(cause, OSError) and cause.errno not in (None, errno.ETIMEDOUT)
    return USAGE if isinstance(error, InputError | ConfigError) and not is_refused_by_system else FAILED


def print_error(message: str) -> None:
    """Write the message to stderr behind a red "error:"."""
    _print_line("error:", "bold red", message)


def print_note(message: str) -> None:
    """Write a remark that is not an error to stderr."""
    _print_line("note:", "yellow", message)


def one_line(text: str) -> str:
    r"""Return a text, such as a name of a file, with escapes in place of characters that control a terminal.

    >>> print(one_line("a\nb\x1b[31m"))
    a\nb\x1b[31m
    """
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def print_lines(*lines: str, err: bool = False) -> None:
    """Write the results of a command to stdout, one in each line."""
    typer.echo("\n".join(map(one_line, lines)), err=err)


def print_json(document: object) -> None:
    """Write the JSON document of a command to stdout; NaN and infinity become null."""
    standard = json.loads(json.dumps(document), parse_constant=lambda _: None)
    is_unicode = "utf" in (getattr(sys.stdout, "encoding", None) or "")  # elsewhere, click would replace names by ??
    text = json.dumps(standard, indent=2, ensure_ascii=not is_unicode)
    typer.echo(re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text))  # they control a terminal


def progress() -> Progress:
    """Return a progress bar on stderr, shown only in a terminal and removed when done; stdout holds only results."""
    columns: tuple[ProgressColumn, ...] = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),  # a file name may hold brackets
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def working(description: str) -> AbstractContextManager[object]:
    """Show a spinner on stderr while the block runs, only in a terminal."""
    console = Console(stderr=True)
    return console.status(Text(description)) if console.is_terminal else nullcontext()


def read_hierarchy(path: Path) -> "supercuts.Hierarchy":
    """Read an .npz that segment wrote; raise FileFormatError if it is missing or damaged."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise FileFormatError(f"{path}: {problem}. Give an .npz file written by `supercuts segment` or Hierarchy.save.")
    return supercuts.read(path)


def check_suffix(option: str, path: Path, suffix: str) -> None:
    """Raise an error, before any work, if an output path has another suffix or cannot be written."""
    if path.suffix.lower() != suffix:
        raise InputError(f"{option} {path} does not end in {suffix}. Name it {path.with_suffix(suffix)}.")
    check_writable(path)


def _print_line(prefix: str, style: str, line: str) -> None:
    """Print a message to stderr: brackets in a path are not markup, names break no line, and no line is wrapped."""
    shown = "\n".join(map(one_line, _LAYOUT.split(own_words(line))))
    Console(stderr=True).print(Text.assemble((prefix, style), " ", shown), soft_wrap=True)
