"""Learn the graph neural network by which regions merge, from images that the base network was not trained on.

In   the leaves of images and how their annotators divide them (training/affinity.py)
Out  EdgeGNN
Not  no training of the base network, no files

Each image gives several graphs: its leaves, and coarser ones of the tree that a learned affinity makes, at random
numbers of regions. The target of an edge is the share of annotators for whom its regions belong to different segments.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from supercuts.graph.rag import contract
from supercuts.graph.statistics import contract_statistics
from supercuts.hierarchy.cuts import cut_by_count
from supercuts.merging.affinity import Affinity, merge_by_affinity
from supercuts.merging.agglomerative import MergeTree
from supercuts.merging.gnn import Data, DataLoader, EdgeGNN, GNNConfig, to_data
from supercuts.training.affinity import Leaves, share_of_edges


class GNNTrainingConfig(BaseModel, frozen=True, extra="forbid"):
    """How the network is learned."""

    graphs: PositiveInt = 6  # of each image: the leaves, and coarser ones
    epochs: PositiveInt = 15
    batch_size: PositiveInt = 8  # graphs
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 1e-2
    seed: NonNegativeInt = 0


def learn_gnn(
    images: Sequence[Leaves],
    affinity: Affinity,
    config: GNNTrainingConfig | None = None,
    network: GNNConfig | None = None,
) -> EdgeGNN:
    """Return the network, in eval mode, that is learned from all `images`."""
    config = config or GNNTrainingConfig()
    rng = np.random.default_rng(config.seed)
    graphs = [graph for image in images for graph in graphs_of(image, affinity, config.graphs, rng)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        gnn = EdgeGNN(graphs[0].x.shape[1], graphs[0].edge_attr.shape[1], network)
        for name in ("node", "edge"):
            values = torch.cat([graph.x if name == "node" else graph.edge_attr for graph in graphs])
            getattr(gnn, f"{name}_mean").copy_(values.mean(0))
            getattr(gnn, f"{name}_scale").copy_(1 / (values.std(0) + 1e-6))
        loader = DataLoader(graphs, config.batch_size, shuffle=True)
        optimizer = torch.optim.AdamW(gnn.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        n_steps = config.epochs * len(loader)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=n_steps)
        for _ in range(config.epochs):
            for batch in loader:
                # every graph counts the same, whatever its number of edges
                loss = F.binary_cross_entropy_with_logits(gnn(batch), batch.y, batch.weight, reduction="sum")
                optimizer.zero_grad()
                torch.autograd.backward(loss / batch.num_graphs)
                torch.nn.utils.clip_grad_norm_(gnn.parameters(), 1.0)
                optimizer.step()
                schedule.step()
    return gnn.eval()


def graphs_of(image: Leaves, affinity: Affinity, n_graphs: int, rng: np.random.Generator) -> list[Data]:
    """Return the leaves' graph and coarser ones, with the targets y (E,) and the weights (E,), which sum to 1."""
    tree = merge_by_affinity(image.graph, image.statistics, affinity)
    n = image.graph.n_nodes
    counts = [n, *np.exp(rng.uniform(np.log(min(4, n)), np.log(n), n_graphs - 1)).astype(int)]
    return [one for count in counts if (one := _coarser(image, tree, int(count))).num_edges > 0]


def _coarser(image: Leaves, tree: MergeTree, n_regions: int) -> Data:
    region = cut_by_count(tree.parents, tree.altitudes, image.graph.n_nodes, n_regions).region_of_leaf
    graph, statistics = contract(image.graph, region), contract_statistics(image.statistics, image.graph, region)
    data = to_data(graph, statistics)
    tables = [np.zeros((len(table), graph.n_nodes)) for table in image.tables]
    for of_regions, of_leaves in zip(tables, image.tables, strict=True):
        np.add.at(of_regions.T, region, of_leaves.T)
    data.y = torch.from_numpy(share_of_edges(graph.edges, tables))
    data.weight = torch.full((graph.n_edges,), 1 / max(graph.n_edges, 1))
    return data
