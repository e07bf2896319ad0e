"""numba options of this package: unused wrappers, which take compile time, are left out.

Numba writes, optimises and stores two further functions around each one, to call it from Python and from C. A helper
needs neither, a kernel not the one for C. A helper is not cached on its own either: the kernel that calls it holds it,
and so is the same whether it was just compiled or read from the cache. Divisions follow numpy: a check for zero at each
would make every loop longer. Other threads run on while a kernel does.

Numba also counts who holds an array, at each call that writes to one, with instructions that lock the memory: small
helpers take several times as long. A helper only borrows its caller's arrays and counts nothing; one that makes arrays
is an allocating_helper, which numba demands by an error.

Machine code is kept beside the package, where an installation puts what it has compiled, or in a folder of the user's.
What cannot be read there is compiled again, and what cannot be kept there is compiled in every process.
"""

import functools
import hashlib
import os
import pickle
import re
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
    """Return those of some undocumented options that this numba has; without them it compiles longer.

    Written for numba 0.61 to 0.68.
    """
    try:
        from numba.core.cpu import CPUTargetOptions
    except ImportError:
        return {}
    return {name: value for name, value in options.items() if hasattr(CPUTargetOptions, name)}


_OPTIONS: dict[str, Any] = {**known_options(no_cfunc_wrapper=True), "error_model": "numpy"}
IN_ANY_ORDER = {"reassoc", "nsz", "arcp", "contract"}  # sums are; infinities and NaN keep their meaning

_HELPER: dict[str, Any] = {**_OPTIONS, **known_options(no_cpython_wrapper=True)}
_BORROWS: dict[str, Any] = {**_HELPER, **known_options(_nrt=False)}
_config: Any = numba.config  # made of the environment
_DIGEST = hashlib.sha256().digest_size


def _kernel(function: Any, **options: Any) -> Any:
    dispatcher = njit(nogil=True, **_OPTIONS, **options)(function)
    if not hasattr(dispatcher, "enable_caching"):  # NUMBA_DISABLE_JIT leaves the function as it is
        return dispatcher
    try:
        dispatcher._cache = _cache_class()(function)
    except ImportError:  # of a numba with other private modules, whose cache needs a folder to write to
        with suppress(RuntimeError):
            dispatcher.enable_caching()
    return dispatcher


kernel = _kernel
sum_kernel = functools.partial(_kernel, fastmath=IN_ANY_ORDER)
fast_kernel = functools.partial(_kernel, fastmath=True)  # of finite numbers
helper = njit(**_BORROWS)
fast_helper = njit(fastmath=True, **_BORROWS)
inlined_helper = njit(inline="always", **_HELPER)  # written into its caller, which saves passing arrays
allocating_helper = njit(**_HELPER)


@functools.cache
def _cache_class() -> type:
    """Return the class of caches that dispatchers take. Written for numba 0.61 to 0.68."""
    from numba.core import caching, compiler, serialize

    class KernelCache(caching.NullCache):
        """Keeps the machine code of one kernel, in a file for each signature and processor."""

        def __init__(self, function: FunctionType) -> None:
            self.function = function

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            """Return the code for a signature, or None if it has to be compiled."""
            target_context.refresh()
            name, identity = _identify(self.function, sig, target_context.codegen())
            for folder in _folders(self.function)[0] if identity else ():
                with suppress(Exception):  # whatever is wrong with a file: the code is compiled and replaces it
                    data = (folder / name).read_bytes()
                    if data[:_DIGEST] == hashlib.sha256(identity + data[_DIGEST:]).digest():
                        return compiler.CompileResult._rebuild(target_context, *pickle.loads(data[_DIGEST:]))
            return None

        def save_overload(self, sig: Any, result: Any) -> None:
            """Keep the code for a signature in the first folder that takes it."""
            name, identity = _identify(self.function, sig, result.codegen)
            if not identity or result.lifted or result.library.has_dynamic_globals:
                return
            payload = serialize.dumps(result._reduce())
            for folder in _folders(self.function)[1]:
                with suppress(OSError), atomic_path(folder / name) as path:
                    path.write_bytes(hashlib.sha256(identity + payload).digest() + payload)
                    return
            _warn_of_memory()

    return KernelCache


def _identify(function: FunctionType, sig: Any, codegen: Any) -> tuple[str, bytes]:
    """Return the name of the file of a signature, and what its code depends on: nothing if that cannot be told."""
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


def _folders(function: FunctionType) -> tuple[list[Path], list[Path]]:
    """Return where code is looked for, and where it is kept if it may be written there."""
    from numba.core import caching

    kinds: Any = (caching.UserProvidedCacheLocator, caching.InTreeCacheLocator, caching.UserWideCacheLocator)
    given, package, user = (Path(kind(function, function.__code__.co_filename).get_cache_path()) for kind in kinds)
    if (name := _config.CACHE_DIR) and not name.startswith("~") and _takes_files(given):
        # in place of a package's folder that fills as well, beside one that only its owner fills
        return [given] if os.access(package, os.W_OK) else [package, given], [given]
    # without a home the user's folder would be one called "~"
    return (places := [package, user] if user.is_absolute() else [package]), places


def _sources(function: FunctionType) -> list[str]:
    """Return digests of the files of a kernel and of all that it calls, and the constants that these use.

    Raise OSError if one is no file. Numba on its own does not notice when what a kernel calls in another file changes.
    """
    found, left = {_digest_of(__file__)}, [function]  # this file has the options
    for current in left:
        found.add(_digest_of(current.__code__.co_filename))
        cells = zip(current.__code__.co_freevars, current.__closure__ or (), strict=True)
        values = current.__globals__ | {name: cell.cell_contents for name, cell in cells}
        for name in _names_in(current.__code__) & values.keys():
            value = getattr(values[name], "py_func", values[name])  # of a helper
            if isinstance(value, FunctionType) and value not in left:
                left.append(value)
            elif isinstance(value, int | float | str | tuple | np.generic):
                found.add(f"{current.__qualname__} {name} {value!r}")
    return sorted(found)


def _names_in(code: CodeType) -> set[str]:
    inner = (_names_in(one) for one in code.co_consts if isinstance(one, CodeType))
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


@functools.cache  # which says it once
def _warn_of_memory() -> None:
    warnings.warn(
        "compiled loops cannot be kept, neither in the package's folder nor in the user's, so every process compiles "
        "them again, which takes up to a minute. Set NUMBA_CACHE_DIR to a folder that can be written to.",
        CacheWarning,
        stacklevel=2,
    )
