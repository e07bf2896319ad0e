import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SEGMENT = """
import numpy as np, supercuts
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, one):
        compiled.append(one.data["dispatcher"].py_func.__name__)
    def on_end(self, one):
        pass
event.register("numba:compile", Listener())
model = supercuts.load("compact", engine="onnx")
h = model.segment(np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8), superpixels=30)
h.cut(regions=7)
print(compiled)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_left_to_compile(tmp_path):
    pytest.importorskip("onnxruntime")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run("-m", "supercuts", "warmup", "--engine", "onnx").startswith("ready after ")
    assert any(tmp_path.rglob("*.nbc"))
    assert run("-c", SEGMENT) == "[]"


def test_unknown_engines_are_refused(run):
    result = run("warmup", "--engine", "tensorflow")
    assert result.exit_code == 2
    assert "Choose one of: torch, onnx" in result.stderr
