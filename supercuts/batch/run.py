"""Segment the images of a batch: skip finished ones, report failures, move outputs into place."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from supercuts.batch.local import physical_cores, run_local
from supercuts.batch.outputs import is_full, suffixes
from supercuts.batch.sources import (
    DONE,
    FULL,
    UNCHANGED,
    UNUSABLE,
    Result,
    Settings,
    Source,
    Task,
    fitting,
    is_url,
    read_bytes,
)
from supercuts.batch.workspace import Workspace, open_workspace
from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError, SuperCutsError
from supercuts.core.files import write_json
from supercuts.images.raster import ReadOptions, check_options

ENGINES = ("local", "ray")
FAILURES = "failures.json"
FACTORY = "supercuts.batch.outputs:Segmenter"
_IN_MEMORY = "memory://"  # fsspec's in-memory files, readable only in this process


@dataclass(frozen=True, slots=True)
class Engine:
    """Engine that runs the tasks.

    workers  number of processes or actors; None: one per physical core (local), per GPU or CPU of the cluster (ray)
    threads  threads per process (local); None: the cores are divided among the processes
    gpus     GPUs per actor (ray)
    factory  factory of the work function, "module:name"
    """

    name: str = "local"
    workers: int | None = None
    threads: int | None = None
    gpus: float | None = None
    factory: str = FACTORY

    def __post_init__(self) -> None:
        """Raise InputError for an unknown engine or an invalid number of workers."""
        check_choice("engine", self.name, ENGINES)
        if self.workers is not None:
            check_in_range("workers", self.workers, 1, 4096, remedy="Ask for at least one.")

    def run(self, tasks: Sequence[Task], settings: Settings, stage: Path) -> Iterator[Result]:
        """Yield the result of each task, in order of completion."""
        arguments = {"settings": asdict(settings), "stage": str(stage.resolve())}
        if not tasks:
            return iter(())
        if self.name == "local":
            return run_local(tasks, self.factory, arguments, self.workers or physical_cores(), self.threads)
        from supercuts.batch.ray_engine import run_ray

        return run_ray(tasks, self.factory, arguments, self.workers, self.gpus)


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that failed, with the type and message of the error."""

    source: str
    name: str
    error: str
    message: str


@dataclass(slots=True)
class Report:
    """Outcome of a batch, complete or stopped.

    notes    warnings about content omitted or changed while reading images; each names its image
    stopped  reason why the batch stopped early; "" if it completed
    """

    total: int
    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stopped: str = ""
    is_interrupted: bool = False

    @property
    def remaining(self) -> int:
        """Number of images that were not tried."""
        return self.total - len(self.done) - len(self.unchanged) - len(self.failures)


def run_batch(
    sources: Sequence[Source],
    out: Path,
    settings: Settings | None = None,
    engine: Engine | None = None,
    force: bool = False,
    on_result: Callable[[Source, Result, Report], None] = lambda *_: None,
) -> Report:
    """Segment all sources into a folder.

    A full disk or Ctrl-C stops the batch early, with the reason in the report. The same call resumes it.

    Parameters
    ----------
    sources
        Images with the names of their outputs.
    out
        Folder of the outputs.
    settings
        Model, formats and reading of images; if None, the defaults.
    engine
        Processes or a Ray cluster; if None, one process per physical core.
    force
        Whether to segment images again whose outputs are up to date.
    on_result
        ``on_result(source, result, report)`` is called after each image.

    Returns
    -------
    Report
        Finished, unchanged and failed images, and the reason if the batch stopped early.

    Raises
    ------
    InputError
        If settings are unknown, or outputs would overwrite a source or each other.
    SuperCutsError
        If no process can load the model, or if a package that it needs is not installed.
    """
    settings, engine = settings or Settings(), engine or Engine()
    added = suffixes(settings.formats, settings.overlays)
    sources = [replace(source, name=fitting(source.name, added)) for source in sources]
    check_targets(sources, out, settings)
    check_options(ReadOptions(settings.axes, settings.page, settings.stretch))
    if settings.mask is not None and not Path(settings.mask).exists():
        raise InputError(f"mask {settings.mask}: no such file or folder. Give one file for all images, or a folder.")
    fingerprint = _fingerprint(settings)
    report = Report(len(sources))
    with open_workspace(out) as workspace:
        try:
            for source in sources:
                if source.problem:
                    report.failures.append(Failure(source.address, source.name, "InputError", source.problem))
            tasks = [
                _task(i, source, workspace, fingerprint, force)
                for i, source in enumerate(sources)
                if not source.problem
            ]
            results = engine.run(tasks, settings, workspace.stage)
            try:
                for result in results:
                    _take(result, sources[result.number], workspace, fingerprint, report)
                    on_result(sources[result.number], result, report)
                assert report.remaining == 0, "an engine returns a result for every task"
            finally:
                if hasattr(results, "close"):
                    results.close()  # ends the workers
        except _Stop as stop:
            report.stopped = str(stop)
        except KeyboardInterrupt:
            report.stopped, report.is_interrupted = "interrupted", True
        _write_failures(report, out)
    return report


def check_targets(sources: Sequence[Source], out: Path, settings: Settings) -> None:
    """Raise InputError if outputs would overwrite a source or each other."""
    added = suffixes(settings.formats, settings.overlays)
    if len(set(added)) != len(added):
        raise InputError(f"--format {' '.join(settings.formats)}: a format is repeated. Give each once.")
    sources = [source for source in sources if not source.problem]
    root = out.resolve()
    owners: dict[str, Source] = {}
    for source in sources:
        for target in (f"{source.name}{suffix}".casefold() for suffix in added):
            owner = owners.setdefault(target, source)
            if owner is not source:
                raise InputError(f"{owner.address} and {source.address} would both be written as {target}. Rename one.")
    for source in sources:
        if is_url(source.address):
            continue
        place = Path(source.address).parent.resolve() / Path(source.address).name
        if place.is_relative_to(root) and place.relative_to(root).as_posix().casefold() in owners:
            raise InputError(f"{source.address} would be overwritten by an output. Give another folder to write to.")


class _Stop(Exception):
    """Reason why the batch cannot continue."""


def _take(result: Result, source: Source, workspace: Workspace, fingerprint: str, report: Report) -> None:
    if result.status == DONE:
        try:
            workspace.commit(source.name, source.address, fingerprint, result)
        except OSError as error:
            if is_full(error, workspace.stage):
                raise _Stop(_no_space(workspace.out, str(error))) from error
            report.failures.append(Failure(source.address, source.name, type(error).__name__, str(error)))
            return
        report.done.append(source.name)
        report.notes += result.notes
    elif result.status == UNCHANGED:
        report.unchanged.append(source.name)
    elif result.status == FULL:
        raise _Stop(_no_space(workspace.out, result.message))
    elif result.status == UNUSABLE:
        raise SuperCutsError(result.message)
    else:
        report.failures.append(Failure(source.address, source.name, result.error, result.message))


def _no_space(out: Path, message: str) -> str:
    return f"{out}: nothing more can be written ({message}). Free space, then run the same command again."


def _task(number: int, source: Source, workspace: Workspace, fingerprint: str, force: bool) -> Task:
    previous = None if force else workspace.known(source.name, fingerprint)
    data = read_bytes(source.address) if source.address.startswith(_IN_MEMORY) else None
    return Task(number, source.address, source.name, previous, data)


def _fingerprint(settings: Settings) -> str:
    from supercuts.export.npz import FORMAT_VERSION
    from supercuts.merging.mergers import MERGERS
    from supercuts.networks.network import VIEWS, weights_path

    if settings.merging is not None:
        check_choice("merging", settings.merging, MERGERS)
    if settings.views is not None:
        check_choice("views", settings.views, VIEWS)
    path = weights_path(settings.model)
    try:
        with path.open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"model {path} cannot be read ({error.strerror}). Give compact, or a file of weights."
        ) from error
    return settings.fingerprint(weights, FORMAT_VERSION)


def _write_failures(report: Report, out: Path) -> None:
    """Write the list of failures; if there are none, remove the list of an earlier run."""
    path = out / FAILURES
    if not report.failures:
        path.unlink(missing_ok=True)
        return
    try:
        write_json(path, [asdict(failure) for failure in report.failures])
    except OSError:  # a full disk, if already reported; the report holds the failures too
        if not report.stopped:
            raise
