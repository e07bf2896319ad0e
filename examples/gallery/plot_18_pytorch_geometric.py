"""
Superpixels in PyTorch Geometric
================================

The graph of the superpixels as ``torch_geometric.data.Data``: from labels on a tenth of the nodes, a small graph
network classifies the others.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

import supercuts

image = data.coffee()
h = supercuts.load("compact").segment(image)
with tempfile.TemporaryDirectory() as folder:
    h.export(Path(folder) / "graph.pt", "pyg")
    graph = Data.from_dict(torch.load(Path(folder) / "graph.pt", weights_only=True))
print(graph)

# %%
# The classes are the regions of a coarse cut here; in your work they are annotations.

truth = np.zeros(h.n_leaves, np.int64)
truth[h.labels] = h.cut(regions=5)
y = torch.from_numpy(truth)
x = (graph.x - graph.x.mean(0)) / (graph.x.std(0) + 1e-6)
torch.manual_seed(0)
is_known = torch.rand(h.n_leaves) < 0.1
first, second = SAGEConv(x.shape[1], 32), SAGEConv(32, 5)
optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=0.01, weight_decay=5e-4)
for _ in range(60):
    scores = second(first(x, graph.edge_index).relu(), graph.edge_index)
    optimizer.zero_grad()
    cross_entropy(scores[is_known], y[is_known]).backward()
    optimizer.step()
predicted = scores.argmax(1)
accuracy = (predicted == y)[~is_known].float().mean()

fig, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
known = np.where(is_known.numpy(), truth, -1)[h.labels]
titles = ["classes", f"{is_known.sum()} labelled superpixels", f"predicted, {accuracy:.0%} of the others right"]
for ax, labels, title in zip(axes, [truth[h.labels], known, predicted.numpy()[h.labels]], titles, strict=True):
    ax.imshow(np.ma.masked_less(labels, 0), cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
    ax.set_title(title)
    ax.axis("off")
plt.show()
