"""The methods compared in one evaluation: a model, or folders of results, each scored on the same images."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from supercuts.datasets.base import AnySample, Sample
from supercuts.evaluate.hierarchies import HierarchyScores
from supercuts.evaluate.results import find_results
from supercuts.evaluate.run import Outcome, Store, Task, run

_Score = TypeVar("_Score")


@dataclass(frozen=True, slots=True)
class Method(Generic[_Score]):
    """What is to be scored.

    name      in tables
    images    names of all images that should be scored, in the order of the dataset
    tasks     one per image that can be
    failures  why each of the other images cannot, by name
    notes     what else was found that the caller should know
    """

    name: str
    images: tuple[str, ...]
    tasks: tuple[Task[_Score], ...]
    failures: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MethodResult(Generic[_Score]):
    """What one method scored: scores by image name, and why the other images have none; in the order of the dataset."""

    method: str
    scores: dict[str, _Score]
    failures: dict[str, str]

    @property
    def n_images(self) -> int:
        """Images that should have been scored."""
        return len(self.scores) + len(self.failures)


def of_model(name: str, samples: Sequence[AnySample], score: Callable[[Any], _Score], weights: Path) -> Method[_Score]:
    """Return the method that predicts every image with one model."""
    tasks = tuple(Task(name, sample, score, (weights,)) for sample in samples)
    return Method(name, tuple(sample.name for sample in samples), tasks, {})


def of_folder(
    folder: Path, samples: Sequence[Sample], scorer: Callable[[Path], Callable[[Sample], _Score]]
) -> Method[_Score]:
    """Return the method whose results are the files of a folder, one per image, named after it."""
    images = tuple(sample.name for sample in samples)
    found = find_results(folder, images)
    tasks = [
        Task(str(folder), sample, scorer(found.files[sample.name]), (found.files[sample.name],))
        for sample in samples
        if sample.name in found.files
    ]
    notes = tuple(f"{path}: no image of this split has that name; not scored" for path in found.unexpected)
    return Method(str(folder), images, tuple(tasks), found.problems, notes)


def score_methods(
    methods: Sequence[Method[_Score]],
    n_workers: int,
    store: Store[_Score] | None = None,
    on_done: Callable[[Outcome[_Score]], object] = lambda _: None,
) -> list[MethodResult[_Score]]:
    """Score every task of every method by one pool of processes; on_done is called after each."""
    scores: dict[str, dict[str, _Score]] = {method.name: {} for method in methods}
    failures = {method.name: dict(method.failures) for method in methods}
    for outcome in run([task for method in methods for task in method.tasks], n_workers, store):
        task = outcome.task
        if outcome.score is None:
            failures[task.method][task.sample.name] = outcome.error or "no score"
        else:
            scores[task.method][task.sample.name] = outcome.score
        on_done(outcome)
    return [
        MethodResult(
            method.name,
            {image: scores[method.name][image] for image in method.images if image in scores[method.name]},
            {image: failures[method.name][image] for image in method.images if image in failures[method.name]},
        )
        for method in methods
    ]


def set_aside_uneven(result: MethodResult[HierarchyScores]) -> MethodResult[HierarchyScores]:
    """Move images to the failures whose number of thresholds, that is of segmentations, is not that of most images."""
    counts = {name: _n_thresholds(scores) for name, scores in result.scores.items()}
    if len(set(counts.values())) < 2:
        return result
    usual = Counter(counts.values()).most_common(1)[0][0]
    uneven = {
        name: f"holds {count} segmentations, most images {usual}: curves need as many for each image"
        for name, count in counts.items()
        if count != usual
    }
    kept = {name: scores for name, scores in result.scores.items() if name not in uneven}
    return MethodResult(result.method, kept, result.failures | uneven)


def _n_thresholds(scores: HierarchyScores) -> int:
    one = scores.regions or scores.boundaries
    return 0 if one is None else int(one.thresholds.size)
