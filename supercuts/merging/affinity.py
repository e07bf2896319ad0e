"""Merging by learned affinity: the probability that annotators separate two regions, updated after each merge.

In   RegionGraph and RegionStatistics of the leaves, an Affinity
Out  MergeTree; probabilities of edges; features and nodes of the judged pairs, as training data
Not  no training (training/affinity.py), no pixels

Small perceptrons read features of both regions and of their border. They are trained on the pairs that agglomeration
visits: Nunez-Iglesias et al., "Machine learning of hierarchical clustering to segment 2D and 3D images", PLoS ONE 2013.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt

from supercuts.core.errors import FileFormatError, InputError
from supercuts.core.threads import in_threads
from supercuts.graph.rag import LIMITS, N_BINS, RegionGraph, RegionStatistics
from supercuts.hierarchy._kernels import tree as _tree
from supercuts.merging._kernels import affinity as _kernels_affinity
from supercuts.merging.agglomerative import MergeTree, regions_after, to_tree

_EDGES = 256  # edges that a thread judges at once
_Kind = TypeVar("_Kind", bound="Perceptrons")


@dataclass(frozen=True, slots=True, eq=False)
class Perceptrons:
    """M perceptrons with two hidden layers; their mean logit gives the probability.

    mean, scale  (F,) float32            features are normalised to (x - mean) * scale
    first        (M, F + 1, H) float32   weights; the last row holds the biases, also in the layers below
    second       (M, H + 1, H) float32
    last         (M, H + 1) float32
    """

    mean: Float32[np.ndarray, " features"]
    scale: Float32[np.ndarray, " features"]
    first: Float32[np.ndarray, "members features_and_bias hidden"]
    second: Float32[np.ndarray, "members hidden_and_bias hidden"]
    last: Float32[np.ndarray, "members hidden_and_bias"]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by name; from_arrays reads them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls: type[_Kind], arrays: dict[str, np.ndarray]) -> _Kind:
        """Return the perceptrons made from arrays(); raise FileFormatError if the arrays are invalid."""
        names = [field.name for field in fields(cls)]
        if sorted(arrays) != sorted(names):
            raise FileFormatError(f"perceptrons have the arrays {', '.join(names)}, not {', '.join(arrays) or 'none'}.")
        n_axes = {"mean": 1, "scale": 1, "first": 3, "second": 3, "last": 2}
        if any(arrays[name].ndim != n_axes[name] or arrays[name].dtype.kind != "f" for name in names):
            shapes = {name: (arrays[name].shape, str(arrays[name].dtype)) for name in names}
            raise FileFormatError(f"the arrays of perceptrons are {shapes}, expected floats of the axes {n_axes}.")
        taken = {name: np.ascontiguousarray(arrays[name], np.float32) for name in names}
        (n_features,), (members, width) = taken["mean"].shape, taken["last"].shape
        width -= 1
        expected = ((n_features,), (members, n_features + 1, width), (members, width + 1, width))
        actual = tuple(taken[name].shape for name in ("scale", "first", "second"))
        if actual != expected:
            raise FileFormatError(f"the arrays of perceptrons do not fit each other: {actual}, expected {expected}.")
        return cls(**taken)

    def check_features(self, n_features: int) -> None:
        """Raise InputError unless the number of features equals that of training."""
        if self.mean.size != n_features:
            raise InputError(
                f"the perceptrons were learned on {self.mean.size} features, but there are {n_features}. Use them with "
                "the network that they were learned with, or learn them again (supercuts calibrate)."
            )

    def probability(self, features: Float32[np.ndarray, "samples features"]) -> Float64[np.ndarray, " samples"]:
        """Return the probability, 0..1, of each row of features."""
        self.check_features(features.shape[1])
        probabilities: np.ndarray = _kernels_affinity.separate_edges(features, self.weights())
        return probabilities

    def weights(self, members: int | None = None) -> tuple[np.ndarray, ...]:
        """Return mean, scale and the layers of the first `members` perceptrons, by default of all."""
        return self.mean, self.scale, self.first[:members], self.second[:members], self.last[:members]


class AffinityConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings that turn probabilities into the order of merges."""

    small_exponent: NonNegativeFloat = 0.3  # probability * min(1, smaller area / reference area) ** exponent
    small_area: NonNegativeFloat = 0.004  # reference area as a share of the image
    growth: float = Field(default=1.02, ge=1)  # a border is judged again once its regions grow by this factor
    members: PositiveInt | None = None  # number of perceptrons that judge; None: all
    # annotators draw few borders below this altitude; what remains there are superpixels, whose error is counted in
    # pixels, so altitudes a below it become fine * (a / fine * (2 * smaller area / image) ** e) ** (1 / (1 + e));
    # without effect where regions merge to a count, as leaves do
    fine_altitude: float = Field(default=0.15, ge=0, le=1)
    fine_exponent: NonNegativeFloat = 0.25


class Affinity(Perceptrons):
    """Perceptrons that predict whether annotators separate two regions."""


class Judgements(NamedTuple):
    """Pairs of regions judged while merging.

    features  (S, F) float32  features of each pair
    nodes     (S, 2) int64    tree nodes of each pair
    """

    features: np.ndarray
    nodes: np.ndarray


def feature_names(statistics: RegionStatistics) -> tuple[str, ...]:
    """Return the name of each feature; "smaller" and "larger" refer to the values of the two regions."""
    n_bands, _, n_region = statistics.sizes.tolist()
    border = ("mean", "logit of the mean", "deviation", "mean of the higher side")
    spread = ("distance of means", "likeness of means", "smaller spread", "larger spread")
    return (
        *(f"boundary: {name}" for name in border),
        "strength: mean",
        "strength: logit of the mean",
        *(f"boundary: share above {limit:g}" for limit in LIMITS),
        *(f"band {c}: {name}" for c in range(n_bands) for name in ("means", "deviations", "histograms")),
        "color: distance of means",
        "color: distance in deviations",
        *(f"embedding: {name}" for name in spread),
        *(f"region embedding: {name}" for name in spread if n_region),
        "smaller area: logarithm of its share of the image",
        "larger area: logarithm of its share of the image",
        "border to the root of the smaller area",
        "border to the smaller perimeter",
        "border to the larger perimeter",
        "boundary: above the smaller mean of the perimeters",
        "boundary: above the larger mean of the perimeters",
        *(f"{name} inside: {which}" for name in ("boundary", "strength") for which in ("smaller", "larger")),
        "union: share of its bounding box",
        "union: perimeter to the root of its area",
        "smaller region: perimeter to the root of its area",
    )


def edge_features(graph: RegionGraph, statistics: RegionStatistics) -> Float32[np.ndarray, "edges features"]:
    """Return the features of every edge, in the order of feature_names."""
    features = np.empty((graph.n_edges, len(feature_names(statistics))), np.float32)
    s = statistics
    n_pixels = float(graph.area.sum())
    _kernels_affinity.describe_edges(graph.edges, s.nodes, s.edges, s.bbox, s.sizes, N_BINS, n_pixels, features)
    return features


def separation(features: Float32[np.ndarray, "pairs features"], affinity: Affinity) -> Float64[np.ndarray, " pairs"]:
    """Return the probability, 0..1, that annotators separate each pair of regions."""
    return affinity.probability(features)


def merge_by_affinity(
    graph: RegionGraph, statistics: RegionStatistics, affinity: Affinity, config: AffinityConfig | None = None
) -> MergeTree:
    """Merge until one region is left; altitudes are the probabilities at which regions merge, made ultrametric.

    `config` lowers the probabilities of small regions, so specks are absorbed early, and orders the merges below its
    fine altitude by area as well, which changes their altitudes but no region. Regions that never touch merge last, at
    altitude 1.
    """
    config = config or AffinityConfig()
    merges, keys, _ = _agglomerate(graph, statistics, affinity, config)
    return _weigh_fine_merges(to_tree(graph.n_nodes, merges, keys), graph.area, config)


def merge_to_count_by_affinity(
    graph: RegionGraph, statistics: RegionStatistics, affinity: Affinity, config: AffinityConfig, n_regions: int
) -> Int32[np.ndarray, " nodes"]:
    """Merge down to `n_regions`; return the region 0..n_regions-1 of each node, numbered by first node.

    A graph with several components keeps at least one region for each.
    """
    merges, _, _ = _agglomerate(graph, statistics, affinity, config, n_regions=n_regions)
    return regions_after(merges, graph.n_nodes)[0]


def merge_and_judge(
    graph: RegionGraph,
    statistics: RegionStatistics,
    affinity: Affinity,
    config: AffinityConfig | None = None,
    max_judgements: int = 40_000,
) -> tuple[MergeTree, Judgements]:
    """Return the tree in the order of merging, and the first `max_judgements` pairs that it judged."""
    merges, keys, judgements = _agglomerate(graph, statistics, affinity, config or AffinityConfig(), max_judgements)
    return to_tree(graph.n_nodes, merges, keys), judgements


def _weigh_fine_merges(tree: MergeTree, area: Int64[np.ndarray, " leaves"], config: AffinityConfig) -> MergeTree:
    """Return the tree with its merges below the fine altitude ordered by area as well, and its nodes in that order."""
    parents, n, fine, e = tree.parents, area.size, config.fine_altitude, config.fine_exponent
    areas = _tree.sum_to_root(parents, area.astype(np.int64))
    share = 2 * _tree.smallest_child(parents, areas)[n:] / areas[-1]
    altitudes = tree.altitudes.copy()
    is_fine = altitudes[n:] < fine
    weighed = fine * (altitudes[n:][is_fine] / fine * share[is_fine] ** e) ** (1 / (1 + e))
    altitudes[n:][is_fine] = weighed
    _tree.raise_to_children(parents, altitudes)
    order = np.concatenate([np.arange(n), n + np.argsort(altitudes[n:], kind="stable")])  # ties: children first
    rank = np.empty_like(parents)
    rank[order] = np.arange(parents.size)
    return MergeTree(rank[parents[order]], altitudes[order])


def _agglomerate(
    graph: RegionGraph,
    statistics: RegionStatistics,
    affinity: Affinity,
    config: AffinityConfig,
    max_judgements: int = 0,
    n_regions: int = 1,
) -> tuple[Int64[np.ndarray, "merges 2"], Float64[np.ndarray, " merges"], Judgements]:
    n_features = len(feature_names(statistics))
    affinity.check_features(n_features)
    if (len(statistics.nodes), len(statistics.edges)) != (graph.n_nodes, graph.n_edges):
        raise InputError(
            f"statistics of {len(statistics.nodes)} regions and {len(statistics.edges)} borders do not fit a graph of "
            f"{graph.n_nodes} and {graph.n_edges}: take those of the same labels."
        )
    judgements = Judgements(np.empty((max_judgements, n_features), np.float32), np.empty((max_judgements, 2), np.int64))
    n_pixels, weights = float(graph.area.sum()), affinity.weights(config.members)
    at_first = np.empty(0 if max_judgements else graph.n_edges)  # judged in threads unless the features are wanted
    s = statistics

    def judge(_: int, start: int) -> None:
        part = at_first[start : start + _EDGES]
        _kernels_affinity.judge_edges(
            graph.edges, s.nodes, s.edges, s.bbox, s.sizes, N_BINS, n_pixels, weights, start, part
        )

    in_threads(judge, range(0, at_first.size, _EDGES))
    merges, keys, n_judged = _kernels_affinity.agglomerate(
        graph.edges,
        statistics.nodes.copy(),
        statistics.edges.copy(),
        statistics.bbox.copy(),
        statistics.sizes,
        N_BINS,
        n_pixels,
        weights,
        at_first,
        max(config.small_area * n_pixels, 1.0),
        config.small_exponent,
        config.growth,
        n_regions,
        *judgements,
    )
    return merges, keys, Judgements(*(part[:n_judged] for part in judgements))
