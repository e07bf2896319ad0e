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

MAX_LINES = 400
MAX_BODY_LINES = 40
MAX_KERNEL_LINES = 100  # a compiled loop keeps its state in local arrays, which helpers would have to pass around

# module without a mirroring test file: why
UNMIRRORED: dict[str, str] = {}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


@pytest.mark.parametrize("path", [p for p in FILES if p.stem != "__main__"], ids=str)
def test_module_imports(path):
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_module_says_what_flows_in_and_out(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    if path.name == "__init__.py" and path.parent != Path("supercuts"):
        assert source == "", "inner __init__.py files stay empty: importing one file pulls in nothing else"
        return
    lines = (ast.get_docstring(ast.parse(source)) or "").splitlines()
    assert lines, "the module has no docstring"
    for word in ("In ", "Out ", "Not "):
        assert sum(line.startswith(word) for line in lines[1:]) == 1, f"one docstring line starts with {word!r}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_module_and_its_functions_are_short(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_LINES
    limit = MAX_KERNEL_LINES if path.stem.startswith("_kernels") else MAX_BODY_LINES
    nodes = ast.walk(ast.parse(source))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{node.name}, line {node.lineno}": body_lines(node) for node in functions}
    assert {name: lines for name, lines in lengths.items() if lines > limit} == {}


def test_array_annotations_are_enforced_while_tests_run():
    with pytest.raises(TypeCheckError, match="truth"):
        contingency(np.zeros((2, 2)), np.zeros((2, 2), dtype=np.int32))


@pytest.mark.parametrize("path", [p for p in MODULES if not p.stem.startswith("_")], ids=str)
def test_module_has_a_test_file(path):
    mirror = Path("tests", *path.parent.parts[1:], f"test_{path.name}")
    if str(path) in UNMIRRORED:
        assert not (ROOT / mirror).exists(), f"{mirror} exists: take {path} out of UNMIRRORED"
    else:
        assert (ROOT / mirror).exists(), f"{path} needs {mirror}"


def test_unmirrored_modules_exist():
    assert UNMIRRORED.keys() <= {str(path) for path in FILES}
