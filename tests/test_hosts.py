"""Settings of the program, the shell or the system around SuperCuts change no result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import supercuts
from supercuts.images.io import read_image

pytestmark = pytest.mark.timeout(600)
PHOTO = Path(__file__).parents[1] / "examples" / "photo.jpg"

# a program whose settings differ from those that a model was loaded with, or with which it loads one
INSIDE = """
import hashlib, json, logging, os, random, signal, sys, traceback, warnings
from contextlib import contextmanager
from pathlib import Path
import numpy as np
import torch
import supercuts
from supercuts.refine.refine_config import RefineConfig

image, folder = np.load("image.npy"), Path("files")
inside = np.arange(image[..., 0].size).reshape(image.shape[:2]) < 3000


def results(model):
    h = model.segment(image, superpixels=30)
    for name, format in (("h.svg", "svg"), ("h.pt", "pyg"), ("h_ucm.mat", "ucm"), ("h.html", "html")):
        h.export(folder / name, format, overwrite=True)
    h.save(folder / "h.npz", overwrite=True)
    yield from (h.labels, h.cut(regions=5), h.cut(level="object"), h.cut(regions=5, focus=inside), h.ucm())
    yield from (h.select(point=(3, 3)), h.select(points={1: [(3, 3)], 2: [(50, 80)]}), h.merge(1, 20).parents)
    yield from (model.objects(h).masks, model.objects(h, method="deepcut").masks, model.parts(h).labels)
    yield from (model.segment(image, 30, mask=inside).labels, model.segment(image, 30, tile=64).labels)
    yield model.segment(image, 30, refiner=RefineConfig(epochs=2)).labels


@contextmanager
def changed(change, value, usual):
    change(value)
    yield
    change(usual)


@contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def state():
    # settings of a program, which no call may change
    numbers = (random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state().tolist())
    modes = (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    return {
        "random numbers": hashlib.sha256(repr(numbers).encode()).hexdigest(),
        "torch": repr(modes),
        "numpy": repr((np.geterr(), np.get_printoptions())),
        "signals": repr([signal.getsignal(number) for number in signal.valid_signals()]),
        "logging": repr((logging.root.level, logging.root.handlers)),
        "folder": os.getcwd(),
    }


HOSTS = {
    "numpy.errstate": lambda: np.errstate(all="raise"),
    "warnings": warnings_as_errors,
    "float64": lambda: changed(torch.set_default_dtype, torch.float64, torch.float32),
    "float16": lambda: changed(torch.set_default_dtype, torch.float16, torch.float32),
    "device meta": lambda: changed(torch.set_default_device, "meta", None),
    "device cpu": lambda: changed(torch.set_default_device, "cpu", None),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "deterministic": lambda: changed(torch.use_deterministic_algorithms, True, False),
}
folder.mkdir()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    states = [state()]
    model = supercuts.load()
    usual = list(results(model))
    states.append(state())
    np.save("labels.npy", usual[0])
    report = {"its own settings": "equal" if states[0] == states[1] else f"changed: {states}"}
    for name, host in HOSTS.items():
        try:
            with host():
                loaded_before, loaded_there = list(results(model)), [supercuts.load().segment(image, 30).labels]
            is_equal = all(map(np.array_equal, usual, loaded_before)) and np.array_equal(usual[0], *loaded_there)
            report[name] = "equal" if is_equal else "other results"
        except Exception:
            report[name] = traceback.format_exc(limit=-3)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def image():
    return read_image(PHOTO)[::5, ::5].copy()


@pytest.fixture(scope="module")
def usual(image):
    return supercuts.load().segment(image, superpixels=30)


def run(code, folder, *options, **environment):
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_settings_of_the_host_program_change_no_result(tmp_path, image, usual):
    np.save(tmp_path / "image.npy", image)
    report = run(INSIDE, tmp_path)
    assert report == dict.fromkeys(report, "equal")
    assert np.array_equal(np.load(tmp_path / "labels.npy"), usual.labels)


# each command runs in a fork, which saves importing everything again
COMMANDS = """
import ctypes, json, os, resource, sys
from pathlib import Path
import torch
import supercuts
from supercuts.batch.sources import find_sources, leave_out_outputs
from supercuts.cli.main import app

ORDINARY = ["segment", os.fsdecode(b"\\xc3\\xa9.png"), "--superpixels", "30", "--no-viewer", "--no-overlays", "-o"]
supercuts.load()
report = {}
(source,) = leave_out_outputs(find_sources("list.txt"), Path("out"))
if source.problem or not Path(source.address).is_file():
    raise ValueError(source)


def run(name, change, arguments):
    with open(f"{name}.out", "wb") as out, open(f"{name}.err", "wb") as err:
        sys.stdout.flush()
        process = os.fork()
        if not process:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            change()
            sys.argv = ["supercuts"]
            app(arguments)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    report[name] = [code, *(open(f"{name}.{kind}", encoding="utf-8").read() for kind in ("out", "err"))]


def closed_streams():
    sys.stdin = sys.stdout = sys.stderr = None
    for number in range(3):
        os.close(number)


def closed_pipe():
    read, write = os.pipe()
    os.close(read)
    sys.stdout = open(write, "w", encoding="utf-8")


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    # no /dev/shm, where the user may create namespaces
    libc, private, read_only, new_namespace = ctypes.CDLL(None), 1 << 14 | 1 << 18, 1, 1 << 17
    if sys.platform == "linux" and libc.unshare(new_namespace) == 0:
        libc.mount(b"none", b"/", None, private, None)
        libc.mount(b"none", b"/dev/shm", b"tmpfs", read_only, None)


run("ascii", lambda: None, [*ORDINARY, "ascii", "--json"])
run("help", lambda: None, ["segment", "--help"])
run("closed", closed_streams, [*ORDINARY, "closed"])
run("closed_error", closed_streams, ["segment", "missing.png", "-o", "none"])
run("pipe", closed_pipe, [*ORDINARY, "pipe", "--json"])
run("umask", lambda: os.umask(0o027), [*ORDINARY, "umask"])
run("batch", few_files, ["batch", "photos", "batch", "--workers", "2", "--superpixels", "30"])


def all_at_once():
    few_files()
    os.umask(0o027)
    closed_streams()


hierarchy = os.fsdecode(b"ascii/\\xc3\\xa9.npz")
for name, arguments in {
    "cut": f"cut {hierarchy} --regions 3 --overlay rest/overlay.png -o rest/cut.png",
    "view": f"view {hierarchy} --no-open -o rest/view.html",
    "export": f"export {hierarchy} -o rest/export.svg",
    "objects": f"objects {hierarchy} -o rest/objects",
    "parts": f"parts {hierarchy} -o rest/parts",
}.items():
    run(name, all_at_once, arguments.split())
print(json.dumps(report))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_commands_work_in_any_shell(tmp_path, image, usual):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for path in ("é.png", "photos/a.png", "photos/b.png"):
        Image.fromarray(image).save(tmp_path / path)
    (tmp_path / "list.txt").write_text("é.png\n", encoding="utf-8")
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    report = run(COMMANDS, tmp_path, "-OO", **environment, TZ="Nowhere/None")
    assert {name: (code, err) for name, (code, _, err) in report.items() if name != "help"} == {
        name: ({"closed_error": 1, "pipe": 1}.get(name, 0), "") for name in report if name != "help"
    }
    assert "--superpixels" in report["help"][1]
    outputs = json.loads(report["ascii"][1])["images"][0]["outputs"]
    assert [Path(os.fsdecode(path.encode("utf-8", "surrogateescape"))).name for path in outputs] == ["é.npz"]
    alone = supercuts.load(engine="quick").segment(image, superpixels=30)  # the engine of `supercuts segment`
    for path in tmp_path.rglob("*.npz"):
        expected = usual if path.parent.name == "batch" else alone
        assert np.array_equal(supercuts.read(path).labels, expected.labels), path
    actual = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.npz"))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("rest/*.*")} == {0o640}
    rest = ["cut.png", "export.svg", "objects", "overlay.png", "parts", "view.html"]
    assert sorted(path.name for path in tmp_path.glob("rest/*")) == rest
    assert actual == ["ascii/é.npz", "batch/a.npz", "batch/b.npz", "closed/é.npz", "pipe/é.npz", "umask/é.npz"]
    assert [oct((tmp_path / "umask" / name).stat().st_mode & 0o777) for name in ("", "é.npz")] == ["0o750", "0o640"]
