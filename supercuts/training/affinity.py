"""Learn the affinity by which regions merge, from images that the network was not trained on.

In   a network, samples with their annotators' segmentations
Out  Affinity
Not  no training of the network, no files (cli/calibrate.py)

Round after round, the regions of every image are merged by the affinity so far (first by the boundary alone), and all
pairs judged on the way are learned from. The target of a pair is the share of annotators for whom the two regions
belong, each by the most of its pixels, to different segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Integer
from pydantic import PositiveInt

from supercuts.core.arrays import contingency
from supercuts.datasets.base import Sample
from supercuts.graph.rag import RegionGraph
from supercuts.graph.statistics import RegionStatistics, region_statistics
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.leaves import make_leaves
from supercuts.merging.affinity import Affinity, Judgements, feature_names, merge_and_judge
from supercuts.networks.network import Network
from supercuts.networks.predict import predict
from supercuts.pipeline import PipelineConfig, default_config, read_channels
from supercuts.training.perceptrons import PerceptronTrainingConfig, fit


class AffinityTrainingConfig(PerceptronTrainingConfig, frozen=True, extra="forbid"):
    """How an affinity is learned."""

    rounds: PositiveInt = 2  # of merging and learning; the first merges by the boundary alone


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """One image's leaves, and how its annotators divide them.

    tables  one (regions, N) array of pixel counts for each annotator
    """

    graph: RegionGraph
    statistics: RegionStatistics
    tables: list[np.ndarray]


def describe(sample: Sample, network: Network, n_leaves: int, config: PipelineConfig | None = None) -> Leaves:
    """Return the leaves that the pipeline makes of a sample's image."""
    config = config or default_config(network)
    maps = predict(read_channels(sample.image_path, network.config.channels), network, config.views)
    labels, graph = make_leaves(maps, min(n_leaves, maps.boundary.size), network, config)
    tables = [contingency(truth, labels) for truth in sample.truths]
    return Leaves(graph, region_statistics(labels, graph, maps), tables)


def learn_affinity(images: Sequence[Leaves], config: AffinityTrainingConfig | None = None) -> Affinity:
    """Return the affinity that is learned from all `images`."""
    config = config or AffinityTrainingConfig()
    affinity = by_boundary(len(feature_names(images[0].statistics)))
    features: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for _ in range(config.rounds):
        for image in images:
            tree, judgements = merge_and_judge(image.graph, image.statistics, affinity)
            features.append(judgements.features)
            targets.append(share_that_separates(judgements, tree.parents, image.tables))
            # all numbers of regions count: few pairs are judged when few regions are left
            newest = np.maximum(judgements.nodes.max(1), image.graph.n_nodes - 1)
            weights.append(1 / np.sqrt(2 * image.graph.n_nodes - 1 - newest))
        learned = fit(np.concatenate(features), np.concatenate(targets), np.concatenate(weights), config)
        affinity = Affinity(**learned.arrays())
    return affinity


def share_that_separates(
    judgements: Judgements, parents: np.ndarray, tables: Sequence[np.ndarray]
) -> Float32[np.ndarray, " pairs"]:
    """Return the share of annotators for whom the two nodes of each pair lie in different segments."""
    of_nodes = [_kernels.sum_rows_to_root(parents, np.ascontiguousarray(table.T, np.float64)).T for table in tables]
    return share_of_edges(judgements.nodes, of_nodes)


def share_of_edges(
    pairs: Integer[np.ndarray, "pairs 2"], tables: Sequence[np.ndarray]
) -> Float32[np.ndarray, " pairs"]:
    """Return the share of annotators for whom most pixels of the two regions lie in different segments.

    tables: one (segments, regions) array of pixel counts for each annotator.
    """
    differs = np.zeros(len(pairs), np.float32)
    for table in tables:
        segment = table.argmax(0)
        differs += segment[pairs[:, 0]] != segment[pairs[:, 1]]
    return differs / np.float32(len(tables))


def by_boundary(n_features: int) -> Affinity:
    """Return the affinity that is the mean boundary probability itself (feature 1 is its logit)."""
    first, second = np.zeros((1, n_features + 1, 2), np.float32), np.zeros((1, 3, 2), np.float32)
    first[0, 1] = 1, -1  # the positive and the negative part
    second[0, :2] = np.eye(2)
    last = np.array([[1, -1, 0]], np.float32)
    return Affinity(np.zeros(n_features, np.float32), np.ones(n_features, np.float32), first, second, last)
