"""Run tasks in actors of a Ray cluster."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from supercuts.batch.local import DIED, STARTS, TRIES, make_work, physical_cores, worker_environment
from supercuts.batch.sources import FAILED, Result, Task
from supercuts.core.checks import check_installed
from supercuts.core.errors import SuperCutsError
from supercuts.core.threads import keep_freed_memory


class Actor:
    """Worker of a cluster: takes a task and returns its result, each as a line."""

    def __init__(self, factory: str, arguments: Mapping[str, Any]) -> None:
        import ray

        arguments = dict(arguments)
        if ray.get_gpu_ids():
            arguments["device"] = "cuda"
        keep_freed_memory()
        self.work = make_work({"factory": factory, "arguments": arguments})

    def start(self) -> None:
        """Return if the worker is alive, once it is."""

    def run(self, line: str) -> str:
        """Return the result of a task."""
        return self.work(Task.from_line(line)).to_line()


def run_ray(
    tasks: Sequence[Task],
    factory: str,
    arguments: Mapping[str, Any],
    n_workers: int | None = None,
    gpus: float | None = None,
) -> Iterator[Result]:
    """Yield the result of each task, in order of completion.

    n_workers  number of actors; if None, as many as the cluster's GPUs suffice for, or one per CPU if `gpus` is 0
    gpus       GPUs per actor; if None, 1 if the cluster has GPUs, else 0
    """
    check_installed(("ray",), extra="distributed")
    with _cluster():
        import ray

        resources = ray.cluster_resources()
        gpus = min(1.0, resources.get("GPU", 0.0)) if gpus is None else gpus
        units = resources["GPU"] / gpus if gpus else resources.get("CPU", 1.0)
        n_workers = min(n_workers or max(1, int(units)), len(tasks))
        threads = 1 if n_workers >= int(resources.get("CPU", 1)) else int(resources.get("CPU", 1)) // n_workers
        worker = ray.remote(Actor).options(**_options(threads, gpus))
        yield from _results(lambda: worker.remote(factory, dict(arguments)), tasks, n_workers)


def _results(start: Callable[[], Any], tasks: Sequence[Task], n_workers: int) -> Iterator[Result]:
    """Yield the results of tasks by actors, each of which has one task at a time; one that dies is replaced."""
    import ray

    waiting = deque((task, 1) for task in tasks)
    busy: dict[Any, tuple[Any, Task | None, int]] = {}  # by the reference of what is awaited
    failed_starts = 0

    def ask(actor: Any) -> None:
        busy[actor.start.remote()] = (actor, None, 0)  # a task sent to a dead worker would count as tried

    for _ in range(n_workers):
        ask(start())
    try:
        while waiting or any(task for _, task, _ in busy.values()):
            (reference,), _ = ray.wait(list(busy))
            actor, task, tries = busy.pop(reference)
            try:
                line = ray.get(reference)
            except ray.exceptions.RayError as error:
                failed_starts += task is None
                if failed_starts >= STARTS:
                    raise SuperCutsError(f"no worker of Ray can be started: {error} Try --engine local.") from error
                if task and tries < TRIES:
                    waiting.appendleft((task, tries + 1))
                elif task:
                    message = f"{task.address}: worker died {TRIES} times, probably out of memory"
                    yield Result(task.number, FAILED, error=DIED, message=message)
                ask(start())
                continue
            failed_starts = 0
            if task:
                yield Result.from_line(line)
                ask(actor)
            elif waiting:
                following, tries = waiting.popleft()
                busy[actor.run.remote(following.to_line())] = (actor, following, tries)
    finally:
        for actor, _, _ in busy.values():
            ray.kill(actor)


def _options(threads: int, gpus: float) -> dict[str, Any]:
    environment = worker_environment(threads)
    kept = {name: environment[name] for name in environment if name.endswith(("_NUM_THREADS", "_MAXIMUM_THREADS"))}
    return {
        "num_cpus": threads if not gpus else 1,
        "num_gpus": gpus or None,
        "runtime_env": {"env_vars": {**kept, "PYTHONPATH": environment["PYTHONPATH"]}},
    }


@contextmanager
def _cluster() -> Iterator[None]:
    """Connect to an existing cluster (RAY_ADDRESS, `ray start`), else start a local one until the block ends."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray)
    try:
        yield
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        try:
            ray.init("auto", **options)
        except ConnectionError:
            if "RAY_ADDRESS" in os.environ:
                raise
            ray.init("local", include_dashboard=False, num_cpus=physical_cores(), **options)
    except Exception as error:  # a start that takes too long has no class of its own
        raise SuperCutsError(f"Ray did not start: {error} Use --engine local, or run the command again.") from error
