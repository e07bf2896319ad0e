import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import supercuts
from supercuts.cli import common
from supercuts.core.errors import (
    ConfigError,
    FileFormatError,
    ImageError,
    ImageWarning,
    InputError,
    MissingDependencyError,
    SuperCutsError,
)

ROOT = Path(__file__).parents[2]


def run_raising(error):
    app = typer.Typer()

    @app.command(cls=common.Command)
    def fail():
        raise error

    return CliRunner().invoke(app, [])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InputError, 2),
        (ConfigError, 2),
        (ImageError, 1),
        (FileFormatError, 1),
        (MissingDependencyError, 1),
        (SuperCutsError, 1),
    ],
)
def test_a_refusal_is_one_line_and_an_exit_code(kind, code):
    result = run_raising(kind("photo [1].jpg is " + "long " * 40 + "and damaged"))
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == "error: photo [1].jpg is " + "long " * 40 + "and damaged\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "an output cannot be written (No space left"),
        (OSError(errno.EACCES, "Permission denied", "/nowhere/a.png"), "/nowhere/a.png cannot be written (Permission"),
        (OSError(errno.ENOTDIR, "Not a directory", "/dev/null/a.png"), "/dev/null/a.png cannot be written (Not a dir"),
        (OSError(errno.ENOENT, "No such file or directory", "/no.npz"), "/no.npz cannot be read (No such file"),
        (OSError(errno.ENOENT, "No such file or directory"), "the current folder does not exist any more. Give a path"),
        (FileFormatError("a\nb\x1b[1m.npz: damaged. Give a whole one"), r"a\nb\x1b[1m.npz: damaged."),
    ],
)
def test_unwritable_paths_give_one_line_and_exit_code_1(error, message):
    result = run_raising(error)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert "Give a " in result.stderr


def test_warnings_of_images_are_notes_each_printed_once():
    app = typer.Typer()

    @app.command(cls=common.Command)
    def warn():
        for name in ("a.tif", "b.tif", "a.tif"):
            warnings.warn(f"{name}: holds pages", ImageWarning, stacklevel=1)

    result = CliRunner().invoke(app, [])
    assert result.stderr == "note: a.tif: holds pages\nnote: b.tif: holds pages\n"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("regions=9 is outside 1..4: a larger superpixels=.", "--regions 9 is outside 1..4: a larger --superpixels."),
        ("min_area=-0.5 is outside 0..inf.", "--min-area -0.5 is outside 0..inf."),
        ("cut by regions=, or bands=(1, 2, 3).", "cut by --regions, or --bands 1,2,3."),
        ('page=2 (--page 2) reads it; use format="labels".', "--page 2 reads it; use --format labels."),
        ("replace it with overwrite=True (--overwrite).", "replace it with --overwrite."),
        ("level='foo': /data/level=3/a.png, mylevel=2", "--level 'foo': /data/level=3/a.png, mylevel=2"),
        ("image=True", "image=True"),
    ],
)  # fmt: skip
def test_messages_name_options(message, expected):
    app = typer.Typer()

    @app.command(cls=common.Command)
    def fail(
        regions: int = 1, min_area: int = 0, bands: str = "", page: int = 1, overwrite: bool = False, level: str = "",
        as_format: Annotated[str, typer.Option("--format")] = "",
    ):  # fmt: skip
        raise InputError(message)

    assert CliRunner().invoke(app, []).stderr == f"error: {expected}\n"


def test_messages_keep_what_the_user_typed():
    app = typer.Typer()

    @app.command(cls=common.Command)
    def fail(file: Path, page: int = 1):
        raise FileFormatError(f"{file} cannot be read")

    assert CliRunner().invoke(app, ["page=4.png"]).stderr == "error: page=4.png cannot be read\n"


def test_every_problem_of_a_configuration_is_a_line():
    assert run_raising(ConfigError("one\ntwo")).stderr == "error: one\nerror: two\n"


def test_other_exceptions_propagate():
    result = run_raising(ZeroDivisionError("a bug"))
    assert isinstance(result.exception, ZeroDivisionError)
    assert "error:" not in result.stderr


def test_the_prefix_is_red_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    common.print_error("x")
    assert capsys.readouterr().err == "\x1b[1;31merror:\x1b[0m x\n"


def test_lists_in_messages_keep_their_lines(capsys, run, tmp_path):
    common.print_error("no x\ny.\nExpected one of\n  ROOT/a\n  ROOT/\x1bb\n- third")
    assert capsys.readouterr().err == "error: no x\\ny.\nExpected one of\n  ROOT/a\n  ROOT/\\x1bb\n- third\n"
    lines = run("evaluate", "objects", "--dataset", "ecssd", "--data", tmp_path).stderr.splitlines()
    assert lines[:2] == [f"error: No ECSSD in {tmp_path}.", "Expected one of"]
    assert all(line.startswith("  ROOT/") for line in lines[2:])
    assert len(lines) > 5


def test_names_cannot_control_the_terminal(capsys):
    common.print_lines("a\x1b[31m\nb", "c\x9b1m")
    assert capsys.readouterr().out == "a\\x1b[31m\\nb\nc\\x9b1m\n"
    common.print_json({"a\x7f": "b\x1b\x9b1m"})
    text = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert json.loads(text) == {"a\x7f": "b\x1b\x9b1m"}


def test_only_one_function_of_the_commands_prints_lines():
    """print_lines escapes names. The one other call prints the tree of `segment -`, which holds numbers alone."""
    texts = [path.read_text() for path in (ROOT / "supercuts" / "cli").glob("*.py")]
    assert sum(text.count("typer.echo(") for text in texts) == 3  # two of them in common.py


def test_a_removed_current_folder_gives_one_line(tmp_path, monkeypatch):
    """Checked with a command not yet imported, because importing in a removed folder leaves libraries half imported."""
    from supercuts.cli.main import app

    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    monkeypatch.setattr("supercuts.cli.main.importlib.import_module", None)
    for command in ("batch photos out", "refine a.png -o out"):
        result = CliRunner().invoke(app, command.split())
        assert (result.exit_code, result.stdout) == (1, "")
        message = "error: the current folder does not exist any more. Give a path in another one, after changing to it."
        assert result.stderr == f"{message}\n"


def test_read_hierarchy_restores_the_saved_hierarchy(saved):
    assert common.read_hierarchy(saved).n_leaves == 4


def test_read_hierarchy_refuses_missing_files(tmp_path):
    with pytest.raises(FileFormatError, match=r"is a folder\. Give an \.npz file written by `supercuts segment`"):
        common.read_hierarchy(tmp_path)


def test_an_image_is_not_a_hierarchy(photos):
    with pytest.raises(
        FileFormatError, match=r"a\.png is an image, not a hierarchy\. .* supercuts segment .*a\.png -o"
    ):
        common.read_hierarchy(photos / "a.png")


def test_check_suffix():
    common.check_suffix("--out", Path("a.PNG"), ".png")
    with pytest.raises(InputError, match=r"--out a\.jpg does not end in \.png\. Name it a\.png\."):
        common.check_suffix("--out", Path("a.jpg"), ".png")


@pytest.mark.parametrize("make", [common.progress, lambda: common.working("x")])
def test_progress_leaves_no_trace_without_a_terminal(capsys, make):
    with make():
        pass
    assert capsys.readouterr() == ("", "")


# three commands that a signal interrupts: between two steps, in compiled code, and one that handles Ctrl-C itself
STOPPED = """
import hashlib, sys, time
from pathlib import Path
import typer
from supercuts.cli.common import Command
from supercuts.core.files import atomic_path, scratch_folder

app = typer.Typer()

def write(work):
    with atomic_path("a.txt") as one, atomic_path("b.txt") as other, scratch_folder(Path(".")) as folder:
        Path("whole.txt").write_text("whole")
        for path in (one, other, folder / "c.txt"):
            path.write_text("half")
        print("ready", flush=True)
        work()

@app.command(cls=Command)
def steps():
    write(lambda: [time.sleep(0.01) for _ in range(10_000)])

@app.command(cls=Command)
def compiled():
    write(lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9))

@app.command(cls=Command)
def batch():
    try:
        write(lambda: time.sleep(100))
    except KeyboardInterrupt:
        print("own words", file=sys.stderr)
        raise typer.Exit(130)

@app.command(cls=Command)
def children():
    import multiprocessing
    def child():
        time.sleep(0.1)
        print("child", flush=True)
        time.sleep(100)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.terminate()  # is no signal for the command
    process.join()
    write(lambda: multiprocessing.get_context("fork").Process(target=child).start() or time.sleep(100))

app()
"""


def stop(folder, code, *arguments, numbers=(signal.SIGTERM,)):
    """Return exit code, stderr and seconds of a program that gets signals once it has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        start = time.monotonic()
        for number in numbers:
            process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        return process.returncode, stderr, time.monotonic() - start


needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals on this system")
IN_TIME = 4  # two seconds on an idle machine


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", 0)])
@pytest.mark.parametrize("command", ["steps", "compiled", "children"])
def test_signals_end_a_command_in_time_and_leave_nothing_half_written(tmp_path, command, number):
    code, stderr, seconds = stop(tmp_path, STOPPED, command, numbers=[number] * 3)
    assert code == 128 + number
    assert (
        stderr
        == f"note: stopped by {number.name}; files written so far are complete; run the command again for the rest\n"
    )
    assert seconds < IN_TIME
    assert [path.name for path in tmp_path.iterdir()] == ["whole.txt"]


@needs_signals
def test_a_command_that_answers_ctrl_c_uses_its_own_words(tmp_path):
    code, stderr, seconds = stop(tmp_path, STOPPED, "batch")
    assert (code, stderr) == (128 + signal.SIGTERM, "own words\n")
    assert seconds < IN_TIME
    assert [path.name for path in tmp_path.iterdir()] == ["whole.txt"]


@needs_signals
def test_a_signal_that_nohup_ignores_stays_ignored(tmp_path):
    code = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{STOPPED}".replace("10_000", "200")
    assert stop(tmp_path, code, "steps", numbers=[signal.SIGHUP])[:2] == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"whole.txt", "a.txt", "b.txt"}


SEGMENT = """
import sys
from supercuts.core import files
scratch = files.scratch_folder
def announced(folder):
    print("ready", flush=True)
    return scratch(folder)
files.scratch_folder = announced
from supercuts.cli.main import app
app(["segment", *sys.argv[1:]])
"""


@needs_signals
def test_segment_ends_in_time(tmp_path):
    code, stderr, seconds = stop(tmp_path, SEGMENT, str(ROOT / "examples" / "photo.jpg"), "-o", "out")
    assert code == 128 + signal.SIGTERM
    assert "note: stopped by SIGTERM" in stderr
    assert seconds < IN_TIME
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".npz"] == []


# each command runs in a fork of a program that is warm, which saves seconds each
AT_WORK = """
import os, signal, sys, time
from pathlib import Path
import torch
import supercuts
import supercuts.cli.batch, supercuts.cli.evaluate_objects, supercuts.cli.segment
from supercuts.cli.main import app

torch.set_num_threads(1)
model = supercuts.load()
h = model.segment("ECSSD/images/p00.png", 30)
model.objects(h), model.parts(h)


def start(name, arguments):
    child = os.fork()
    if not child:
        with open(f"{name}.txt", "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        app([*arguments, "-o", name] if "batch" not in arguments else arguments)
    return child


def code_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stop(name, child, number, pattern):
    while not any(Path().glob(pattern)) and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.002)
    begin = time.monotonic()
    os.kill(child, number)
    print(name, code_of(child) - number, time.monotonic() - begin, flush=True)


numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
photos = ["ECSSD/images", "--superpixels", "30"]
score = ["evaluate", "objects", "--dataset", "ecssd", "--data", ".", "--workers", "1"]
for i, arguments in enumerate([["segment", *photos, "--no-viewer"], ["objects", *photos], ["parts", *photos], score]):
    number = numbers[i % 3]
    name = arguments[0] if arguments != score else "scores.json"
    first = {"scores.json": "scores.parts/*/*.json", "segment": "segment/p*.npz"}.get(name, f"{name}/p*")
    stop(name, start(name, arguments), number, first)
# two batches on one destination at once
batch = ["batch", "ECSSD/many", "batch", "--workers", "1", "--superpixels", "30"]
running = {start(name, batch): name for name in ("batch-1", "batch-2")}
refused, status = os.wait()
print(running.pop(refused), os.waitstatus_to_exitcode(status), 0, flush=True)
((child, name),) = running.items()
stop(name, child, signal.SIGTERM, "batch/p*.npz")
"""


@needs_signals
@pytest.mark.timeout(300)
def test_signals_end_commands_at_work_and_two_batches_leave_whole_files(tmp_path):
    with Image.open(ROOT / "examples" / "photo.jpg") as image:
        crop = image.crop((60, 60, 140, 120))
    for folder, picture in (("images", crop), ("ground_truth_mask", crop.convert("1", dither=0))):
        (tmp_path / "ECSSD" / folder).mkdir(parents=True)
        picture.save(tmp_path / "ECSSD" / folder / "p00.png")
        for i in range(1, 30):
            os.link(tmp_path / "ECSSD" / folder / "p00.png", tmp_path / "ECSSD" / folder / f"p{i:02}.png")
    (tmp_path / "ECSSD" / "many").mkdir()  # a batch of 30 may end before the other is refused
    for i in range(300):
        os.link(tmp_path / "ECSSD" / "images" / "p00.png", tmp_path / "ECSSD" / "many" / f"p{i:03}.png")
    command = [sys.executable, "-W", "ignore", "-c", AT_WORK]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    said = {path.stem: path.read_text() for path in tmp_path.glob("*.txt")}
    ended = [(name, int(code), float(seconds)) for name, code, seconds in map(str.split, done.stdout.splitlines())]
    refused = next((name for name, code, _ in ended if code == 2), "")
    assert [code for _, code, _ in ended] == [128, 128, 128, 128, 2, 128], (said, done.stderr[-3000:])
    assert max(seconds for *_, seconds in ended) < IN_TIME
    assert re.fullmatch(r"error: batch: another batch is writing to it\. Wait .*\n", said.pop(refused))
    (batch,) = (said.pop(name) for name in list(said) if name.startswith("batch"))
    assert re.search(r"note: stopped with \d+ images left; run the same command to resume\n$", batch)
    remedies = {
        "segment": r"\d+ of 30 images are done, in segment; the same command with --resume does the others",
        "scores.json": "with --out, the same command resumes where it stopped",
        **dict.fromkeys(("objects", "parts"), r"\d+ of 30 images are done; run the command again on the others"),
    }
    for name, remedy in remedies.items():
        assert re.fullmatch(f"note: stopped by SIG(INT|TERM|HUP); {remedy}\n", said[name]), said[name]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parts[-3] != "ECSSD"]
    assert not [path for path in written if path.name.startswith(".")], "leftovers"
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".npz":
            supercuts.read(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
    assert {path.parent.name for path in written if path.suffix == ".npz"} == {"segment", "batch"}
