import ast
import importlib
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from supercuts.core.arrays import contingency

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "supercuts").rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]

MAX_LINES = 400  # without docstrings, which public names have in full
MAX_BODY_LINES = 40
MAX_KERNEL_LINES = 100  # a compiled loop keeps its state in local arrays, which helpers would have to pass around

# module without a mirroring test file: why
UNMIRRORED: dict[str, str] = {}


def source(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def is_kernels(path: Path) -> bool:
    return path.stem.startswith("_kernels") or "_kernels" in path.parts


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


def docstring_lines(node: ast.AST) -> int:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) or not ast.get_docstring(node):
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


def long_parts(path: Path) -> list[str]:
    """Return what is too long in a module: the module itself, and its functions."""
    text = source(path)
    limit = MAX_KERNEL_LINES if is_kernels(path) else MAX_BODY_LINES
    nodes = list(ast.walk(ast.parse(text)))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f"{path}:{f.lineno} {f.name}: {body_lines(f)} lines" for f in functions if body_lines(f) > limit]
    n_lines = len(text.splitlines()) - sum(map(docstring_lines, nodes))
    return [*([f"{path}: {n_lines} lines"] if n_lines > MAX_LINES else []), *long]


def test_modules_import():
    failed = {}
    for path in FILES:
        if path.stem != "__main__":
            try:
                importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
            except Exception as error:
                failed[str(path)] = repr(error)
    assert failed == {}


def test_modules_have_a_docstring():
    # an inner __init__.py may be empty; one that re-exports names says which
    assert [str(path) for path in FILES if source(path) and not ast.get_docstring(ast.parse(source(path)))] == []


def test_inner_init_files_import_nothing_eagerly():
    """Importing one module pulls in nothing else: an inner __init__.py is empty or re-exports lazily."""
    eager = []
    for path in FILES:
        if path.name == "__init__.py" and path.parent != Path("supercuts"):
            imports = [n for n in ast.parse(source(path)).body if isinstance(n, ast.Import | ast.ImportFrom)]
            modules = {alias.name for n in imports if isinstance(n, ast.Import) for alias in n.names}
            modules |= {str(n.module) for n in imports if isinstance(n, ast.ImportFrom)}
            eager += [f"{path}: {name}" for name in modules - {"importlib", "typing", "supercuts.core.lazy"}]
    assert eager == []


def test_modules_and_their_functions_are_short():
    assert [part for path in FILES for part in long_parts(path)] == []


def test_array_annotations_are_enforced_while_tests_run():
    with pytest.raises(TypeCheckError, match="truth"):
        contingency(np.zeros((2, 2)), np.zeros((2, 2), dtype=np.int32))


def test_modules_have_a_test_file():
    public = [path for path in MODULES if not path.stem.startswith("_") and not is_kernels(path)]
    mirrors = {str(path): Path("tests", *path.parent.parts[1:], f"test_{path.name}") for path in public}
    assert [path for path, mirror in mirrors.items() if path not in UNMIRRORED and not (ROOT / mirror).exists()] == []
    stale = [path for path in UNMIRRORED if path not in mirrors or (ROOT / mirrors[path]).exists()]
    assert stale == [], "take these out of UNMIRRORED"


# names that occur twice because they mean the same: a kernel and its caller, a stage and its command, one step in torch
# and in numba, one topic in several layers
SAME_MODULES = {
    "affinity",  # merging by it, learning it
    "annotation_tools",  # reading, writing
    "arrays",  # those of the core, images
    "graphs",  # files, a data set
    "files",  # atomic writing, networks on disk
    "objects",  # metrics, evaluation, command
    "ssn",  # network, training
}
SAME_NAMES = {
    "assign", "color_features", "fit", "objects", "parts", "rgb_to_lab", "segment", "train", "export",
    "read_shape", "read_image", "read_mask", "read_tiff", "describe",
}  # fmt: skip


def occurring_twice(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


def test_modules_are_alike_in_name_only_if_they_mean_the_same():
    places: dict[str, list[str]] = {}
    for path in MODULES:
        if not is_kernels(path) and "cli" not in path.parts:
            places.setdefault(path.stem, []).append(str(path))
    assert set(occurring_twice(places)) <= SAME_MODULES, occurring_twice(places)


def test_public_functions_and_classes_are_alike_in_name_only_if_they_mean_the_same():
    places: dict[str, list[str]] = {}
    for path in MODULES:
        if not is_kernels(path):
            for node in ast.parse(source(path)).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(str(path))
    assert set(occurring_twice(places)) <= SAME_NAMES, occurring_twice(places)
