"""Read inputs one by one within limits, and report the outcome of each.

In   lines of JSON on stdin: kind, file; the first argument: MiB of memory that readers may ask for in all
Out  lines of JSON on stdout: outcome (read, refused, broken), error, seconds, growth of resident memory in MiB
Not  time limits (harness.py ends a worker that hangs)
"""

import json
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

from readers import READERS


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries is not part of the answer
    _import_everything()
    from supercuts.core.errors import SuperCutsError

    _limit_memory(int(sys.argv[1]) << 20)
    warnings.simplefilter("ignore")
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        kind, file = json.loads(line)
        before, started = _peak_mib(), time.perf_counter()
        answer = {"outcome": "read", "error": ""}
        try:
            READERS[kind](Path(file))
        except SuperCutsError as error:
            answer = {"outcome": "refused", "error": f"{type(error).__name__}: {error}"[:300]}
        except BaseException as error:
            place = traceback.format_exception(error, limit=-6)
            answer = {"outcome": "broken", "error": f"{type(error).__name__}: {error}"[:300], "trace": "".join(place)}
        seconds = time.perf_counter() - started
        print(json.dumps({**answer, "seconds": round(seconds, 3), "mib": _peak_mib() - before}), file=answers)


def _import_everything() -> None:
    """Import all modules that readers need before memory is limited."""
    import scipy.io
    import skimage.draw
    import tifffile
    import torch

    import supercuts.datasets.coco
    import supercuts.evaluate.results
    import supercuts.pipeline
    import supercuts.selftaught.learned
    import supercuts.training.graphs  # noqa: F401

    try:
        import rasterio  # noqa: F401
    except ImportError:
        READERS.pop("georeference")
    torch.set_num_threads(1)
    _ = scipy.io, skimage.draw, tifffile


def _limit_memory(n_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
