"""Scorers of one image for `supercuts evaluate`; they are picklable, so that other processes can run them."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from supercuts.datasets.annotations import ObjectSample, PartSample
from supercuts.datasets.sample import AnySample, Sample
from supercuts.evaluate import hierarchies
from supercuts.evaluate.hierarchies import HierarchyScores
from supercuts.evaluate.objects import ObjectScores, PartScores, clipped_box, score_objects, score_parts
from supercuts.evaluate.parallel import Outcome, ScoringTask, Store, run
from supercuts.evaluate.plot import Case
from supercuts.evaluate.results import (
    ContourMap,
    Form,
    Segmentations,
    SoftMap,
    find_results,
    read_hierarchy_result,
    read_labels,
)
from supercuts.evaluate.superpixels import SuperpixelScores, score_superpixels
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.io import read_image
from supercuts.objects.result import Objects

if TYPE_CHECKING:
    from supercuts.model import Model
    from supercuts.networks.backbones.pretrained import PretrainedViT


@dataclass(frozen=True, slots=True)
class SuperpixelsOfModel:
    """Segment the image with a model into n_superpixels, or cut their tree into n_regions, and score the result."""

    model: str
    n_superpixels: int
    n_regions: int | None = None

    def __call__(self, sample: Sample) -> SuperpixelScores:
        """Return the scores of one image."""
        image = read_image(sample.image_path)
        h = load_once(self.model).segment(image, superpixels=self.n_superpixels)
        labels = h._labels if self.n_regions is None else h.cut(regions=self.n_regions)
        return score_superpixels(labels, sample.truths, image)


@dataclass(frozen=True, slots=True)
class SuperpixelsOfFile:
    """Score a label map read from a file."""

    path: Path

    def __call__(self, sample: Sample) -> SuperpixelScores:
        """Return the scores of one image."""
        image = read_image(sample.image_path)
        height, width = image.shape[:2]
        return score_superpixels(read_labels(self.path, (height, width)), sample.truths, image)


@dataclass(frozen=True, slots=True)
class HierarchyOfModel:
    """Segment the image with a model into a hierarchy of n_leaves (None: the model's default) and score it."""

    model: str
    n_leaves: int | None
    boundaries: bool
    merging: str | None = None  # argument of supercuts.load, as views
    views: str | None = None

    def __call__(self, sample: Sample) -> HierarchyScores:
        """Return the scores of one image."""
        h = self._load().segment(sample.image_path, superpixels=self.n_leaves)
        return hierarchies.score_hierarchy(h, sample.truths, boundaries=self.boundaries)

    def check(self) -> None:
        """Raise an error, before any image is scored, if the model lacks the requested merging or views."""
        self._load()

    def _load(self) -> "Model":
        return load_once(self.model, self.merging, self.views)


@dataclass(frozen=True, slots=True)
class HierarchyOfFile:
    """Score a contour map, soft boundary map, list of segmentations or hierarchy read from a file."""

    path: Path
    form: Form
    boundaries: bool
    nms: bool

    def __call__(self, sample: Sample) -> HierarchyScores:
        """Return the scores of one image."""
        truths = sample.truths
        height, width = truths[0].shape
        result = read_hierarchy_result(self.path, (height, width), self.form)
        if isinstance(result, ContourMap):
            return hierarchies.score_contour_map(result.ucm, truths, boundaries=self.boundaries)
        if isinstance(result, SoftMap):
            return hierarchies.score_soft_map(result.strength, truths, nms=self.nms)
        if isinstance(result, Segmentations):
            return hierarchies.score_segmentations(result.label_maps, truths, boundaries=self.boundaries)
        return hierarchies.score_hierarchy(result, truths, boundaries=self.boundaries)


@dataclass(frozen=True, slots=True)
class HierarchyFiles:
    """Options for scoring files; calling it with a path returns the scorer of that file."""

    form: Form
    boundaries: bool
    nms: bool

    def __call__(self, path: Path) -> HierarchyOfFile:
        """Return the scorer of one file."""
        return HierarchyOfFile(path, self.form, self.boundaries, self.nms)


@functools.cache
def load_once(model: str, merging: str | None = None, views: str | None = None) -> "Model":
    """Return the model; each process loads it only once."""
    from supercuts.model import load

    return load(model, merging=merging, views=views)


@dataclass(frozen=True, slots=True)
class ObjectsOfModel:
    """Find the object of the image with a model by a method (None: the model's default) and score it."""

    model: str
    method: str | None = None

    def __call__(self, sample: ObjectSample) -> ObjectScores:
        """Return the scores of one image."""
        hierarchy, objects = self._find(sample)
        return score_objects(objects, sample.truth, hierarchy)

    def case(self, sample: ObjectSample, caption: str) -> Case:
        """Return the prediction and the truth of one image, to be drawn."""
        return _case(sample, caption, read_image(sample.image_path), self._find(sample)[1])

    def _find(self, sample: ObjectSample) -> tuple[Hierarchy, Objects]:
        finder = load_once(self.model)
        hierarchy = finder.segment(read_image(sample.image_path))
        return hierarchy, finder.objects(hierarchy, n=1, method=self.method)


@dataclass(frozen=True, slots=True)
class ObjectsOfPatches:
    """Find the object of the image on the patches of a vision transformer, as published methods do, and score it.

    backbone  name of the transformer, such as "dino_vits16"
    weights   path of a file, or "hub" for cached or downloaded weights
    """

    backbone: str
    weights: str
    method: str

    def __call__(self, sample: ObjectSample) -> ObjectScores:
        """Return the scores of one image."""
        return score_objects(self._find(read_image(sample.image_path)), sample.truth, None)

    def case(self, sample: ObjectSample, caption: str) -> Case:
        """Return the prediction and the truth of one image, to be drawn."""
        image = read_image(sample.image_path)
        return _case(sample, caption, image, self._find(image))

    def check(self) -> None:
        """Raise an error, before any image is scored, if the weights cannot be loaded."""
        _load_vit_once(self.backbone, self.weights)

    def _find(self, image: np.ndarray) -> Objects:
        from supercuts.objects.discover import discover_patches  # imports torch
        from supercuts.objects.features import dino_keys

        patches = dino_keys(_load_vit_once(self.backbone, self.weights), image)
        return discover_patches(patches, image.shape[:2], self.method)


@dataclass(frozen=True, slots=True)
class PartsOfModel:
    """Find k parts of the image's object with a model (None: the method chooses k) and score them.

    For datasets with keypoints, parts are also predicted in the image cropped to the object's true box.
    """

    model: str
    k: int | None = None
    method: str | None = None

    def __call__(self, sample: PartSample) -> PartScores:
        """Return the scores of one image."""
        finder = load_once(self.model)
        image, truth = read_image(sample.image_path), sample.truth
        hierarchy = finder.segment(image)
        in_box = None
        if truth.keypoints_yx is not None and truth.box_yxyx is not None:
            y0, x0, y1, x1 = clipped_box(truth.box_yxyx, image.shape)
            cropped = finder.segment(np.ascontiguousarray(image[y0:y1, x0:x1]))
            in_box = finder.parts(cropped, k=self.k, method=self.method)
        objects = finder.objects(hierarchy, n=1)
        parts = finder.parts(hierarchy, k=self.k, method=self.method, objects=objects)
        return score_parts(parts, objects, truth, hierarchy, in_box)

    def case(self, sample: PartSample, caption: str) -> Case:
        """Return the prediction and the truth of one image, to be drawn."""
        finder = load_once(self.model)
        image, truth = read_image(sample.image_path), sample.truth
        places = np.zeros((0, 2)) if truth.keypoints_yx is None else truth.keypoints_yx[truth.visible]
        return Case(
            name=sample.name,
            caption=caption,
            image=image,
            truth=np.zeros(image.shape[:2], np.int32) if truth.labels is None else truth.labels,
            found=finder.parts(finder.segment(image), k=self.k, method=self.method).labels,
            true_points_yx=places,
        )


def _case(sample: ObjectSample, caption: str, image: np.ndarray, objects: Objects) -> Case:
    truth, no_boxes = sample.truth, np.zeros((0, 4), np.int64)
    return Case(
        name=sample.name,
        caption=caption,
        image=image,
        truth=np.zeros(image.shape[:2], np.int32) if truth.mask is None else truth.mask.astype(np.int32),
        found=objects.mask.astype(np.int32),
        true_boxes_yxyx=no_boxes if truth.boxes_yxyx is None else truth.boxes_yxyx,
        found_boxes_yxyx=no_boxes if truth.boxes_yxyx is None else objects.boxes_yxyx[:1],
    )


@functools.cache
def _load_vit_once(backbone: str, weights: str) -> "PretrainedViT":
    """Return the transformer; each process loads it only once."""
    from supercuts.objects.features import load_vit

    return load_vit(backbone, "hub" if weights == "hub" else Path(weights))


_Score = TypeVar("_Score")


@dataclass(frozen=True, slots=True)
class Method(Generic[_Score]):
    """A method to be scored.

    name      name in tables
    images    names of all images that should be scored, in the order of the dataset
    tasks     one task per image that can be scored
    failures  reasons why the other images cannot be scored, by image name
    notes     further messages for the caller
    """

    name: str
    images: tuple[str, ...]
    tasks: tuple[ScoringTask[_Score], ...]
    failures: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MethodResult(Generic[_Score]):
    """Scores of one method, and reasons for missing scores, by image name in the order of the dataset."""

    method: str
    scores: dict[str, _Score]
    failures: dict[str, str]

    @property
    def n_images(self) -> int:
        """Number of images that should have been scored."""
        return len(self.scores) + len(self.failures)


def of_model(name: str, samples: Sequence[AnySample], score: Callable[[Any], _Score], weights: Path) -> Method[_Score]:
    """Return the method that predicts every image with one model."""
    tasks = tuple(ScoringTask(name, sample, score, (weights,)) for sample in samples)
    return Method(name, tuple(sample.name for sample in samples), tasks, {})


def of_folder(
    folder: Path, samples: Sequence[Sample], scorer: Callable[[Path], Callable[[Sample], _Score]]
) -> Method[_Score]:
    """Return the method whose results are the files of a folder, one per image and named like the image."""
    images = tuple(sample.name for sample in samples)
    results = find_results(folder, images)
    tasks = [
        ScoringTask(str(folder), sample, scorer(results.files[sample.name]), (results.files[sample.name],))
        for sample in samples
        if sample.name in results.files
    ]
    notes = tuple(f"{path}: no image of this split has that name; not scored" for path in results.unexpected)
    return Method(str(folder), images, tuple(tasks), results.problems, notes)


def score_methods(
    methods: Sequence[Method[_Score]],
    n_workers: int,
    store: Store[_Score] | None = None,
    on_done: Callable[[Outcome[_Score]], object] = lambda _: None,
) -> list[MethodResult[_Score]]:
    """Score every task of every method in one pool of processes; on_done is called after each task."""
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
    """Move images to the failures if their number of thresholds (segmentations) differs from that of most images."""
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
    curves = scores.regions or scores.boundaries
    return 0 if curves is None else int(curves.thresholds.size)
