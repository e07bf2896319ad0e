"""The work of `supercuts evaluate` on one image, as values that can be sent to another process.

In   a Sample
Out  its SuperpixelScores or HierarchyScores
Not  no loop over images (run.py); torch is imported only where a model predicts
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from supercuts.datasets.base import Sample
from supercuts.evaluate import hierarchies
from supercuts.evaluate.hierarchies import HierarchyScores
from supercuts.evaluate.results import (
    ContourMap,
    Form,
    Segmentations,
    SoftMap,
    read_hierarchy_result,
    read_labels,
)
from supercuts.evaluate.superpixels import SuperpixelScores, score_superpixels
from supercuts.images.io import read_image

if TYPE_CHECKING:
    from supercuts.model import Model


@dataclass(frozen=True, slots=True)
class SuperpixelsOfModel:
    """Segment the image with a model into so many superpixels, or cut their tree into fewer regions, and score them."""

    model: str
    n_superpixels: int
    n_regions: int | None = None

    def __call__(self, sample: Sample) -> SuperpixelScores:
        """Return the scores of one image."""
        image = read_image(sample.image_path)
        h = load_once(self.model).segment(image, superpixels=self.n_superpixels)
        labels = h.labels if self.n_regions is None else h.cut(regions=self.n_regions)
        return score_superpixels(labels, sample.truths, image)


@dataclass(frozen=True, slots=True)
class SuperpixelsOfFile:
    """Score a label map that somebody else made."""

    path: Path

    def __call__(self, sample: Sample) -> SuperpixelScores:
        """Return the scores of one image."""
        image = read_image(sample.image_path)
        height, width = image.shape[:2]
        return score_superpixels(read_labels(self.path, (height, width)), sample.truths, image)


@dataclass(frozen=True, slots=True)
class HierarchyOfModel:
    """Segment the image with a model into a hierarchy of so many leaves (None: the model's default) and score it."""

    model: str
    n_leaves: int | None
    boundaries: bool
    merging: str | None = None  # as supercuts.load takes them
    views: str | None = None

    def __call__(self, sample: Sample) -> HierarchyScores:
        """Return the scores of one image."""
        h = self._load().segment(sample.image_path, superpixels=self.n_leaves)
        return hierarchies.score_hierarchy(h, sample.truths, boundaries=self.boundaries)

    def check(self) -> None:
        """Refuse what no image could be segmented with: a model that lacks what is asked for."""
        self._load()

    def _load(self) -> "Model":
        return load_once(self.model, self.merging, self.views)


@dataclass(frozen=True, slots=True)
class HierarchyOfFile:
    """Score a contour map, soft boundary map, list of segmentations or hierarchy that somebody else made."""

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
    """How files are to be scored: called with a path, it returns the scorer of that file."""

    form: Form
    boundaries: bool
    nms: bool

    def __call__(self, path: Path) -> HierarchyOfFile:
        """Return the scorer of one file."""
        return HierarchyOfFile(path, self.form, self.boundaries, self.nms)


@functools.cache
def load_once(model: str, merging: str | None = None, views: str | None = None) -> "Model":
    """Return the model; a process loads it for its first image only."""
    from supercuts.model import load

    return load(model, merging=merging, views=views)
