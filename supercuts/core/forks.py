"""Let models work in forked processes, although the threads of torch do not survive a fork."""

import functools
import os
import sys


@functools.cache
def prepare_for_forks() -> None:
    """Let torch work with one thread in every child that this process forks from now on.

    A forked child has none of the threads that its parent's OpenMP believes to have, and would wait for them for ever.
    With one thread it waits for nobody. `multiprocessing` forks by default on Linux up to Python 3.13, and so do
    servers that load an application before they fork, such as gunicorn with --preload and celery.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
