"""How numba compiles the loops of this package: what takes time and is never used is left out.

In   functions over plain arrays and numbers
Out  decorators: kernel for what is called from Python, helper for what kernels alone call
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

_OPTIONS: dict[str, Any] = {"no_cfunc_wrapper": True, "error_model": "numpy"}
IN_ANY_ORDER = {"reassoc", "nsz", "arcp", "contract"}  # sums are; infinities and NaN keep their meaning

HELPER: dict[str, Any] = {**_OPTIONS, "no_cpython_wrapper": True, "_nrt": False}

kernel = njit(cache=True, nogil=True, **_OPTIONS)
sum_kernel = njit(cache=True, nogil=True, fastmath=IN_ANY_ORDER, **_OPTIONS)
helper = njit(**HELPER)
inlined_helper = njit(inline="always", **HELPER)  # written into its caller, which saves passing arrays
allocating_helper = njit(**{**HELPER, "_nrt": True})
