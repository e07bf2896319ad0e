"""How numba compiles the loops of this package: what takes time and is never used is left out.

In   functions over plain arrays and numbers
Out  decorators: kernel for what is called from Python, helper for what kernels alone call; no module uses njit itself
Not  no kernels

Numba writes, optimises and stores two further functions around each one, to call it from Python and from C. A helper
needs neither, a kernel not the one for C. A helper is not cached on its own either: the kernel that calls it holds it,
and so is the same whether it was just compiled or read from the cache. Divisions follow numpy: a check for zero at each
would make every loop longer. Other threads run on while a kernel does.

Numba also counts who holds an array, at each call that writes to one, with instructions that lock the memory: small
helpers take several times as long. A helper only borrows its caller's arrays and counts nothing; one that makes arrays
is an allocating_helper, which numba demands by an error.
"""

from typing import Any

from numba import njit


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

kernel = njit(cache=True, nogil=True, **_OPTIONS)
sum_kernel = njit(cache=True, nogil=True, fastmath=IN_ANY_ORDER, **_OPTIONS)
fast_kernel = njit(cache=True, nogil=True, fastmath=True, **_OPTIONS)  # of finite numbers
helper = njit(**_BORROWS)
fast_helper = njit(fastmath=True, **_BORROWS)
inlined_helper = njit(inline="always", **_HELPER)  # written into its caller, which saves passing arrays
allocating_helper = njit(**_HELPER)
