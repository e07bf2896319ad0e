import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def documented_examples() -> list[tuple[str, str, int, str]]:
    """Return (module, name, line, docstring) of every docstring that holds an example.

    The examples of a method continue those of its class. Read from the source: doctest's own finder overlooks the
    functions that the shape checks of conftest.py wrap.
    """
    actual = []
    for path in sorted((ROOT / "supercuts").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        places = [("module", tree, "")]
        for node in ast.walk(tree):
            before = (ast.get_docstring(node) or "") + "\n\n" if isinstance(node, ast.ClassDef) else ""
            prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
            places += [
                (prefix + child.name, child, before)
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.ClassDef | ast.FunctionDef)
            ]
        for name, node, before in places:
            text = ast.get_docstring(node) or ""
            if ">>> " in text:
                actual.append((module, name, getattr(node, "lineno", 1), before + text))
    return actual


EXAMPLES = documented_examples()


@pytest.mark.parametrize(("module", "name", "line", "text"), EXAMPLES, ids=[f"{e[0]}.{e[1]}" for e in EXAMPLES])
def test_example_prints_the_shown_output(module, name, line, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    scope = dict(vars(importlib.import_module(module)))
    test = doctest.DocTestParser().get_doctest(text, scope, f"{module}.{name}", module, line)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


def test_there_are_examples():
    assert len(EXAMPLES) >= 1
