"""Calibrate a trained network: affinity, graph neural network, figure and ground, levels.

Levels are the cuts with as many regions as the coarsest, median and finest annotator, compared by geometric means over
the images. Agreement scores would choose badly: covering and the Rand index weigh regions by their area and are nearly
the same at 10 and at 30 regions when an annotator drew 30, most of them small.

A segment is figure to the degree exp(-2 f^2 / a), with f of its a pixels on the image's frame. This is the boundary
connectivity of Zhu et al. (CVPR 2014), with annotated segments instead of superpixels. Annotators who divide an image
coarsely draw objects, those who divide it finely draw parts, so only the half of the annotators with the fewest
segments is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32
from pydantic import BaseModel, Field, NonNegativeInt

from supercuts.core.arrays import contingency
from supercuts.datasets.sample import Sample
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.hierarchy.cuts import LEVELS
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging.affinity import Affinity, Perceptrons
from supercuts.merging.agglomerative import MergeTree
from supercuts.metrics.region import THRESHOLDS, tree_scores
from supercuts.model import Model
from supercuts.networks.network import Calibration, Network, ViewsConfig
from supercuts.objects.figure_ground import figure_features
from supercuts.settings import default_config
from supercuts.training.affinity import (
    AffinityTrainingConfig,
    Leaves,
    PerceptronTrainingConfig,
    describe_leaves,
    fit_perceptrons,
    learn_affinity,
)
from supercuts.training.graphs import GNNTrainingConfig, learn_gnn

_MANY_VIEWS = ViewsConfig(scales=(0.7, 1.0, 1.4), flip=True)  # to learn from; VIEWS["many"] takes twice as long
_FALL = 2.0  # rate at which the degree of figure decays with f^2 / a


def learn_figure_ground(
    hierarchies: Sequence[Hierarchy],
    truths: Sequence[Sequence[np.ndarray]],
    config: PerceptronTrainingConfig | None = None,
) -> Perceptrons:
    """Return the perceptrons; `truths` holds one (H, W) segmentation per annotator for each image."""
    features = [figure_features(h) for h in hierarchies]
    targets, weights = [], []
    for h, of_image in zip(hierarchies, truths, strict=True):
        area = h.areas()
        targets.append(sum_of_figure(h, of_image) / area)
        weights.append(area / h._labels.size)  # large nodes determine many pixels
    weight = np.concatenate(weights)
    return fit_perceptrons(
        np.concatenate(features),
        np.concatenate(targets).astype(np.float32),
        weight / weight.mean(),
        config or PerceptronTrainingConfig(),
    )


def sum_of_figure(h: Hierarchy, truths: Sequence[Int32[np.ndarray, "height width"]]) -> Float64[np.ndarray, " nodes"]:
    """Return, for each node, the degree of figure summed over its pixels, averaged over the coarser annotators."""
    coarser = sorted(truths, key=lambda truth: int(truth.max()))[: (len(truths) + 1) // 2]
    figure = np.mean([figure_of_segments(truth)[truth] for truth in coarser], axis=0)
    leaves = np.bincount(h._labels.ravel(), figure.ravel(), minlength=h.n_leaves)
    sums: np.ndarray = _kernels.sum_rows_to_root(h._parents, leaves[:, None])[:, 0]
    return sums


def figure_of_segments(truth: Int32[np.ndarray, "height width"]) -> Float64[np.ndarray, " segments"]:
    """Return the degree to which each segment is figure, 0..1; 1 if it does not touch the frame.

    >>> truth = np.zeros((20, 20), np.int32)
    >>> truth[5:15, 5:15] = 1
    >>> figure_of_segments(truth).round(3).tolist()
    [0.0, 1.0]
    """
    framed = np.ones(truth.shape, bool)
    framed[1:-1, 1:-1] = False
    area = np.bincount(truth.ravel())
    on_frame = np.bincount(truth[framed], minlength=area.size)
    figure: np.ndarray = np.exp(-_FALL * on_frame**2 / np.maximum(area, 1))
    return figure


@dataclass(frozen=True, slots=True)
class Level:
    """One calibrated level.

    altitude         altitude of the cut, 0..1
    rand_index       Rand index between cuts and annotators, mean over the images
    covering         covering of the annotators by the cuts, mean over the images
    regions          number of regions in the cuts, median over the images
    truth_regions    number of regions drawn by the annotators, median over the images
    """

    altitude: float
    rand_index: float
    covering: float
    regions: float
    truth_regions: float


def calibrate_levels(trees: Sequence[MergeTree], tables: Sequence[Sequence[np.ndarray]]) -> dict[str, Level]:
    """Return the levels; `tables` holds a (regions, N) array of pixel counts for each image and annotator."""
    levels = {}
    for rank, name in enumerate(LEVELS):
        chosen = [_of_rank(of_image, rank) for of_image in tables]
        scores = [
            tree_scores([table], tree.parents, tree.altitudes, THRESHOLDS)
            for tree, table in zip(trees, chosen, strict=True)
        ]
        counts, truth_counts = np.stack([score.n_regions for score in scores]), [len(table) for table in chosen]
        best = int(np.abs(np.log(counts).mean(0) - np.log(truth_counts).mean()).argmin())
        levels[name] = Level(
            float(THRESHOLDS[best]),
            float(np.mean([score.rand_index[..., best] for score in scores])),
            float(np.mean([score.covering[best] for score in scores])),
            float(np.median(counts[:, best])),
            float(np.median(truth_counts)),
        )
    return levels


def _of_rank(tables: Sequence[np.ndarray], rank: int) -> np.ndarray:
    """Return the table of the annotator with the fewest, the (upper) median or the most regions."""
    ranked = sorted(tables, key=len)
    return ranked[(0, len(ranked) // 2, -1)[rank]]


Track = Callable[[Sequence[Sample], str], Iterable[Sample]]
Working = Callable[[str], AbstractContextManager[object]]


class CalibrationConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings for learning a calibration."""

    leaves: int = Field(default=600, ge=2)  # superpixels of each hierarchy to learn from
    gnn: bool = False  # also learn the graph neural network
    seed: NonNegativeInt = 0


def learn_calibration(
    network: Network,
    samples: Sequence[Sample],
    config: CalibrationConfig | None = None,
    track: Track = lambda samples, _: samples,
    working: Working = lambda _: nullcontext(),
) -> tuple[Calibration, dict[str, Level]]:
    """Return the calibration learned from the samples, and the levels with their scores.

    track    called with the samples and a description before each pass over them; returns the samples to iterate over
    working  called with a description; returns the context for a step that does not iterate over images
    """
    config = config or CalibrationConfig()
    settings = default_config(network)
    many_views = settings.model_copy(update={"views": _MANY_VIEWS})

    def describe(affinity: Affinity | None) -> list[Leaves]:
        """Return the leaves of one view and of many views: one affinity serves both."""
        return [
            describe_leaves(sample, network, config.leaves, views, affinity)
            for views, text in ((settings, "superpixels"), (many_views, "superpixels of many views"))
            for sample in track(samples, text if affinity is None else f"{text}, merged by the affinity")
        ]

    def learn(images: Sequence[Leaves], text: str) -> Affinity:
        with working(text):
            return learn_affinity(images, AffinityTrainingConfig(seed=config.seed))

    # superpixels that an affinity made are other ones than those made by hand: it would be too sure of their borders
    made = describe(learn(describe(None), "learning a first affinity"))
    affinity = learn(made, "learning the affinity")

    model = Model(network, {}, settings, affinity)
    hierarchies = [model.segment(sample.image_path, config.leaves) for sample in track(samples, "hierarchies")]
    levels = calibrate_levels(
        [MergeTree(h.parents, h.altitudes) for h in hierarchies],
        [[contingency(truth, h.labels) for truth in s.truths] for h, s in zip(hierarchies, samples, strict=True)],
    )
    altitudes = {name: level.altitude for name, level in levels.items()}
    with working("learning figure and ground"):
        truths = [sample.truths for sample in samples]
        figure_ground = learn_figure_ground(hierarchies, truths, PerceptronTrainingConfig(seed=config.seed))
    learned = {"affinity": affinity.arrays(), "figure_ground": figure_ground.arrays()}
    if not config.gnn:
        return Calibration(altitudes, _prefixed(learned)), levels
    with working("learning the graph neural network"):
        gnn = learn_gnn(made, affinity, GNNTrainingConfig(seed=config.seed))
    arrays = _prefixed({**learned, "gnn": gnn.arrays()})
    return Calibration(altitudes, arrays, gnn_config=gnn.config.model_dump_json()), levels


def _prefixed(learned: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {f"{kind}.{name}": values for kind, arrays in learned.items() for name, values in arrays.items()}
