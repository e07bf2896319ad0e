"""Decorators that compile functions with this package's numba options, and the cache of machine code.

Numba generates two wrappers around each function, to call it from Python and from C. They take compile time, so a
helper gets neither and a kernel only the one for Python. Helpers are not cached separately: a kernel's cached code
contains its helpers, so a kernel is the same whether compiled or read from the cache. Divisions follow numpy, because a
check for zero at each would lengthen every loop. Kernels release the GIL.

Numba counts references to arrays with atomic instructions at each call that writes to one, which makes small helpers
several times slower. A helper only borrows its caller's arrays, so counting is off. A helper that creates arrays must
be an allocating_helper; numba raises an error otherwise.

Machine code is stored next to the package, where an installation puts compiled files, or in a folder of the user.
Code that cannot be read is compiled again. Code that cannot be stored is compiled in every process.
"""

import functools
import hashlib
import importlib
import os
import pickle
import re
import stat
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numba
import numpy as np
from numba import njit

from supercuts.core.errors import CacheWarning
from supercuts.core.files import atomic_path


def known_options(**options: bool) -> dict[str, Any]:
    """Return the undocumented options that the installed numba supports; without them compilation takes longer.

    Written for numba 0.61 to 0.68.
    """
    try:
        from numba.core.cpu import CPUTargetOptions
    except ImportError:
        return {}
    return {name: value for name, value in options.items() if hasattr(CPUTargetOptions, name)}


@functools.cache
def _postpone_blas() -> None:
    """Load numba's functions of arrays without scipy.linalg, whose import takes longer than a small segmentation.

    Numba only checks there whether scipy is installed. Functions that use linear algebra import it when compiled.
    """
    with suppress(ImportError, AttributeError):
        from numba.np import linalg

        check = linalg.ensure_blas
        try:
            linalg.ensure_blas = lambda: None
            importlib.import_module("numba.np.arraymath")
        finally:
            linalg.ensure_blas = check


_OPTIONS: dict[str, Any] = {**known_options(no_cfunc_wrapper=True), "error_model": "numpy"}
IN_ANY_ORDER = {"reassoc", "nsz", "arcp", "contract"}  # reorders sums; infinities and NaN stay exact

_HELPER: dict[str, Any] = {**_OPTIONS, **known_options(no_cpython_wrapper=True)}
_BORROWS: dict[str, Any] = {**_HELPER, **known_options(_nrt=False)}
_config: Any = numba.config  # read from the environment
_DIGEST = hashlib.sha256().digest_size


def _kernel(function: Any, **options: Any) -> Any:
    dispatcher = njit(nogil=True, **_OPTIONS, **options)(function)
    if not hasattr(dispatcher, "enable_caching"):  # NUMBA_DISABLE_JIT leaves the function as it is
        return dispatcher
    try:
        dispatcher._cache = _cache_class()(function)
    except ImportError:  # numba with other private modules: use its own cache, which needs a writable folder
        with suppress(RuntimeError):
            dispatcher.enable_caching()
    return dispatcher


kernel = _kernel
sum_kernel = functools.partial(_kernel, fastmath=IN_ANY_ORDER)
fast_kernel = functools.partial(_kernel, fastmath=True)  # finite numbers only
helper = njit(**_BORROWS)
fast_helper = njit(fastmath=True, **_BORROWS)
inlined_helper = njit(inline="always", **_HELPER)  # inlined into its caller, which saves passing arrays
allocating_helper = njit(**_HELPER)


@functools.cache
def _cache_class() -> type:
    """Return the cache class for numba's dispatchers. Written for numba 0.61 to 0.68."""
    from numba.core import caching, compiler, serialize

    class KernelCache(caching.NullCache):
        """Stores the machine code of one kernel, in one file per signature and processor."""

        def __init__(self, function: FunctionType) -> None:
            self.function = function

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            """Return the stored code for a signature, or None if it must be compiled."""
            _postpone_blas()
            target_context.refresh()
            name, identity = _identify(self.function, sig, target_context.codegen())
            source = self.function.__code__.co_filename
            for folder in cache_folders(source)[0] if identity else ():
                with suppress(Exception):  # a damaged file is ignored: the code is compiled and replaces it
                    data = _read(folder / name, source)
                    if data[:_DIGEST] == hashlib.sha256(identity + data[_DIGEST:]).digest():
                        # the digest detects damage, not forgery: forged files are refused by their owner
                        return compiler.CompileResult._rebuild(target_context, *pickle.loads(data[_DIGEST:]))
            return None

        def save_overload(self, sig: Any, result: Any) -> None:
            """Store the code for a signature in the first writable folder."""
            name, identity = _identify(self.function, sig, result.codegen)
            if not identity or result.lifted or result.library.has_dynamic_globals:
                return
            payload = serialize.dumps(result._reduce())
            for folder in cache_folders(self.function.__code__.co_filename)[1]:
                with suppress(OSError), atomic_path(folder / name) as path:
                    path.write_bytes(hashlib.sha256(identity + payload).digest() + payload)
                    path.chmod(path.stat().st_mode & ~stat.S_IWOTH)  # or _read would refuse it where the umask is 0
                    return
            _warn_of_memory()

    return KernelCache


def _identify(function: FunctionType, sig: Any, codegen: Any) -> tuple[str, bytes]:
    """Return the file name for a signature and a description of all its code depends on, empty if it is unknown."""
    code = function.__code__
    target = repr((sig, codegen.magic_tuple()))
    python = f"py{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
    digest = hashlib.sha256(target.encode()).hexdigest()[:16]
    name = f"{Path(code.co_filename).stem}.{function.__qualname__}-{code.co_firstlineno}.{python}.{digest}.nbc"
    try:
        sources = _sources(function)
    except OSError:
        return name, b""
    return re.sub("[<>]", "", name), repr((numba.__version__, target, sources)).encode()


def cache_folders(file: str) -> tuple[list[Path], list[Path]]:
    """Return the folders to read the code of a module's kernels from, and the folders to try to write it to."""
    from numba.core import caching

    kinds = ("UserProvidedCacheLocator", "InTreeCacheLocator", "UserWideCacheLocator")
    locators: Any = [getattr(caching, kind, None) or getattr(caching, f"_{kind}") for kind in kinds]  # numba 0.61: _
    chosen, package, user = (Path(locator(cache_folders, file).get_cache_path()) for locator in locators)
    # without a home directory the user's folder would be a relative one called "~"
    places = [package, user] if user.is_absolute() else [package]
    if not (name := _config.CACHE_DIR) or name.startswith("~"):
        return places, places
    if not _takes_files(chosen):  # it may have been filled by another user
        return [chosen, *places], places
    # the chosen folder replaces a writable package folder and supplements a read-only one
    return [chosen] if os.access(package, os.W_OK) else [package, chosen], [chosen]


def _read(path: Path, source: str) -> bytes:
    """Return a file's bytes, or none if a user other than root, this one and the owner of `source` may have written it.

    Whoever can write machine code, or the pickle around it, can run code here.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if hasattr(os, "geteuid") and (
            status.st_uid not in (0, os.geteuid(), Path(source).stat().st_uid) or status.st_mode & stat.S_IWOTH
        ):
            return b""
        return file.read()


def _sources(function: FunctionType) -> list[str]:
    """Return digests of the source files of a kernel and of the functions it calls, and the constants they use.

    Raise OSError if a source is not a file. Numba's own cache does not notice changes to functions in other files.
    """
    digests, left = {_digest_of(__file__)}, [function]  # this file sets the options
    for current in left:
        digests.add(_digest_of(current.__code__.co_filename))
        cells = zip(current.__code__.co_freevars, current.__closure__ or (), strict=True)
        values = current.__globals__ | {name: cell.cell_contents for name, cell in cells}
        for name in _names_in(current.__code__) & values.keys():
            value = getattr(values[name], "py_func", values[name])  # the Python function of a helper
            if isinstance(value, FunctionType) and value not in left:
                left.append(value)
            elif isinstance(value, int | float | str | tuple | np.generic):
                digests.add(f"{current.__qualname__} {name} {value!r}")
    return sorted(digests)


def _names_in(code: CodeType) -> set[str]:
    inner = (_names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return {*code.co_names, *code.co_freevars}.union(*inner)


@functools.cache
def _digest_of(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@functools.cache
def _takes_files(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


@functools.cache  # warns once
def _warn_of_memory() -> None:
    warnings.warn(
        "compiled loops can be cached neither in the package's folder nor in the user's, so every process compiles "
        "them again, which takes up to a minute. Set NUMBA_CACHE_DIR to a writable folder.",
        CacheWarning,
        stacklevel=2,
    )
