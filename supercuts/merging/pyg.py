"""PyTorch Geometric, and the region adjacency graph as its Data.

In   RegionGraph
Out  torch_geometric's Data; the names that the package uses of torch_geometric, imported without its warnings
Not  no networks (merging/gnn.py); importing this takes seconds
"""

import warnings

import numpy as np
import torch

from supercuts.graph.rag import RegionGraph

with warnings.catch_warnings():
    # torch_geometric scripts a class while it is imported, which newer torch deprecates
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    from torch_geometric.data import Data, HeteroData
    from torch_geometric.loader import DataLoader
    from torch_geometric.nn import ResGatedGraphConv

__all__ = ["Data", "DataLoader", "HeteroData", "ResGatedGraphConv", "graph_data"]


def graph_data(graph: RegionGraph) -> Data:
    """Return the graph as Data, each edge in both directions.

    x           (N, C + D + 1) float32  mean colour, mean embedding, area as a share of the image
    pos         (N, 2) float32          centroid (y, x) in pixels
    edge_index  (2, 2 E) int64          first all i < j in lexicographic order, then the same reversed
    edge_attr   (2 E, 4) float32        border length in pixel pairs, mean boundary probability, distance of colours,
                                        distance of embeddings
    """
    share = (graph.area / graph.area.sum()).astype(np.float32)[:, None]
    ends = torch.from_numpy(graph.edges.T.astype(np.int64))
    columns = (graph.border_length, graph.boundary, graph.color_distance, graph.embedding_distance)
    attributes = torch.from_numpy(np.stack(columns, axis=1))
    return Data(
        x=torch.from_numpy(np.concatenate([graph.color, graph.embedding, share], axis=1)),
        pos=torch.from_numpy(graph.centroid_yx),
        edge_index=torch.cat([ends, ends.flip(0)], dim=1),
        edge_attr=torch.cat([attributes, attributes]),
    )
