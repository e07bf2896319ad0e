import ast
import inspect
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from numpydoc.hooks.validate_docstrings import parse_config
from numpydoc.validate import Validator, get_validation_checks, validate

import supercuts

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = json.loads((ROOT / "tests" / "api_surface.json").read_text())  # module: names that the documentation shows
SURFACE = PUBLIC["supercuts"]

# public names without an example: why
NO_EXAMPLE = {
    "supercuts.Hierarchy.show": "opens a browser",
    "supercuts.batch.run.run_batch": "starts processes",
    "supercuts.core.threads.keep_freed_memory": "changes the process",
    "supercuts.core.threads.wait_without_spinning": "changes the process",
    "supercuts.datasets.bsds500.BSDS500.check": "reads the data set",
    "supercuts.networks.files.load_original": "reads weights that are not in the package",
    "supercuts.objects.features.dino_keys": "reads weights that are not in the package",
    "supercuts.objects.features.load_vit": "reads weights that are not in the package",
}

# the stages that work without torch; merging is listed by file because its other methods may use torch
TORCH_FREE = ["core", "images", "datasets", "graph", "hierarchy", "merging/agglomerative.py", "metrics", "export"]

IMPORT_WITHOUT_TORCH = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "timm", "torch_geometric", "lightning"}:
            raise ModuleNotFoundError(f"{name} is blocked in this test", name=name)

sys.meta_path.insert(0, Blocker())
failed = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed.append(f"{name}: {error}")
if failed:
    sys.exit("\\n".join(failed))
"""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # a child process: this one has imported everything already
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def torch_free_modules() -> list[str]:
    paths = [ROOT / "supercuts" / part for part in TORCH_FREE]
    files = [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in sorted(files)]


def with_members(name: str) -> list[str]:
    """Return a public name and, if it is a class, its public methods and properties."""
    value = Validator._load_obj(name)
    own = vars(value) if inspect.isclass(value) else {}
    kinds = types.FunctionType | property | classmethod | staticmethod
    return [name, *(f"{name}.{key}" for key, member in own.items() if isinstance(member, kinds) and key[0] != "_")]


def needs_example(name: str) -> bool:
    value = Validator._load_obj(name)
    is_error = inspect.isclass(value) and issubclass(value, Exception)
    return not (is_error or isinstance(value, property) or name in NO_EXAMPLE)


@pytest.mark.parametrize("name", [f"{module}.{name}" for module, names in PUBLIC.items() for name in names])
def test_docstrings_pass_the_checks_of_numpydoc(name):
    checks = get_validation_checks(parse_config(ROOT)["checks"])
    errors = [
        (member, error) for member in with_members(name) for error in validate(member)["errors"] if error[0] in checks
    ]
    assert [error for error in errors if error[1][0] != "EX01" or needs_example(error[0])] == []


def test_surface_is_the_checked_in_list():
    assert supercuts.__all__ == SURFACE
    assert sorted(supercuts._HOME) == SURFACE
    assert dir(supercuts) == sorted([*SURFACE, "__version__"])


@pytest.mark.parametrize("name", SURFACE)
def test_public_name_resolves_to_the_object_of_its_home(name):
    value = getattr(supercuts, name)
    assert value.__name__ == name
    assert value.__module__ == supercuts._HOME[name]


def test_unknown_name_lists_the_public_ones():
    with pytest.raises(AttributeError, match=r"supercuts has no 'cut'; public names: ConfigError, .*read_image"):
        supercuts.cut  # noqa: B018


def test_import_is_light():
    done = run_python("import sys, supercuts; print(sorted({'torch', 'numba', 'numpy', 'scipy'} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


def test_the_pipeline_imports_only_what_every_segmentation_needs():
    code = "import sys, supercuts.pipeline; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = run_python(code)
    heavy = {
        "torch",
        "timm",
        "torchvision",
        "torch_geometric",
        "onnxruntime",
        "skimage",
        "sklearn",
        "networkx",
        "matplotlib",
    }
    assert done.returncode == 0, done.stderr
    assert heavy & set(ast.literal_eval(done.stdout)) == set()


def test_torch_free_stages_import_without_torch():
    modules = torch_free_modules()
    assert len(modules) >= len(TORCH_FREE)
    done = run_python(IMPORT_WITHOUT_TORCH, *modules)
    assert done.returncode == 0, done.stderr


def test_the_torch_blocker_blocks():
    done = run_python(IMPORT_WITHOUT_TORCH, "supercuts.networks.backbones.base", "supercuts.core.errors")
    assert done.returncode == 1
    assert done.stderr.startswith("supercuts.networks.backbones.base: torch")
    assert "core" not in done.stderr


# other code of a process may depend on these; torch and numba come first, so that their settings can be compared
STATE = """
import ctypes, json, logging, os, signal, sys, threading, warnings
import numba, numpy, torch
called = []
real = ctypes.CDLL.__getattr__
def spy(library, name):
    called.append(name)
    return real(library, name)
ctypes.CDLL.__getattr__ = spy
def state():
    return dict(
        threads=(torch.get_num_threads(), torch.get_num_interop_threads(), numba.get_num_threads()),
        torch=(str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.backends.mkldnn.enabled,
               torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        numpy=(repr(numpy.geterr()), repr(numpy.get_printoptions())),
        warnings=[repr(one) for one in warnings.filters],
        **{str(one): str(signal.getsignal(one)) for one in signal.valid_signals()},
        **{f"${name}": value for name, value in os.environ.items()},
        **{f"numba.config.{name}": str(getattr(numba.config, name)) for name in dir(numba.config) if name.isupper()},
        running=threading.active_count(),
        logging=(logging.root.level, repr(logging.root.handlers)),
        hooks=(repr(sys.excepthook), sys.getrecursionlimit(), list(sys.path)),
    )
state()  # torch counts its threads again once numba has started its own
before = state()
import supercuts, supercuts.pipeline, supercuts.model
after = state()
changed = [
    f"{name}: {before.get(name)}, now {after.get(name)}"
    for name in sorted(before | after)
    if before.get(name) != after.get(name)
]
print(json.dumps([changed, [name for name in called if name.startswith("mall")]]))
"""


def test_importing_changes_nothing_of_the_process():
    done = run_python(STATE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], []]
