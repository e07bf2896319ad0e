"""Settings every test shares: array shapes are enforced, expensive tests are opt-in, one fixture for real data."""

import os
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]
OPT_IN = ("slow", "gpu", "network")


def checked_modules() -> list[str]:
    """Return every module whose annotations are enforced: all but packages and numba kernels."""
    files = (path.relative_to(ROOT) for path in (ROOT / "supercuts").rglob("*.py"))
    # a wrapped function is not compilable, and the hook wraps unannotated functions too: kernels stay outside
    annotated = [
        path for path in files if not path.stem.startswith(("__", "_kernels")) and "_kernels" not in path.parts
    ]
    return [".".join(path.with_suffix("").parts) for path in annotated]


# subprocesses import the package that is tested, with its compiled kernels, and not the working directory's copy
os.environ["PYTHONSAFEPATH"] = "1"
if Path(find_spec("supercuts").origin).parents[1] == ROOT:  # it may be a checkout that is not installed
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))

if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core: more threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# --jaxtyping-packages=supercuts would include the kernels; the numeric tower lets an int pass where float is written
install_import_hook(checked_modules(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# no deadline: the first example of a test may compile a kernel
hypothesis.settings.register_profile("supercuts", deadline=None, max_examples=50)
hypothesis.settings.load_profile("supercuts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    expression = config.getoption("markexpr")
    for item in items:
        for marker in OPT_IN:
            if item.get_closest_marker(marker) and marker not in expression:
                item.add_marker(pytest.mark.skip(reason=f"{marker} tests are off by default: pytest -m {marker}"))
        if item.get_closest_marker("dataset") and not os.environ.get("SUPERCUTS_DATA"):
            item.add_marker(pytest.mark.skip(reason="SUPERCUTS_DATA is not set; see data/README.md"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder SUPERCUTS_DATA names; a missing folder is an error, not a skip."""
    if not (value := os.environ.get("SUPERCUTS_DATA")):
        pytest.skip("SUPERCUTS_DATA is not set; see data/README.md")
    root = Path(value).resolve()
    if not root.is_dir():
        pytest.fail(f"SUPERCUTS_DATA={value} is not a folder; see data/README.md for the expected tree")
    return root


class BrightFinder:
    """Finds bright pixels as the object and its left and right half as parts; the tree joins four quarters."""

    def segment(self, image):
        from supercuts.hierarchy.tree import Hierarchy

        rows, columns = (np.arange(n) >= n // 2 for n in image.shape[:2])
        return Hierarchy(
            labels=(rows[:, None] * 2 + columns).astype(np.int32),
            parents=np.array([4, 5, 4, 5, 6, 6, 6], np.int32),
            altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], np.float32),
            embeddings=np.zeros((4, 0), np.float32),
            image=image,
        )

    def objects(self, source, n=1, method=None):
        from supercuts.objects.result import Objects

        mask = source.image.min(axis=2) > 127
        mask = mask if mask.any() else ~mask
        return Objects(mask[None], np.ones(1, np.float32), mask.astype(np.float32))

    def parts(self, source, k=None, method=None, objects=None):
        from supercuts.core.arrays import relabel_consecutive
        from supercuts.objects.result import Parts

        mask = (objects or self.objects(source)).mask
        labels = np.where(np.arange(mask.shape[1]) < mask.shape[1] // 2, 1, 2) * mask
        labels, n = relabel_consecutive(np.concatenate([np.zeros((1, mask.shape[1]), int), labels]))
        return Parts(labels[1:], np.zeros(n - 1, np.int32))


@pytest.fixture
def finder(monkeypatch, tmp_path):
    """Stand in for a model that finds objects and parts; return its path."""
    path = tmp_path / "finder.safetensors"
    path.touch()
    monkeypatch.setattr("supercuts.model.load", lambda *_, **__: BrightFinder())
    return str(path)
