import contextlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import scipy.io
from PIL import Image

import supercuts
from supercuts.batch.outputs import suffixes
from supercuts.core.files import package_version
from supercuts.datasets.bsds500 import BSDS500
from supercuts.export.export_formats import FORMATS
from supercuts.images.georeference import Georeference
from supercuts.refine.runs import SUFFIXES
from supercuts.selftaught.learned import make_learned, save_learned
from supercuts.selftaught.wnet import WNetConfig

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "examples",
    "segment",
    "batch",
    "info",
    "cut",
    "export",
    "view",
    "objects",
    "parts",
    "refine",
    "train",
    "calibrate",
    "onnx",
    "warmup",
    "doctor",
    "evaluate",
)
OF_GROUPS = (
    *(f"refine {name}" for name in ("fit", "train", "apply")),
    *(f"evaluate {name}" for name in ("superpixels", "hierarchy", "objects", "parts")),
)
HEAVY = ("torch", "numba", "skimage", "scipy", "numpy", "timm", "lightning")


def run_process(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_lists_the_commands(run):
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, *OF_GROUPS])
def test_every_command_shows_an_example(run, command):
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: supercuts {command} " in result.stdout


def test_commands_are_listed_in_groups(run):
    lines = run("--help").stdout.splitlines()
    titles = [line.split("─ ")[1].split(" ─")[0] for line in lines if line.startswith("╭─ ")]
    assert titles == ["Options", "Installation", "Segment images", "Use a hierarchy", "Train and score"]


@pytest.mark.parametrize("command", ["segment", "batch", "view", "objects", "parts"])
def test_help_shows_the_number_of_superpixels(run, command):
    assert "default: 600" in " ".join(run(command, "--help").stdout.replace("│", " ").split())


def test_examples_are_copied_once(run, tmp_path):
    result = run("examples", tmp_path / "mine")
    assert result.exit_code == 0
    assert result.stdout.endswith(" && supercuts segment photo.jpg -o out\n")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"configs", "data", "photo.jpg", "photos"}
    (truth,) = BSDS500(tmp_path / "mine/data", "val")[0].truths
    stored = np.asarray(Image.open(ROOT / "examples/data/BSDS500/data/groundTruth/val/1.png"))
    np.testing.assert_array_equal(truth, stored - 1)
    (tmp_path / "mine/photo.jpg").write_bytes(b"mine")
    again = run("examples", tmp_path / "mine")
    assert again.exit_code == 2
    assert again.stderr.endswith(" exists: choose another path, or replace it with --overwrite.\n")
    assert (tmp_path / "mine/photo.jpg").read_bytes() == b"mine"
    assert run("examples", tmp_path / "mine", "--overwrite").exit_code == 0
    assert (tmp_path / "mine/photo.jpg").read_bytes() != b"mine"


def test_examples_that_do_not_fit_are_named_and_not_left_half_written(run, tmp_path):
    resource = pytest.importorskip("resource")
    before, out = resource.getrlimit(resource.RLIMIT_FSIZE), tmp_path / "mine"
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))  # like a full disk
    result = run("examples", out)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 1
    assert re.fullmatch(rf"error: {re.escape(str(out))}\S+ cannot be written \(File too large\).*\n", result.stderr)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if path.stat().st_size >= 6000 or path.name.startswith(".")]


def test_version(run):
    assert run("--version").stdout == f"supercuts {package_version()}\n"


@pytest.mark.parametrize("command", ["", "segment", "refine", "refine fit", "evaluate objects"])
def test_h_is_short_for_help(run, command):
    assert run(*command.split(), "-h").stdout == run(*command.split(), "--help").stdout != ""


@pytest.mark.parametrize("command", ["", "segment", "refine", "refine fit", "evaluate", "export"])
def test_help_shows_no_type_of_flags_and_arguments(run, command):
    text = run(*command.split(), "--help").stdout
    assert "bool" not in text
    assert "list[" not in text.replace("<list[str]>", "")


def test_completion_can_be_installed(run):
    assert "--install-completion" in run("--help").stdout
    done = subprocess.run(
        [sys.executable, "-c", "from supercuts.cli.main import app; app(prog_name='supercuts')"],
        cwd=ROOT,
        env={**os.environ, "_SUPERCUTS_COMPLETE": "complete_bash", "COMP_WORDS": "supercuts doc", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["doctor"], done.stderr


def test_unknown_command_is_a_usage_error(run):
    result = run("segmnt")
    assert result.exit_code == 2
    assert "segmnt" in result.stderr
    assert result.stdout == ""


def test_help_imports_nothing_heavy():
    code = f"""
import sys, typer.main, supercuts.cli.main
group = typer.main.get_command(supercuts.cli.main.app)
names = [name for name in group.list_commands(None) if group.get_command(None, name)]
print(len(names) > 15, sorted({set(HEAVY)} & set(sys.modules)))
"""
    done = run_process("-c", code)
    assert done.stdout.strip() == "True []", done.stderr


def test_commands_that_read_a_hierarchy_start_without_numba(saved, tmp_path):
    """Importing numba and loading the first of its compiled functions takes as long as all else that they do."""
    code = f"""
import os, sys
from supercuts.cli.main import app
os.chdir({str(tmp_path)!r})
for command in ["info", "cut --regions 3 -o cut.png", "view -o page.html", "export -o labels.png"]:
    name, *options = command.split()
    app([name, {str(saved)!r}, *options], standalone_mode=False)
heavy = {{"numba", "torch", "scipy", "skimage", "pandas", "rasterio", "tifffile", "supercuts.cli.batch"}}
print(sorted(heavy & set(sys.modules)), len(sys.modules) < 700)
"""
    done = run_process("-c", code)
    assert done.stdout.splitlines()[-1:] == ["[] True"], done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"cut.png", "page.html", "labels.png"}


def test_runs_as_a_module_and_a_refusal_has_no_traceback(tmp_path):
    done = run_process("-m", "supercuts", "cut", str(tmp_path / "no.npz"), "--regions", "2", "-o", "labels.png")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {tmp_path / 'no.npz'}: no such file. Give an .npz file written by `supercuts segment` or "
        "Hierarchy.save.\n"
    )


def test_says_how_long_it_took(run):
    result = run("warmup")
    assert result.exit_code == 0
    assert result.stdout.startswith("ready after ")


def test_log_lines_and_warnings_of_libraries_do_not_reach_stderr(tmp_path):
    code = (
        "import sys, logging, warnings; from supercuts.cli import cut, main; h = cut.read_hierarchy\n"
        "def read(path):\n"
        "    for name in ('rasterio', 'tifffile', 'PIL', 'matplotlib', 'lightning'):\n"
        "        logging.getLogger(name + '.part').warning('a log line')\n"
        "    warnings.warn_explicit('corrupt EXIF', UserWarning, 'x.py', 1, module='PIL.Image')\n"
        "    return h(path)\n"
        "cut.read_hierarchy = read\n"
        f"sys.argv = ['supercuts', 'cut', {str(tmp_path / 'no.npz')!r}, '--regions', '2', '-o', 'a.png']\n"
        "main.app()"
    )
    done = run_process("-c", code)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'no.npz'}: no such file. ")
    assert done.stderr.count("\n") == 1


def test_commands_wait_without_spinning(run, monkeypatch):
    calls = []
    monkeypatch.setattr("supercuts.cli.main.wait_without_spinning", lambda: calls.append(True))
    run("cut", "nowhere.npz", "--regions", "2", "-o", "labels.png")
    assert calls == [True]


def test_commands_keep_freed_memory(run, monkeypatch):
    calls = []
    monkeypatch.setattr("supercuts.cli.main.keep_freed_memory", lambda: calls.append(True))
    run("--version")
    assert calls == []
    run("cut", "nowhere.npz", "--regions", "2", "-o", "labels.png")
    assert calls == [True]


@pytest.fixture
def commands(tmp_path, saved, photos):
    """Return arguments by command, with {} for the output, and the names of the files that are written."""
    save_learned(tmp_path / "learned.safetensors", make_learned(WNetConfig(classes=3, widths=(2, 2))))
    segment = [f"a{suffix}" for suffix in suffixes(["html"], overlays=True)]
    few = "--method st n_features=8 n_classes=6 epochs=1 min_classes=0"
    photo = photos / "a.png"
    return {
        "cut": (f"cut {saved} --regions 2 -o {{}}.png", []),
        "cut --overlay": (f"cut {saved} --regions 2 -o {tmp_path}/cut.png --overlay {{}}.png", []),
        "view": (f"view {saved} --no-open -o {{}}.html", []),
        "segment": (f"segment {photo} --superpixels 20 -o {{}}", segment),
        "objects": (
            f"objects {photo} --superpixels 20 -o {{}}",
            ["a_objects.png", "a_objects_panel.png", "a_objects.json"],
        ),
        "parts": (f"parts {photo} --superpixels 20 -o {{}}", ["a_parts.png", "a_parts_panel.png", "a_parts.json"]),
        "refine": (f"refine {photo} -o {{}} {few}", [f"a{suffix}" for suffix in SUFFIXES]),
        "refine apply": (
            f"refine apply {tmp_path}/learned.safetensors {photo} --superpixels 9 -o {{}}",
            ["a.npz", "a_labels.png", "a_colors.png"],
        ),
        **{f"export {name}": (f"export {saved} --format {name} -o {{}}{FORMATS[name].suffix}", []) for name in FORMATS},
    }


OUTPUTS = (
    *("cut", "cut --overlay", "view", "segment", "objects", "parts", "refine", "refine apply"),
    *(f"export {name}" for name in FORMATS if name != "geotiff"),  # needs a map, and is written like labels
)


@contextlib.contextmanager
def full_disk(n_bytes):
    """Let no file grow beyond this size, as on a disk that becomes full."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "config.yaml"}


def check_refused(run, folder, command, asked):
    """Check that a command prints a line that names the path, and leaves all files unchanged."""
    before = files_below(folder)
    result = run(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    *_, line = (line for line in result.stderr.splitlines() if " images failed" not in line)
    assert line.startswith("error: ")
    assert any(str(path) in line for path in asked), line
    assert re.search(r" cannot be (written|created) \(.+\)\. Give (a|the) |is a folder and .*: give ", line), line
    assert files_below(folder) == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_that_cannot_be_written_are_named_and_leave_nothing(run, commands, tmp_path, name):
    pattern, files = commands[name]
    given = pattern.format(tmp_path / "out").split()
    assert run(*given).exit_code == 0  # so that all is compiled before the disk is full
    output = Path(next(part for part in given if part.startswith(str(tmp_path / "out"))))
    (tmp_path / "file").write_text("mine")
    overwrite = ["--overwrite"] if name.startswith(("export", "cut", "view", "refine")) else []
    for below in (tmp_path / "file", Path("/proc/nowhere")):  # a file where a folder should be, and no permission
        command = [*pattern.format(below / "out").split(), *overwrite]
        check_refused(run, tmp_path, command, [below / output.relative_to(tmp_path)])
    for file in files[:1] + files[-1:] or [""]:
        place = tmp_path / "way" / output.relative_to(tmp_path) / file
        (place / "in the way").mkdir(parents=True)
        (place / "in the way" / "mine.txt").write_text("mine")
        if "masks" not in name and "zarr" not in name:  # folders, which are refused because another format wrote them
            check_refused(run, tmp_path, [*pattern.format(tmp_path / "way" / "out").split(), *overwrite], [place])
        shutil.rmtree(tmp_path / "way")
    command = [*pattern.format(tmp_path / "full" / "out").split(), *overwrite]
    written = files_below(output) if output.is_dir() else {output: output.read_bytes()}
    largest = max(map(len, written.values()))
    # the second limit lets smaller files pass; SQLite reserves pages that it can do without
    for n_bytes in (24, largest // 2 if "gpkg" in name else largest - 1):
        with full_disk(n_bytes):
            full = tmp_path / "full" / output.relative_to(tmp_path)
            check_refused(run, tmp_path, command, [full, tmp_path / "cut.png"])
    assert run(*command).exit_code == 0


@pytest.fixture(scope="module")
def hierarchies():
    """Return hierarchies of every kind by name, of images of up to 12 x 20 pixels."""
    model = supercuts.load(engine="quick")
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8), np.ones((4, 5, 1), np.uint8))
    inside = np.arange(20) > 4 + np.zeros((12, 1))
    place = Georeference((2, 0, 5e5, 0, -2, 5e6), "EPSG:32632")
    masked = model.segment(pixels, superpixels=9, mask=inside)
    return {
        "map, mask and edits": replace(masked, georeference=place).merge(0, 3).lock(2).split(masked.n_nodes - 1),
        "one leaf": model.segment(pixels, superpixels=1),
        "one row": replace(model.segment(pixels[:1], superpixels=5), georeference=replace(place, crs=None)),
        "one column": model.segment(pixels[:, :1], superpixels=4),
        "one pixel": model.segment(pixels, mask=np.indices(inside.shape).sum(axis=0) == 0),
        "no levels": replace(masked, levels={}),
    }


# names of the hierarchies that these options cannot take
REFUSED = {
    "--level object": ["no levels"],
    "--format geotiff": ["one leaf"],
    "--format linkage": ["one leaf"],
}


def test_every_command_takes_every_hierarchy(run, hierarchies, tmp_path):
    files = {name: tmp_path / "in" / f"[{name}] \udce9~.npz" for name in hierarchies}
    for name, path in files.items():
        hierarchies[name].save(path)
    views = ("--granularity 1", "--level object", "--altitude 0.5 --min-area 3 --start 1", "--spectral 0")
    commands = [f"cut --overlay {{}}_o.png -o {{}}.png {view}" for view in views]
    commands += [f"export --format {name} -o {{}}{format.suffix}" for name, format in FORMATS.items()]
    commands += ["view --no-open -o {}.html", "info"]
    for number, command in enumerate(commands):
        refused = next((names for options, names in REFUSED.items() if options in command), [])
        for name, path in list(files.items())[: 2 if command.startswith("export") else None]:
            out = tmp_path / f"out{number}" / path.stem
            result = run(*(part.format(out) for part in command.split()), path)
            actual = (result.exit_code, result.stderr.count("\n"), result.stderr.startswith("error: "))
            assert actual == ((2, 1, True) if name in refused else (0, 0, False)), f"{command}, {name}: {result.stderr}"
    for command in ("objects", "parts"):
        result = run(command, *files.values(), "-o", tmp_path / command, "--json")
        assert (result.exit_code, result.stderr) == (0, "")
    for name, h in hierarchies.items():
        stem = files[name].stem
        cut = np.asarray(Image.open(tmp_path / "out0" / f"{stem}.png"))
        np.testing.assert_array_equal(np.where(h.labels < 0, 2**16 - 1, h.cut(granularity=1)), cut)
        for command in ("objects", "parts"):
            actual = np.asarray(Image.open(tmp_path / command / f"{stem}_{command}.png"))
            assert (actual.shape, actual.max() > 0, actual[h.labels < 0].any()) == (h.shape, True, False)
    assert run("view", tmp_path / "in", "--no-open", "-o", tmp_path / "views").exit_code == 0
    sheet = (tmp_path / "views" / "index.html").read_text("utf-8")
    assert all(f'href="{quote(os.fsencode(path.stem))}.html"' in sheet for path in files.values())


def test_every_hierarchy_is_scored(run, hierarchies, tmp_path):
    data = tmp_path / "BSDS500" / "data"
    for folder in ("images", "groundTruth"):
        (data / folder / "val").mkdir(parents=True)
    for number, h in enumerate(hierarchies.values()):
        truth = np.empty((1, 1), object)
        truth[0, 0] = {"Segmentation": np.ones(h.shape, np.uint16), "Boundaries": np.zeros(h.shape, np.uint8)}
        Image.fromarray(h.image).save(data / "images" / "val" / f"{number}.jpg")
        scipy.io.savemat(data / "groundTruth" / "val" / f"{number}.mat", {"groundTruth": truth})
        h.save(tmp_path / "[results] \udce9" / f"{number}.npz")
    for kind in ("superpixels", "hierarchy"):
        results = ("--results", tmp_path / "[results] \udce9", "--workers", 1, "--json")
        result = run("evaluate", kind, "--data", tmp_path, *results)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.json()["methods"][0]["n_scored"] == len(hierarchies)


@pytest.mark.parametrize("command", ["segment", "objects", "parts", "refine --method st epochs=1"])
def test_odd_names_are_processed_by_every_command(run, photos, tmp_path, command):
    for name in ("caf\udce9", "x" * 251, "[red]-y", "-~a\\b\n\x1b[1m"):
        shutil.copy(photos / "a.png", photos / f"{name}.png")
    size = [] if command.startswith("refine") else ["--superpixels", 20]
    result = run(*command.split(), photos, "-o", tmp_path / "out", *size, "--json")
    assert result.exit_code == 0, result.stderr
    documents = result.json()["images"]
    assert {Path(document["image"]) for document in documents} == set(photos.glob("[!.]*.png"))
    outputs = [Path(path) for document in documents for path in document.get("outputs") or document["files"]]
    assert all(path.is_file() for path in outputs)
    assert len(set(outputs)) == len(outputs)


@pytest.mark.parametrize(
    "command",
    [
        "segment no.png -o out",
        "segment no.png --json -o out",
        "objects no.png -o out",
        "parts no.png gone.jpg --shared -o out",
        "view no.png -o page.html --no-open",
        "refine no.png -o out",
        "refine apply any.safetensors no.png -o out",
    ],
)
def test_no_model_is_loaded_for_images_that_do_not_exist(run, command, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("supercuts.load", refuse)
    monkeypatch.setattr("supercuts.selftaught.learned.load_learned", refuse)
    result = run(*command.split())
    assert result.exit_code == 1
    assert "'no.png': no such file. Check the path" in result.stderr


def test_a_missing_image_does_not_stop_the_others(run, photos, tmp_path):
    for command in ("segment", "objects", "parts"):
        result = run(command, tmp_path / "no.png", photos / "a.png", "-o", tmp_path / command)
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == "error: 1 of 2 images failed"
        assert len(list((tmp_path / command).iterdir())) > 1
