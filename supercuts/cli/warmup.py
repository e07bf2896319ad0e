"""`supercuts warmup`: compile what a first segmentation would compile.

In   nothing
Out  numba's cache, in the package's folder or in $NUMBA_CACHE_DIR; the seconds it took
Not  no result is kept
"""

import time

import typer

from supercuts.cli.common import working


def warmup() -> None:
    """Compile now what the first segmentation would compile: after an editable install, or for another NUMBA_CACHE_DIR.

    An ordinary installation has compiled it already.
    """
    from supercuts.warm import compile_kernels

    start = time.perf_counter()
    with working("compiling"):
        compile_kernels()
    typer.echo(f"ready after {time.perf_counter() - start:.1f} s")
