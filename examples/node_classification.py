"""Classify the superpixels of a photo with a graph neural network, from a tenth of them labelled.

python examples/node_classification.py            prints the accuracy on the others
"""

import sys

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch_geometric.nn import SAGEConv

import supercuts
from supercuts.export.graphs import to_data
from supercuts.export.rasters import partitions

h = supercuts.load("compact").segment(sys.argv[1] if len(sys.argv) > 1 else "examples/photo.jpg")
data = to_data(h, partitions(h)[-1])  # the finest partition: the superpixels
x = (data.x - data.x.mean(0)) / (data.x.std(0) + 1e-6)
region = np.empty(h.n_leaves, np.int64)
region[h.labels] = h.cut(regions=5)  # here the classes are the five regions of a coarse cut
y = torch.from_numpy(region)

torch.manual_seed(0)
is_known = torch.rand(h.n_leaves) < 0.1
first, second = SAGEConv(x.shape[1], 32), SAGEConv(32, int(y.max()) + 1)
optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=0.01, weight_decay=0.05)  # few labels
for _ in range(100):
    scores = second(first(x, data.edge_index).relu(), data.edge_index)
    loss = cross_entropy(scores[is_known], y[is_known])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
accuracy = (scores.argmax(1) == y)[~is_known].float().mean()
largest = y[~is_known].bincount().max() / (~is_known).sum()
print(f"{is_known.sum()} of {h.n_leaves} superpixels labelled, accuracy on the others {accuracy:.3f}")
print(f"the largest class alone would give {largest:.3f}")
