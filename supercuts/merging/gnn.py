"""Merging by a graph neural network: message passing over the region adjacency graph in several rounds.

In   RegionGraph and RegionStatistics of the leaves, an EdgeGNN
Out  the probability that annotators separate the regions of each edge; MergeTree
Not  no training (training/graphs.py), no pixels

The meaning of an edge depends on the edges around it. Each layer updates regions from their neighbours, with gates
conditioned on the border (Bresson & Laurent, "Residual gated graph ConvNets", 2017), then borders from their regions.
In each round, the network predicts the probabilities of all edges, and the most similar regions merge until three
quarters of the regions are left.
"""

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32, Float64
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt, ValidationError
from torch import nn

from supercuts.core.errors import FileFormatError
from supercuts.graph.rag import N_BINS, RegionGraph, RegionStatistics, contract, contract_statistics
from supercuts.merging.affinity import edge_features
from supercuts.merging.agglomerative import MergeTree, merge_pairs, regions_after, to_tree
from supercuts.networks.backbones.weights import check_extent

with warnings.catch_warnings():
    # importing torch_geometric calls torch.jit.script, which newer torch versions deprecate
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    from torch_geometric.data import Data, HeteroData
    from torch_geometric.loader import DataLoader
    from torch_geometric.nn import ResGatedGraphConv
    from torch_geometric.transforms import BaseTransform

__all__ = ["BaseTransform", "Data", "DataLoader", "HeteroData", "ResGatedGraphConv", "graph_data"]


def graph_data(graph: RegionGraph) -> Data:
    """Return the graph as PyG Data, with each edge in both directions.

    x           (N, C + D + 1) float32  mean colour, mean embedding, area as a share of the image
    pos         (N, 2) float32          centroid (y, x) in pixels
    edge_index  (2, 2 E) int64          all i < j in lexicographic order, then the same edges reversed
    edge_attr   (2 E, 4) float32        border length in pixel pairs, mean boundary probability, distance of colours,
                                        distance of embeddings
    x_columns, edge_attr_columns        list of str: the names of the columns, such as color_0 (of L, a, b for RGB)
    """
    share = (graph.area / graph.area.sum()).astype(np.float32)[:, None]
    ends = torch.from_numpy(graph.edges.T.astype(np.int64))
    columns = (graph.border_length, graph.boundary, graph.color_distance, graph.embedding_distance)
    attributes = torch.from_numpy(np.stack(columns, axis=1))
    colors, embeddings = (
        [f"{name}_{i}" for i in range(getattr(graph, name).shape[1])] for name in ("color", "embedding")
    )
    return Data(
        x=torch.from_numpy(np.concatenate([graph.color, graph.embedding, share], axis=1)),
        pos=torch.from_numpy(graph.centroid_yx),
        edge_index=torch.cat([ends, ends.flip(0)], dim=1),
        edge_attr=torch.cat([attributes, attributes]),
        x_columns=[*colors, *embeddings, "area_share"],
        edge_attr_columns=["border_length", "boundary", "color_distance", "embedding_distance"],
    )


MOST_DEVIATIONS = 6.0  # normalised features are clipped to plus or minus this


class GNNConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of the network and of its merging."""

    hidden: PositiveInt = 32  # channels of regions and of borders
    layers: PositiveInt = 3
    dropout: float = Field(default=0.3, ge=0, lt=1)
    # settings of merging
    keep: float = Field(default=0.75, gt=0, lt=1)  # share of the regions left after a round
    small_exponent: NonNegativeFloat = 0.3  # probability * min(1, smaller area / reference area) ** exponent
    small_area: NonNegativeFloat = 0.002  # reference area as a share of the image


class EdgeGNN(nn.Module):
    """Network that predicts the logits of all edges together; training sets the buffers that normalise features."""

    node_mean: torch.Tensor
    node_scale: torch.Tensor
    edge_mean: torch.Tensor
    edge_scale: torch.Tensor

    def __init__(self, n_node_features: int, n_edge_features: int, config: GNNConfig | None = None) -> None:
        super().__init__()
        self.config = config or GNNConfig()
        width = self.config.hidden
        for name, size in (("node", n_node_features), ("edge", n_edge_features)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.read_nodes = nn.Linear(n_node_features, width)
        self.read_edges = nn.Linear(n_edge_features, width)
        self.node_layers = nn.ModuleList(
            ResGatedGraphConv(width, width, edge_dim=width) for _ in range(self.config.layers)
        )
        self.edge_layers = nn.ModuleList(_perceptron(3 * width, width) for _ in range(self.config.layers))
        self.node_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(self.config.layers))
        self.edge_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(self.config.layers))
        self.dropout = nn.Dropout(self.config.dropout)
        self.output = nn.Linear(width, 1)

    def forward(self, data: Data) -> torch.Tensor:
        """Return the logit (E,) of each edge of `data`: x (N, F), edge_index (2, E) of i < j, edge_attr (E, G)."""
        nodes = self.read_nodes(self.dropout(_normalise(data.x, self.node_mean, self.node_scale)))
        edges = self.read_edges(self.dropout(_normalise(data.edge_attr, self.edge_mean, self.edge_scale)))
        heads, tails = data.edge_index
        directed = torch.cat([data.edge_index, data.edge_index.flip(0)], dim=1)
        for conv, update, node_norm, edge_norm in zip(
            self.node_layers, self.edge_layers, self.node_norms, self.edge_norms, strict=True
        ):
            nodes = nodes + self.dropout(torch.relu(node_norm(conv(nodes, directed, torch.cat([edges, edges])))))
            # symmetric in the two regions
            pair = torch.cat([edges, nodes[heads] + nodes[tails], (nodes[heads] - nodes[tails]).abs()], dim=1)
            edges = edges + self.dropout(edge_norm(update(pair)))
        logits: torch.Tensor = self.output(edges)[:, 0]
        return logits

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by name; from_arrays reads them, together with the settings as JSON."""
        return {name: value.cpu().numpy() for name, value in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], config: str) -> "EdgeGNN":
        """Return the network made from arrays(), in eval mode; raise FileFormatError if they do not fit `config`."""
        try:
            settings, sizes = (
                GNNConfig.model_validate_json(config),
                (arrays["node_mean"].size, arrays["edge_mean"].size),
            )
            tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
            if settings.layers > len(arrays):
                raise RuntimeError(f"layers={settings.layers}, but {len(arrays)} arrays of weights")
            check_extent(lambda: cls(*sizes, settings), tensors)
            with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # whatever the host has set
                network = cls(*sizes, settings).float()
            network.load_state_dict(tensors)
        except (KeyError, RuntimeError, ValidationError, TypeError, OverflowError) as error:
            raise FileFormatError(
                f"arrays and settings do not fit a graph neural network ({error}): run supercuts calibrate --gnn."
            ) from error
        return network.eval()


def node_features(statistics: RegionStatistics) -> Float32[np.ndarray, "nodes features"]:
    """Return the features of single regions: size, shape, boundary inside, means and spreads of values."""
    n_bands, n_embedding, n_region = statistics.sizes.tolist()
    sums = statistics.nodes
    area, perimeter = sums[:, :1], sums[:, 1:2]
    means = sums[:, 3:] / area
    color, squares = means[:, 2 : 2 + n_bands], means[:, 2 + n_bands : 2 + 2 * n_bands]
    start = 2 + 2 * n_bands + n_bands * N_BINS
    embedding, length = means[:, start : start + n_embedding], means[:, start + n_embedding : start + n_embedding + 1]
    start += n_embedding + 1
    region, region_length = means[:, start : start + n_region], means[:, start + n_region : start + n_region + 1]
    box = statistics.bbox[:, 2:] - statistics.bbox[:, :2]
    columns = [
        np.log(area / area.sum()),
        perimeter / np.sqrt(area),
        sums[:, 2:3] / perimeter,  # boundary along the perimeter
        means[:, :2],  # boundary and strength inside
        area / box.prod(1, keepdims=True),
        color,
        np.sqrt(np.maximum(squares - color**2, 0)),
        embedding,
        np.sqrt(np.maximum(length - (embedding**2).sum(1, keepdims=True), 0)),
        region,
        np.sqrt(np.maximum(region_length - (region**2).sum(1, keepdims=True), 0)),
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def statistics_data(graph: RegionGraph, statistics: RegionStatistics) -> Data:
    """Return the graph as PyG Data: x (N, F), edge_index (2, E) with i < j, edge_attr (E, G)."""
    return Data(
        x=torch.from_numpy(node_features(statistics)),
        edge_index=torch.from_numpy(graph.edges.T.astype(np.int64)),
        edge_attr=torch.from_numpy(edge_features(graph, statistics)),
    )


def edge_probabilities(
    graph: RegionGraph, statistics: RegionStatistics, network: EdgeGNN
) -> Float64[np.ndarray, " edges"]:
    """Return the probability, 0..1, that annotators separate the regions of each edge."""
    device = next(network.parameters()).device
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        logits = network(statistics_data(graph, statistics).to(device))
    probabilities: np.ndarray = logits.double().sigmoid().cpu().numpy()
    return probabilities


def merge_by_gnn(graph: RegionGraph, statistics: RegionStatistics, network: EdgeGNN) -> MergeTree:
    """Merge in rounds until one region is left; each round predicts all edges again and keeps a share of the regions.

    Within a round, regions merge by average linkage of the probabilities. Altitudes never fall. `network` must be in
    eval mode. Regions that never touch merge last, at altitude 1.
    """
    config = network.config
    n_leaves, n_pixels = graph.n_nodes, float(graph.area.sum())
    node_of = np.arange(n_leaves)  # tree node of each region of the current graph
    pairs, heights = [np.empty((0, 2), np.int64)], [np.empty(0)]
    while graph.n_edges > 0:
        n_nodes = graph.n_nodes
        left = max(int(config.keep * n_nodes), 1)
        area, exponent = config.small_area * n_pixels, config.small_exponent
        probability = edge_probabilities(graph, statistics, network)
        merges, keys = merge_pairs(graph, probability, area, exponent, left)
        region, last = regions_after(merges, n_nodes)
        # tree nodes of this round: its regions, then its merges
        names = np.concatenate([node_of, n_leaves + sum(map(len, pairs)) + np.arange(len(merges))])
        pairs.append(names[merges])
        heights.append(keys)
        node_of = names[last]
        statistics, graph = contract_statistics(statistics, graph, region), contract(graph, region)
    return to_tree(n_leaves, np.concatenate(pairs), np.concatenate(heights))


def _perceptron(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU(), nn.Linear(n_out, n_out))


def _normalise(values: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return ((values - mean) * scale).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
