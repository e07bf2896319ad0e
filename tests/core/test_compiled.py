import re
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit, types
from numba.core.errors import NumbaError

from supercuts.core.compiled import allocating_helper, helper, kernel, known_options


@helper
def _half_of(value):
    return value / 2


@kernel
def halves(values, out):
    for i in range(values.size):
        out[i] = _half_of(values[i])


@kernel
def inverses(values, out):
    for i in range(values.size):
        out[i] = 1 / values[i]


def test_a_kernel_calls_a_helper_and_is_called_from_python():  # oracle
    out = np.empty(3)
    halves(np.array([1.0, 3.0, -4.0]), out)
    assert out.tolist() == [0.5, 1.5, -2.0]


def test_division_by_zero_follows_numpy():
    out = np.empty(2)
    inverses(np.array([0.0, 4.0]), out)
    assert out.tolist() == [np.inf, 0.25]


def wrappers(compiled):
    compiled.compile((types.float64,))
    names = [one.name for one in compiled.overloads[(types.float64,)].library.get_defined_functions()]
    assert names
    return {kind for kind in ("cpython", "cfunc") for name in names if kind in name}


def test_nothing_is_compiled_around_a_helper():
    plain = _half_of.py_func
    assert wrappers(njit(plain)) == {"cpython", "cfunc"}  # what numba does unless told
    assert wrappers(helper(plain)) == set()
    assert kernel(plain).targetoptions["no_cfunc_wrapper"]


def offer(values, others, i):
    if values[i] < 0:
        return
    if others[i] > values[i]:
        others[i] = values[i]
        values[i] += 1


def make(values):
    return np.empty(values.size)


def counts_references(compiled):
    compiled.compile((types.float64[::1], types.float64[::1], types.int64))
    (code,) = compiled.inspect_llvm().values()
    body = code[code.index("define") :]  # of the function itself, which comes first
    return "call void @NRT_incref" in body[: body.index("\n}")]


def test_a_helper_counts_nobody_who_holds_the_arrays_it_writes_to():
    assert counts_references(njit(offer))  # what numba does unless told
    assert not counts_references(helper(offer))


def test_what_makes_arrays_is_no_plain_helper():
    with pytest.raises(NumbaError, match="returning of array"):
        helper(make).compile((types.float64[::1],))
    allocating_helper(make).compile((types.float64[::1],))


def test_helpers_are_private():  # called from Python, a function without a wrapper for it ends the interpreter
    package = Path(__file__).parents[2] / "supercuts"
    helpers = re.compile(r"^@(?:\w+_)?helper\b.*\n(?:@.*\n)*def (\w+)", re.MULTILINE)
    names = {
        (path.name, name)
        for path in package.rglob("*.py")
        for name in helpers.findall(path.read_text(encoding="utf-8"))
    }
    assert len(names) > 20
    assert {(path, name) for path, name in names if not name.startswith("_")} == set()


def test_decorators_of_numba_and_its_private_modules_are_used_in_one_file():
    package = Path(__file__).parents[2] / "supercuts"
    direct = re.compile(r"\bnjit\b|\bnumba\.(core|_|n?jit|vectorize)|numba import .*\b(jit|vectorize|cfunc|core)\b")
    uses = {path.name for path in package.rglob("*.py") if direct.search(path.read_text(encoding="utf-8"))}
    assert uses == {"compiled.py"}


def test_options_that_numba_lacks_are_left_out(monkeypatch):
    assert known_options(no_cfunc_wrapper=True, no_such_option=True) == {"no_cfunc_wrapper": True}
    monkeypatch.setitem(sys.modules, "numba.core.cpu", None)
    assert known_options(no_cfunc_wrapper=True) == {}
