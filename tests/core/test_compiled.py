import importlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba import config, njit, types
from numba.core.errors import NumbaError

from supercuts.core import compiled
from supercuts.core.compiled import allocating_helper, helper, kernel, known_options
from supercuts.core.errors import CacheWarning


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
    names = [function.name for function in compiled.overloads[(types.float64,)].library.get_defined_functions()]
    assert names
    return {kind for kind in ("cpython", "cfunc") for name in names if kind in name}


def test_nothing_is_compiled_around_a_helper():
    plain = _half_of.py_func
    assert wrappers(njit(plain)) == {"cpython", "cfunc"}  # numba's default
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
    body = code[code.index("define") :]  # the function itself comes first
    return "call void @NRT_incref" in body[: body.index("\n}")]


def test_a_helper_counts_nobody_who_holds_the_arrays_it_writes_to():
    assert counts_references(njit(offer))  # numba's default
    assert not counts_references(helper(offer))


def test_a_helper_that_makes_arrays_is_compiled_separately():
    with pytest.raises(NumbaError, match="returning of array"):
        helper(make).compile((types.float64[::1],))
    allocating_helper(make).compile((types.float64[::1],))


def test_helpers_are_private():  # a call from Python of a function without a wrapper ends the interpreter
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


def write_package(folder):
    folder.mkdir()
    (folder / "guest_helper.py").write_text(
        "from supercuts.core.compiled import helper\n\n@helper\ndef _twice(value):\n    return value * 2\n"
    )
    (folder / "guest_kernel.py").write_text(
        "from guest_helper import _twice\nfrom supercuts.core.compiled import kernel\n\n"
        "@kernel\ndef double(value):\n    return _twice(value)\n"
    )


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that imports a kernel, and a helper in another file, as a process that starts now does."""
    folder = tmp_path / "package"
    write_package(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(config, "CACHE_DIR", "")

    def start():
        for name in ("guest_helper", "guest_kernel"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        for function in (compiled._digest_of, compiled._takes_files, compiled._warn_of_memory):
            function.cache_clear()
        return importlib.import_module("guest_kernel").double

    yield start
    for name in ("guest_helper", "guest_kernel"):
        sys.modules.pop(name)


def comes_from_disk(double):
    assert double(3) == 6
    return double.stats.cache_hits != {}


def stored(folder):
    return [path for path in folder.rglob("*") if path.suffix == ".nbc"]


def close(folder):
    """Make the __pycache__ of a folder read-only, even for root."""
    (folder / "__pycache__").write_bytes(b"")


def test_code_is_cached_next_to_its_source(package, tmp_path):
    assert not comes_from_disk(package())
    assert stored(tmp_path / "package" / "__pycache__")
    assert comes_from_disk(package())
    assert stored(tmp_path) == stored(tmp_path / "package")  # nothing in the home


def test_code_is_cached_in_the_home_if_the_package_is_read_only(package, tmp_path):
    close(tmp_path / "package")
    assert not comes_from_disk(package())
    assert stored(tmp_path / "home")
    assert comes_from_disk(package())


def test_installed_code_serves_users_with_a_home(package, tmp_path, monkeypatch):
    assert not comes_from_disk(package())
    access = os.access
    folder = tmp_path / "package" / "__pycache__"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and access(path, mode))
    folder.chmod(0o555)
    for given in ("", str(tmp_path / "given")):
        monkeypatch.setattr(config, "CACHE_DIR", given)
        assert comes_from_disk(package())
    assert stored(tmp_path) == stored(folder)
    folder.chmod(0o755)


def test_a_folder_that_was_given_comes_before_a_package_that_can_be_written_to(package, tmp_path, monkeypatch):
    package()(3)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "given"))
    assert not comes_from_disk(package())
    assert stored(tmp_path / "given")


@pytest.mark.parametrize("given", ["{}/a_file/x", "~/x", "{}/a_file"])
def test_a_folder_that_cannot_be_is_passed_over(package, tmp_path, monkeypatch, given):
    (tmp_path / "a_file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "CACHE_DIR", given.format(tmp_path))
    assert not comes_from_disk(package())
    assert comes_from_disk(package())
    assert not Path("~").exists()


def test_without_a_cache_folder_one_line_is_printed(package, tmp_path, monkeypatch):
    close(tmp_path / "package")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    double = package()
    with pytest.warns(CacheWarning, match="Set NUMBA_CACHE_DIR") as warned:
        assert (double(3), double(3.0)) == (6, 6.0)
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)


def test_without_a_home_no_folder_called_tilde_is_made(package, tmp_path, monkeypatch):
    def unknown(_):
        raise KeyError("no such user")

    close(tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pwd", SimpleNamespace(getpwuid=unknown))
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    double = package()
    with pytest.warns(CacheWarning):
        assert double(3) == 6
    assert not Path("~").exists()


def test_a_filled_folder_that_takes_no_files_is_read(package, tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "given"))
    assert not comes_from_disk(package())
    close(tmp_path / "package")
    double = package()
    monkeypatch.setattr(compiled, "_takes_files", lambda _: False)
    assert comes_from_disk(double)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners on this system")
@pytest.mark.parametrize(
    ("owner", "mode", "is_read"), [(0, 0o644, True), (1234, 0o644, False), (0, 0o666, False), (1234, 0o666, False)]
)
def test_code_that_another_user_may_have_written_is_compiled_again(package, tmp_path, owner, mode, is_read):
    if os.geteuid() and owner:
        pytest.skip("only root can give files away")
    package()(3)
    (path,) = stored(tmp_path)
    if owner:
        os.chown(path, owner, owner)
    path.chmod(mode)
    assert comes_from_disk(package()) == is_read
    assert comes_from_disk(package())  # replaced by code of this user
    assert not path.stat().st_mode & 0o002


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "one bit"])
def test_damaged_files_are_replaced(package, tmp_path, damage):
    package()(3)
    (path,) = stored(tmp_path)
    whole = path.read_bytes()
    bit = bytearray(whole)
    bit[len(bit) // 2] ^= 1
    path.write_bytes({"empty": b"", "cut": whole[:-9], "noise": bytes(range(256)) * 40, "one bit": bytes(bit)}[damage])
    assert not comes_from_disk(package())
    assert comes_from_disk(package())


def test_code_of_a_helper_that_has_changed_is_not_taken(package, tmp_path):
    package()(3)
    helper_file = tmp_path / "package" / "guest_helper.py"
    helper_file.write_text(helper_file.read_text().replace("value * 2", "value * 5"))
    assert package()(3) == 15


def test_numbas_own_cache_serves_where_its_modules_have_moved(package, tmp_path, monkeypatch):
    def rearranged():
        raise ImportError("no such module")

    monkeypatch.setattr(compiled, "_cache_class", rearranged)
    assert not comes_from_disk(package())
    assert comes_from_disk(package())
    shutil.rmtree(tmp_path / "package" / "__pycache__")
    close(tmp_path / "package")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert not comes_from_disk(package())


USE = """
import json, os, warnings
from guest_kernel import double
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = double(3)
print(json.dumps([os.geteuid(), result, double.stats.cache_hits != {}, [str(warning.message) for warning in caught]]))
"""
# the environment may lie in a folder that is closed to others, which a capability opens for reading alone
AS_ANOTHER = (
    "setpriv --reuid 12345 --regid 12345 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
)


def test_another_user_reads_the_installed_code_or_compiles_in_memory():
    """Install a package as root; use it, and one without stored code, as a user with and without a writable home."""
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root on Linux can become another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        public = Path(name)
        public.chmod(0o755)
        for folder in ("home", "closed"):
            (public / folder).mkdir()
        os.chown(public / "home", 12345, 12345)
        for folder in ("installed", "bare"):
            write_package(public / folder)
        paths = {"PYTHONPATH": str(Path(compiled.__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
        install = [sys.executable, "-c", "import guest_kernel; guest_kernel.double(3)"]
        subprocess.run(install, cwd=public / "installed", env={**paths, "NUMBA_CACHE_DIR": ""}, check=True)
        installed = {path: path.read_bytes() for path in stored(public)}
        assert len(installed) == 1
        said, given = {}, {"home": "", "closed": "/proc/none"}
        for home, folder in itertools.product(("home", "closed"), ("installed", "bare")):
            done = subprocess.run(
                [*AS_ANOTHER.split(), sys.executable, "-c", USE],
                cwd=public / folder,
                env={**paths, "HOME": str(public / home), "NUMBA_CACHE_DIR": given[home]},
                capture_output=True,
                text=True,
                check=False,
            )
            if "setpriv" in done.stderr:
                pytest.skip(f"another user cannot be had here: {done.stderr.strip()}")
            assert (done.returncode, done.stderr) == (0, "")
            said[home, folder] = json.loads(done.stdout)
        (warning,) = said["closed", "bare"].pop()
        assert re.fullmatch(r"compiled loops .* Set NUMBA_CACHE_DIR to a writable folder\.", warning)
        assert said == {
            ("home", "installed"): [12345, 6, True, []],
            ("home", "bare"): [12345, 6, False, []],
            ("closed", "installed"): [12345, 6, True, []],
            ("closed", "bare"): [12345, 6, False],
        }
        at_home = stored(public / "home")
        assert len(at_home) == 1
        assert {path: path.read_bytes() for path in stored(public) if path not in at_home} == installed
