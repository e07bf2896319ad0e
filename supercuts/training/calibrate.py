"""Learn what is calibrated for a trained network: affinity, graph neural network, figure and ground, levels.

In   a network, images that it was not trained on, with segmentations by people
Out  Calibration, and each level with its scores
Not  no training of the network, no files
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt

from supercuts.datasets.base import Sample
from supercuts.merging.affinity import merge_by_affinity
from supercuts.model import Model
from supercuts.networks.calibration import Calibration
from supercuts.networks.network import VIEWS, Network
from supercuts.settings import default_config
from supercuts.training.affinity import AffinityTrainingConfig, PerceptronTrainingConfig, describe, learn_affinity
from supercuts.training.figure_ground import learn_figure_ground
from supercuts.training.gnn import GNNTrainingConfig, learn_gnn
from supercuts.training.levels import Level, calibrate_levels

Track = Callable[[Sequence[Sample], str], Iterable[Sample]]
Working = Callable[[str], AbstractContextManager[object]]


class CalibrationConfig(BaseModel, frozen=True, extra="forbid"):
    """What is learned, and from which hierarchies."""

    leaves: int = Field(default=600, ge=2)  # superpixels of the hierarchies to learn from
    gnn: bool = False  # also learn the graph neural network
    seed: NonNegativeInt = 0


def learn_calibration(
    network: Network,
    samples: Sequence[Sample],
    config: CalibrationConfig | None = None,
    track: Track = lambda samples, _: samples,
    working: Working = lambda _: nullcontext(),
) -> tuple[Calibration, dict[str, Level]]:
    """Return what is learned from the samples, and the levels with their scores.

    track    called with the samples and a description before each pass over them; returns what is iterated
    working  called with a description; returns the context in which a step without a count of images runs
    """
    config = config or CalibrationConfig()
    settings = default_config(network)
    many_views = settings.model_copy(update={"views": VIEWS["many"]})
    images = [describe(sample, network, config.leaves, settings) for sample in track(samples, "superpixels")]
    # one affinity serves one view and many, and learns from twice as many borders
    passes = track(samples, "superpixels of many views")
    both = images + [describe(sample, network, config.leaves, many_views) for sample in passes]
    with working("learning the affinity"):
        affinity = learn_affinity(both, AffinityTrainingConfig(seed=config.seed))
    trees = [merge_by_affinity(image.graph, image.statistics, affinity) for image in images]
    levels = calibrate_levels(trees, [image.tables for image in images])
    altitudes = {name: level.altitude for name, level in levels.items()}

    model = Model(network, altitudes, settings, affinity)
    hierarchies = [model.segment(sample.image_path, config.leaves) for sample in track(samples, "hierarchies")]
    with working("learning figure and ground"):
        truths = [sample.truths for sample in samples]
        figure_ground = learn_figure_ground(hierarchies, truths, PerceptronTrainingConfig(seed=config.seed))
    learned = {"affinity": affinity.arrays(), "figure_ground": figure_ground.arrays()}
    if not config.gnn:
        return Calibration(altitudes, _prefixed(learned)), levels
    with working("learning the graph neural network"):
        gnn = learn_gnn(both, affinity, GNNTrainingConfig(seed=config.seed))
    arrays = _prefixed({**learned, "gnn": gnn.arrays()})
    return Calibration(altitudes, arrays, gnn_config=gnn.config.model_dump_json()), levels


def _prefixed(learned: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {f"{kind}.{name}": values for kind, arrays in learned.items() for name, values in arrays.items()}
