"""Score many images in several processes; an interrupted run resumes with the images not yet scored."""

import functools
import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from supercuts.core.errors import InputError, SuperCutsError
from supercuts.core.files import atomic_path, package_version
from supercuts.core.threads import keep_freed_memory
from supercuts.datasets.sample import AnySample, Sample
from supercuts.images.io import read_image
from supercuts.metrics.superpixel import check_label_map

_Dataclass = TypeVar("_Dataclass")


def to_plain(value: object) -> Any:
    """Return dataclasses as dicts and arrays as dicts of dtype, shape and values; leave other values unchanged."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "shape": value.shape, "values": value.ravel().tolist()}
    return value.item() if isinstance(value, np.generic) else value


def from_plain(kind: type[_Dataclass], plain: Any) -> _Dataclass:
    """Return the dataclass of the given kind from the result of to_plain.

    >>> from supercuts.metrics.region import RegionSummary
    >>> summary = RegionSummary(*(float(i) for i in range(10)))
    >>> from_plain(RegionSummary, to_plain(summary)) == summary
    True
    """
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], entry) for name, entry in plain.items()})


def _value(hint: Any, plain: Any) -> Any:
    if get_origin(hint) is UnionType:
        if plain is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    numbers: dict[Any, Any] = {float: (int, float), int: int, str: str, bool: bool}
    if hint in numbers and (not isinstance(plain, numbers[hint]) or (isinstance(plain, bool) and hint is not bool)):
        raise TypeError(f"{plain!r:.40} is not of type {hint.__name__}")
    if is_dataclass(hint):
        return from_plain(hint, plain) if isinstance(hint, type) else plain
    if isinstance(plain, dict):
        return np.array(plain["values"], plain["dtype"]).reshape(plain["shape"])
    return tuple(plain) if get_origin(hint) is tuple else plain


_Score = TypeVar("_Score")


@dataclass(frozen=True, slots=True)
class ScoringTask(Generic[_Score]):
    """One image to be scored by one method.

    method  name in tables, unique within the run
    sample  image with its annotations
    score   picklable function that scores the sample
    inputs  other files that the score depends on, besides the image and its annotation
    """

    method: str
    sample: AnySample
    score: Callable[[Any], _Score]
    inputs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_Score]):
    """Result of a task: either its score or an error message."""

    task: ScoringTask[_Score]
    score: _Score | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Store(Generic[_Score]):
    """A folder of finished scores of one dataclass; a score is reused only if everything it depends on is equal."""

    folder: Path
    kind: type[_Score]

    def read(self, task: ScoringTask[_Score]) -> _Score | None:
        """Return the stored score of a task, or None."""
        try:
            record = json.loads(self._path(task).read_text(encoding="utf-8"))
            return from_plain(self.kind, record["score"]) if record["origin"] == _origin(task) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # missing, damaged, or from another version: the image is scored again

    def write(self, task: ScoringTask[_Score], score: _Score) -> None:
        """Store a score."""
        record = {"origin": _origin(task), "score": to_plain(score)}
        with atomic_path(self._path(task)) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def folder_of(self, method: str) -> Path:
        """Return the folder of the scores of one method."""
        # hashed, because a method's name may contain any character, including slashes
        return self.folder / hashlib.sha256(method.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _path(self, task: ScoringTask[_Score]) -> Path:
        return self.folder_of(task.method) / f"{task.sample.name}.json"


def clear(folder: Path) -> None:
    """Remove a Store's scores, of all methods or one, from a folder, and the folder if nothing else is in it."""
    for path in folder.rglob("*.json"):  # samples' names may contain slashes
        path.unlink()
    for emptied in (*sorted(folder.rglob("*"), reverse=True), folder):  # subfolders before their parents
        if emptied.is_dir() and not any(emptied.iterdir()):
            emptied.rmdir()


def run(
    tasks: Sequence[ScoringTask[_Score]], n_workers: int, store: Store[_Score] | None = None
) -> Iterator[Outcome[_Score]]:
    """Yield the outcome of every task: first those with stored scores, then the others in order of completion."""
    waiting = []
    for task in tasks:
        if store is not None and (score := store.read(task)) is not None:
            yield Outcome(task, score)
        else:
            waiting.append(task)
    for outcome in _score_here(waiting) if min(n_workers, len(waiting)) < 2 else _score_in_parallel(waiting, n_workers):
        if store is not None and outcome.score is not None:
            store.write(outcome.task, outcome.score)
        yield outcome


def _score_here(tasks: Sequence[ScoringTask[_Score]]) -> Iterator[Outcome[_Score]]:
    for task in tasks:
        yield _attempt(task)


def _score_in_parallel(tasks: Sequence[ScoringTask[_Score]], n_workers: int) -> Iterator[Outcome[_Score]]:
    # spawn: a process forked while thread pools run may hang
    others = set(active_children())
    pool = ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"), initializer=begin_worker)
    try:
        for future in as_completed([pool.submit(_attempt, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise SuperCutsError(
            f"A worker process was killed, usually because memory ran out with {n_workers} workers. Run the "
            "command again with fewer: with --out, the images scored so far are kept."
        ) from error
    except KeyboardInterrupt:  # workers are killed, because images in progress may take long
        for worker in set(active_children()) - others:
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt(task: ScoringTask[Any]) -> Outcome[Any]:
    try:
        return Outcome(task, task.score(task.sample))
    except SuperCutsError as error:
        return Outcome(task, error=str(error))
    # an error of any kind in one image must not lose the scores of the others
    except Exception as error:
        return Outcome(task, error=f"{type(error).__name__}: {error}")


def begin_worker() -> None:
    """Limit a pool process to one thread; make it ignore Ctrl-C and exit with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # torch and numpy's libraries read it when loaded; one thread each, because there is one process per core
    os.environ["OMP_NUM_THREADS"] = "1"
    keep_freed_memory()
    if "torch" in sys.modules:  # imported already if the main script, which workers import first, imports torch
        sys.modules["torch"].set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # without this, a worker of ProcessPoolExecutor would wait forever for its next image once the parent is killed
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _origin(task: ScoringTask[Any]) -> dict[str, Any]:
    """Return everything that a score depends on: equal origins mean equal scores."""
    return {
        "version": package_version(),
        "score": repr(task.score),
        "files": [_digest(path) for path in (task.sample.image_path, task.sample.truth_path, *task.inputs)],
    }


def _digest(path: Path) -> str:
    state = path.stat()
    return _digest_of(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=8)  # one file may hold the annotations of all images
def _digest_of(path: Path, _n_bytes: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_Prediction = TypeVar("_Prediction")


def pair(
    predictions: Callable[[np.ndarray], _Prediction] | Iterable[_Prediction], samples: Sequence[Sample]
) -> Iterator[tuple[Sample, np.ndarray | None, _Prediction]]:
    """Yield each sample, its image if it was read for the prediction (else None), and its prediction."""
    if len(samples) == 0:
        raise InputError("There are no samples: give a dataset or a list of its samples.")
    if callable(predictions):
        for sample in samples:
            with naming(sample.name):
                image = read_image(sample.image_path)
                prediction = predictions(image)
            yield sample, image, prediction
        return
    n_given = 0
    for prediction in predictions:
        if n_given == len(samples):
            raise InputError(f"There are more predictions than the {n_given} samples: give one for each, in order.")
        yield samples[n_given], None, prediction
        n_given += 1
    if n_given < len(samples):
        raise InputError(f"There are {n_given} predictions for {len(samples)} samples: give one for each, in order.")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Add the name of the image to any error raised in the block."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while scoring image {name}")
        raise


def check_truths(shape: tuple[int, ...], truths: Sequence[np.ndarray]) -> None:
    """Raise InputError if there are no annotators, or an annotation is invalid or differs in shape."""
    if len(truths) == 0:
        raise InputError("There are no annotators: give at least one truth segmentation.")
    for truth in truths:
        check_label_map("truth", truth)
        if truth.shape != shape:
            raise InputError(
                f"truth {truth.shape} and prediction {shape} differ in shape: score label maps of one image."
            )


N_RESAMPLES = 1000


def bootstrap_95(
    summarise: Callable[[Sequence[_Score]], Mapping[str, float]],
    scores: Sequence[_Score],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return the 2.5 and 97.5 percentiles of each figure over resamples of the images with replacement.

    This is the percentile bootstrap (Efron, 1979). Figures are recomputed for each resample, so best thresholds may
    change. The interval of a single image is NaN.

    >>> low, high = bootstrap_95(lambda xs: {"mean": sum(xs) / len(xs)}, [1.0, 2.0, 3.0])["mean"]
    >>> 1 <= low < 2 < high <= 3
    True
    """
    if len(scores) < 2:
        return dict.fromkeys(summarise(scores), (float("nan"), float("nan")))
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(scores), size=(n_resamples, len(scores)))
    figures = [summarise([scores[i] for i in draw]) for draw in draws]
    values = np.array([list(row.values()) for row in figures])
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(figures[0])}
