"""Work that needs no model, in real worker processes: what a file says is what happens to it."""

import os
import sys
from pathlib import Path

import pytest

STUB = '''
import hashlib, os, signal, time
from pathlib import Path
from supercuts.batch.sources import Result

class Stub:
    """Copies a file; the first word of its text says what else is to happen."""

    def __init__(self, settings, stage, device="cpu"):
        self.stage = Path(stage)
        self.again = settings.get("superpixels")
        if settings.get("model") == "broken":
            raise RuntimeError("no such network")

    def __call__(self, task):
        path = Path(task.address)
        data = path.read_bytes()
        content = hashlib.sha256(data).hexdigest()
        with open(path.parent.parent / "calls.txt", "a") as file:
            file.write(f"{task.name} {os.getpid()}\\n")
        if content == task.known:
            return Result(task.number, "unchanged", content)
        word = data.split()[0].decode()
        print("a library prints")
        if word == "slow":
            time.sleep(float(data.split()[1]))
        if word == "after":  # the file that it names is there
            awaited, end = path.with_name(data.split()[1].decode()), time.monotonic() + 30
            while not awaited.exists():
                if time.monotonic() > end:
                    return Result(task.number, "failed", error="TimeoutError", message="it did not come")
                time.sleep(0.05)
        if word == "die" or (word == "once" and not path.with_suffix(".died").exists()):
            path.with_suffix(".died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "exit":
            os._exit(3)
        if word == "bad":
            return Result(task.number, "failed", error="ImageError", message=f"{task.address}: is bad")
        if word in ("full", "unusable"):
            return Result(task.number, word, error="OSError", message=f"it is {word}")
        folder = self.stage / f"{task.number}-x"
        folder.mkdir()
        (folder / "x.npz").write_bytes(data + str(self.again).encode())
        threads = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
        said = str(sorted(threads.items()))
        return Result(task.number, "done", content, folder.name, {".npz": "x.npz"}, message=said)
'''


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Return the name of a factory that worker processes can import."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "batch_stub.py").write_text(STUB)
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path / "lib"), before))))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "lib"), *sys.path])
    return "batch_stub:Stub"


@pytest.fixture
def make(tmp_path):
    """Return a function that writes texts as the files src/<name>.png and returns the folder."""

    def write(**texts):
        folder = tmp_path / "src"
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / f"{name}.png").write_text(text)
        return folder

    return write


@pytest.fixture
def calls(tmp_path):
    """Return a function that gives the names the stub was called with since the last time, sorted."""

    def read():
        path = Path(tmp_path, "calls.txt")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return sorted(line.split()[0] for line in lines)

    return read
