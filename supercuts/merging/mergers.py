"""Merging methods by name; each turns the graph of the leaves into a tree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, field_validator

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.graph.rag import RegionGraph, RegionStatistics
from supercuts.merging.affinity import Affinity, AffinityConfig, edge_features, merge_by_affinity, separation
from supercuts.merging.agglomerative import LinkageConfig, MergeTree, dissimilarity, merge_tree
from supercuts.merging.spectral import SpectralConfig, merge_spectral

if TYPE_CHECKING:
    from torch.nn import Module
else:  # merging methods without torch must not import it
    Module = object


class MergingConfig(BaseModel, frozen=True, extra="forbid"):
    """Name of the merging method, and the settings of each method."""

    method: str = "agglomerative"  # a key of MERGERS
    # used with the learned affinity of a calibrated model
    affinity: AffinityConfig = AffinityConfig()
    # used without a learned affinity; merges by boundaries, but absorbs specks early
    linkage: LinkageConfig = LinkageConfig(boundary=1.0, color=0.1, small_exponent=0.3, small_area=0.005)
    spectral: SpectralConfig = SpectralConfig()

    @field_validator("method")
    @classmethod
    def _is_known(cls, value: str) -> str:
        check_choice("method", value, MERGERS)
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Input of a merging method; the learned affinity and gnn need the statistics."""

    graph: RegionGraph
    config: MergingConfig
    statistics: RegionStatistics | None = None
    affinity: Affinity | None = None
    gnn: Module | None = None  # an EdgeGNN; typed Module because importing gnn.py is slow

    def probability(self) -> Float64[np.ndarray, " edges"]:
        """Return for each edge the learned probability of separation, or the hand-made dissimilarity without one."""
        if self.statistics is None or self.affinity is None:
            return dissimilarity(self.graph, self.config.linkage).clip(0, 1).astype(np.float64)
        return separation(edge_features(self.graph, self.statistics), self.affinity)


def merge(regions: Regions) -> MergeTree:
    """Return the tree over the regions, made by the method in their settings."""
    return MERGERS[regions.config.method](regions)


def _agglomerative(regions: Regions) -> MergeTree:
    graph, config = regions.graph, regions.config
    if regions.statistics is not None and regions.affinity is not None:
        return merge_by_affinity(graph, regions.statistics, regions.affinity, config.affinity)
    area, exponent = config.linkage.small_area * float(graph.area.sum()), config.linkage.small_exponent
    return merge_tree(graph, dissimilarity(graph, config.linkage), small_area_px=area, small_exponent=exponent)


def _spectral(regions: Regions) -> MergeTree:
    return merge_spectral(regions.graph, regions.probability(), regions.config.spectral)


def _gnn(regions: Regions) -> MergeTree:
    from supercuts.merging.gnn import EdgeGNN, merge_by_gnn  # imports torch_geometric, which takes seconds

    if regions.statistics is None or not isinstance(regions.gnn, EdgeGNN):
        raise InputError(
            'method="gnn" needs a model with a graph neural network: learn one with supercuts calibrate MODEL --gnn.'
        )
    return merge_by_gnn(regions.graph, regions.statistics, regions.gnn)


MERGERS: dict[str, Callable[[Regions], MergeTree]] = {
    "agglomerative": _agglomerative,
    "spectral": _spectral,
    "gnn": _gnn,
}
