"""How numba compiles the loops of this package: what takes time and is never used is left out.

In   functions over plain arrays and numbers
Out  decorators: kernel for what is called from Python, helper for what kernels alone call
Not  no kernels

Numba writes, optimises and stores two further functions around each one, to call it from Python and from C. A helper
needs neither, a kernel not the one for C: together they are about half of the first segmentation's compilation. A
helper is not cached on its own either: code that calls it holds it, and so is the same whether it was just compiled or
read from the cache. Divisions follow numpy: a check for zero at each would make every loop longer.
"""

from numba import njit

kernel = njit(cache=True, no_cfunc_wrapper=True, error_model="numpy")
helper = njit(no_cfunc_wrapper=True, no_cpython_wrapper=True, error_model="numpy")
