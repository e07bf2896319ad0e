"""Learn the affinity used to merge regions, from images that the network was not trained on.

Each round merges the regions of every image by the current affinity (the first round by the boundary alone), then
trains on all pairs of regions compared so far. The target of a pair is the share of annotators for whom the two regions
belong to different segments; a region belongs to the segment with most of its pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Integer
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from supercuts.core.arrays import contingency
from supercuts.datasets.sample import Sample
from supercuts.graph.rag import RegionGraph, RegionStatistics, graph_and_statistics
from supercuts.hierarchy._kernels import tree as _kernels
from supercuts.images.io import read_channels
from supercuts.merging._kernels.affinity import MOST_DEVIATIONS
from supercuts.merging.affinity import Affinity, Judgements, Perceptrons, feature_names, merge_and_judge
from supercuts.networks.network import Network
from supercuts.networks.predict import predict
from supercuts.settings import PipelineConfig, default_config
from supercuts.superpixels.leaves import make_leaves


class PerceptronTrainingConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings for training perceptrons."""

    members: PositiveInt = 4  # number of perceptrons, each with its own random initialisation
    hidden: PositiveInt = 32  # units in each of the two hidden layers
    epochs: PositiveFloat = 2.0  # few, because samples of one image are similar
    batch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 3e-3
    weight_decay: NonNegativeFloat = 1e-2
    dropout: float = Field(default=0.1, ge=0, lt=1)  # dropout rate of features and of hidden units
    seed: NonNegativeInt = 0


def fit_perceptrons(
    features: np.ndarray, targets: np.ndarray, weights: np.ndarray, config: PerceptronTrainingConfig
) -> Perceptrons:
    """Return perceptrons trained to minimise the weighted cross-entropy with targets (S,) in 0..1."""
    mean, scale = features.mean(0), 1 / (features.std(0) + 1e-6)
    inputs = torch.from_numpy((features - mean) * scale).clamp_(-MOST_DEVIATIONS, MOST_DEVIATIONS)
    expected, importance = torch.from_numpy(targets), torch.from_numpy(weights.astype(np.float32))
    members = [_fit_one(inputs, expected, importance, config, config.seed + i) for i in range(config.members)]
    first, second, last = (np.stack(parts) for parts in zip(*members, strict=True))
    return Perceptrons(mean.astype(np.float32), scale.astype(np.float32), first, second, last[..., 0])


def _fit_one(
    inputs: torch.Tensor, expected: torch.Tensor, importance: torch.Tensor, config: PerceptronTrainingConfig, seed: int
) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(inputs.shape[1], config.hidden), nn.Linear(config.hidden, config.hidden)]
        layers.append(nn.Linear(config.hidden, 1))
        drop, act = nn.Dropout(config.dropout), nn.ReLU()
        network = nn.Sequential(drop, layers[0], act, drop, layers[1], act, drop, layers[2])
        size = min(config.batch_size, len(inputs))
        n_steps = max(int(config.epochs * len(inputs) / size), 1)
        optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=n_steps)
        order = torch.empty(0, dtype=torch.long)
        for _ in range(n_steps):
            if len(order) < size:
                order = torch.randperm(len(inputs), generator=generator)
            batch, order = order[:size], order[size:]
            logits = network(inputs[batch])[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, expected[batch], importance[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return [torch.cat([layer.weight.detach().T, layer.bias.detach()[None]]).contiguous().numpy() for layer in layers]


class AffinityTrainingConfig(PerceptronTrainingConfig, frozen=True, extra="forbid"):
    """Settings for learning an affinity."""

    rounds: PositiveInt = 2  # rounds of merging and learning; the first merges by the boundary alone


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """The leaves of one image, and their overlap with the annotators' regions.

    tables  one (regions, N) array of pixel counts for each annotator
    """

    graph: RegionGraph
    statistics: RegionStatistics
    tables: list[np.ndarray]


def describe_leaves(
    sample: Sample,
    network: Network,
    n_leaves: int,
    config: PipelineConfig | None = None,
    affinity: Affinity | None = None,
) -> Leaves:
    """Return the leaves of a sample's image, merged as in the pipeline; by hand-made distances without affinity."""
    config = config or default_config(network)
    maps = predict(read_channels(sample.image_path, network.config.channels), network, config.views)
    labels = make_leaves(maps, min(n_leaves, maps.boundary.size), network, config, affinity=affinity)
    tables = [contingency(truth, labels) for truth in sample.truths]
    return Leaves(*graph_and_statistics(labels, maps), tables)


def learn_affinity(images: Sequence[Leaves], config: AffinityTrainingConfig | None = None) -> Affinity:
    """Return the affinity learned from all `images`."""
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
            # raise the weight of late merges, because few pairs are compared once few regions are left
            newest = np.maximum(judgements.nodes.max(1), image.graph.n_nodes - 1)
            weights.append(1 / np.sqrt(2 * image.graph.n_nodes - 1 - newest))
        learned = fit_perceptrons(np.concatenate(features), np.concatenate(targets), np.concatenate(weights), config)
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
    """Return an affinity equal to the mean boundary probability, whose logit is feature 1."""
    first, second = np.zeros((1, n_features + 1, 2), np.float32), np.zeros((1, 3, 2), np.float32)
    first[0, 1] = 1, -1  # the positive and the negative part
    second[0, :2] = np.eye(2)
    last = np.array([[1, -1, 0]], np.float32)
    return Affinity(np.zeros(n_features, np.float32), np.ones(n_features, np.float32), first, second, last)
