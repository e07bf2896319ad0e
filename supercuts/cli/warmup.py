"""`supercuts warmup`: compile what a first segmentation would compile.

In   nothing: the image is made here
Out  numba's cache, in the package's folder or in $NUMBA_CACHE_DIR; the seconds it took
Not  no result is kept
"""

import time
from typing import Annotated

import typer

from supercuts.cli.common import working


def warmup(
    engine: Annotated[str, typer.Option(help="What runs the network: torch or onnx.")] = "torch",
) -> None:
    """Compile now what the first segmentation on this machine would compile, for example in a container's image."""
    import numpy as np

    from supercuts.pipeline import load

    start = time.perf_counter()
    with working("compiling"):
        image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        h = load("compact", engine=engine).segment(image, superpixels=40)
        h.cut(regions=5)
        h.ucm()
    typer.echo(f"ready after {time.perf_counter() - start:.1f} s")
