"""Run tasks in actors of a Ray cluster, through Ray Data."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from supercuts.batch.local import DIED, TRIES, make_work, physical_cores, worker_environment
from supercuts.batch.sources import FAILED, Result, Task
from supercuts.core.checks import check_installed
from supercuts.core.errors import SuperCutsError
from supercuts.core.threads import keep_freed_memory


class Actor:
    """Worker as Ray Data calls it, with batches of lines of one task each."""

    def __init__(self, factory: str, arguments: Mapping[str, Any]) -> None:
        import ray

        arguments = dict(arguments)
        if ray.get_gpu_ids():
            arguments["device"] = "cuda"
        keep_freed_memory()
        self.work = make_work({"factory": factory, "arguments": arguments})

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Return the results of a batch as lines."""
        return {"result": [self.work(Task.from_line(str(line))).to_line() for line in batch["task"]]}


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
    check_installed(("ray", "pyarrow"), extra="distributed")
    with _cluster():
        import ray

        resources = ray.cluster_resources()
        gpus = min(1.0, resources.get("GPU", 0.0)) if gpus is None else gpus
        units = resources["GPU"] / gpus if gpus else resources.get("CPU", 1.0)
        n_workers = min(n_workers or max(1, int(units)), len(tasks))
        threads = 1 if n_workers >= int(resources.get("CPU", 1)) else int(resources.get("CPU", 1)) // n_workers
        by_number = {task.number: task for task in tasks}
        with warnings.catch_warnings(action="ignore"):  # Ray announces changes of its interface
            lines = _dataset(tasks, factory, arguments, n_workers, gpus, threads)
        # blocks, without prefetching: else a result would be kept until the next one is there
        for batch in lines.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for line in batch["result"]:
                result = Result.from_line(str(line))
                del by_number[result.number]
                yield result
    for task in by_number.values():  # Ray Data omits tasks that failed
        message = f"{task.address}: worker died {TRIES} times, probably out of memory"
        yield Result(task.number, FAILED, error=DIED, message=message)


def _dataset(
    tasks: Sequence[Task], factory: str, arguments: Mapping[str, Any], n_workers: int, gpus: float, threads: int
) -> Any:
    import ray

    # one task per block: Ray retries whole blocks, and returns results when a whole block is done
    rows = [{"task": task.to_line()} for task in tasks]
    lines = ray.data.from_items(rows, override_num_blocks=len(rows))
    environment = worker_environment(threads)
    kept = {name: environment[name] for name in environment if name.endswith(("_NUM_THREADS", "_MAXIMUM_THREADS"))}
    return lines.map_batches(
        Actor,
        fn_constructor_args=(factory, dict(arguments)),
        batch_size=1,
        batch_format="numpy",
        # one task in flight per actor: tasks queued behind one that kills the actor would count as tried
        compute=ray.data.ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=1),
        num_cpus=threads if not gpus else 1,
        num_gpus=gpus or None,
        max_restarts=-1,
        max_task_retries=TRIES - 1,
        runtime_env={"env_vars": {**kept, "PYTHONPATH": environment["PYTHONPATH"]}},
    )


@contextmanager
def _cluster() -> Iterator[None]:
    """Connect to an existing cluster (RAY_ADDRESS, `ray start`), else start a local one until the block ends."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.data

    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray)
    context = ray.data.DataContext.get_current()
    logger = logging.getLogger("ray.data")
    before = (context.max_errored_blocks, context.enable_progress_bars, logger.level)
    context.max_errored_blocks = -1  # a task that failed all tries is omitted, the others continue
    context.enable_progress_bars = False
    logger.setLevel(logging.ERROR)  # it logs its plan and progress to the terminal
    try:
        yield
    finally:
        context.max_errored_blocks, context.enable_progress_bars, level = before
        logger.setLevel(level)
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
