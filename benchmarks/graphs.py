"""Classify CIFAR10 images by their superpixel graphs: ToSuperCuts beside PyTorch Geometric's ToSLIC.

In   CIFAR10 as folders of classes below the data's root
Out  accuracies of a small graph network with graphs of either transform; a Markdown table
Not  figures to compare with those of networks trained on all of CIFAR10

    python benchmarks/graphs.py > docs/results/graphs.md

Both transforms give the same number of nodes on average. The network gets the mean colour and the position of each
node, in a last row also the other features of ToSuperCuts. Nodes of ToSLIC are joined to their eight nearest, as is
usual with it; a row gives ours the same edges.
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.stats
import torch
from common import markdown_facts, markdown_table, positive_int, run_facts
from PIL import Image
from scipy.spatial import cKDTree
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINConv, global_mean_pool
from torch_geometric.transforms import ToSLIC

from supercuts.datasets.sample import data_root
from supercuts.training.graphs import ToSuperCuts

COLUMNS = ("graphs", "nodes", "edges", "accuracy", "difference from the first row")


class Classifier(torch.nn.Module):
    """Three graph isomorphism layers, then the mean of the nodes."""

    def __init__(self, n_features: int, width: int = 64) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            GINConv(torch.nn.Sequential(torch.nn.Linear(a, b), torch.nn.ReLU(), torch.nn.Linear(b, b)))
            for a, b in pairwise([n_features, width, width, width])
        )
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm1d(width) for _ in self.layers)
        self.last = torch.nn.Linear(width, 10)

    def forward(self, data: Data) -> torch.Tensor:
        """Return the logits of each graph."""
        x = data.x
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.relu(norm(layer(x, data.edge_index)))
        return self.last(global_mean_pool(x, data.batch))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data root; default: SUPERCUTS_DATA")
    parser.add_argument("--images", type=positive_int, default=1500, help="for training; a quarter of it for the test")
    parser.add_argument("--nodes", type=positive_int, default=75)
    parser.add_argument("--epochs", type=positive_int, default=10)
    parser.add_argument("--seeds", type=positive_int, default=3)
    arguments = parser.parse_args()
    root = data_root(arguments.data) / "CIFAR10"
    train, test = load(root / "train", arguments.images), load(root / "test", arguments.images // 4)
    n_train = len(train)
    slic = graphs(ToSLIC(n_segments=arguments.nodes), train + test)
    n_nodes = round(float(np.mean([graph.num_nodes for graph in slic])))
    ours = graphs(ToSuperCuts(superpixels=n_nodes), train + test)
    variants = {
        "ToSLIC, eight nearest": [simple(graph, near=True) for graph in slic],
        "ToSuperCuts, eight nearest": [simple(graph, near=True) for graph in ours],
        "ToSuperCuts, its edges": [simple(graph) for graph in ours],
        "ToSuperCuts, its edges and features": [simple(graph, all_features=True) for graph in ours],
    }
    facts = {
        **run_facts(),
        "data": f"CIFAR10, {n_train} training and {len(test)} test images, as many of each class",
        "network": f"three GIN layers of 64, {arguments.epochs} epochs, {arguments.seeds} seeds",
    }
    print("# Results: graphs of superpixels\n\nWritten by `python benchmarks/graphs.py`.\n")
    print(markdown_facts(facts))
    rows, first = [], np.zeros(arguments.seeds)
    for name, made in variants.items():
        scores = np.array([accuracy(made[:n_train], made[n_train:], arguments.epochs, s) for s in range(first.size)])
        first = first if rows else scores
        nodes, edges = (np.mean([getattr(graph, key) for graph in made]) for key in ("num_nodes", "num_edges"))
        difference = interval(scores - first, "+") if rows else ""
        rows.append([name, f"{nodes:.1f}", f"{edges:.0f}", interval(scores), difference])
    print(f"\n{markdown_table(COLUMNS, rows)}\n")
    print(
        "Brackets are 95 % intervals (Student's t) over the seeds of training, paired for differences; the images are\n"
        "the same for all seeds, so the intervals do not cover the choice of images."
    )


def load(folder: Path, n: int) -> list[tuple[torch.Tensor, int]]:
    """Return n images, as many of each class, as (3, 32, 32) tensors in 0..1, with their classes."""
    return [
        (torch.from_numpy(np.array(Image.open(path).convert("RGB"), np.float32) / 255).permute(2, 0, 1), label)
        for label, of_class in enumerate(sorted(folder.iterdir()))
        for path in sorted(of_class.iterdir())[: n // 10]
    ]


def graphs(transform: Callable[[torch.Tensor], Data], pairs: list[tuple[torch.Tensor, int]]) -> list[Data]:
    """Return the graphs of images, with their classes."""
    made = []
    for image, label in pairs:
        graph = transform(image.contiguous())
        graph.y = torch.tensor([label])
        made.append(graph)
    return made


def simple(graph: Data, near: bool = False, all_features: bool = False) -> Data:
    """Return a graph with mean colour and position as features, or all features, and edges from the nearest nodes."""
    x = torch.cat([graph.x if all_features else graph.x[:, :3], graph.pos / 32], dim=1).float()
    return Data(x=x, edge_index=nearest(graph.pos) if near else graph.edge_index, y=graph.y)


def nearest(positions: torch.Tensor) -> torch.Tensor:
    """Return edges to each node from its eight nearest."""
    near = cKDTree(positions.numpy()).query(positions.numpy(), min(9, len(positions)))[1][:, 1:]
    to = np.repeat(np.arange(len(near)), near.shape[1])
    return torch.from_numpy(np.stack([near.ravel(), to]).astype(np.int64))


def accuracy(train: list[Data], test: list[Data], epochs: int, seed: int) -> float:
    """Train on standardised features; return the accuracy on the test graphs."""
    torch.manual_seed(seed)
    every = torch.cat([graph.x for graph in train])
    mean, scale = every.mean(0), every.std(0).clamp_min(1e-6)
    parts = [
        [Data(x=(graph.x - mean) / scale, edge_index=graph.edge_index, y=graph.y) for graph in part]
        for part in (train, test)
    ]
    network = Classifier(every.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), 2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        network.train()
        for batch in DataLoader(parts[0], 100, shuffle=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(batch), batch.y).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    with torch.inference_mode():
        hits = [(network(batch).argmax(1) == batch.y).float() for batch in DataLoader(parts[1], 250)]
    return float(torch.cat(hits).mean())


def interval(values: np.ndarray, sign: str = "") -> str:
    """Return the mean and its 95 % interval."""
    half = scipy.stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    mean = values.mean()
    return f"{mean:{sign}.3f} ({mean - half:{sign}.3f} to {mean + half:{sign}.3f})"


if __name__ == "__main__":
    main()
