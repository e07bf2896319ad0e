"""
Images as graphs of superpixels
===============================

``ToSuperCuts`` is a transform in the style of PyTorch Geometric: from an image to the graph of its superpixels, with
features, positions, edges and levels, ready for a loader.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data
from torch_geometric.loader import DataLoader

from supercuts.training.graphs import ToSuperCuts

images = [torch.from_numpy(image[::3, ::3].copy()).permute(2, 0, 1) for image in (data.coffee(), data.chelsea())]
transform = ToSuperCuts(superpixels=100)
graphs = [transform(image) for image in images]
print(graphs[0])
batch = next(iter(DataLoader(graphs, batch_size=2)))
print(batch.num_graphs, "graphs with", batch.num_nodes, "nodes")

# %%
# Nodes at their positions, in the mean colour of their superpixels.

fig, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
for ax, image, graph in zip(axes, images, graphs, strict=True):
    ax.imshow(image.permute(1, 2, 0), alpha=0.3)
    y, x = graph.pos.T.numpy()
    a, b = graph.edge_index.numpy()
    ax.plot(np.stack([x[a], x[b]]), np.stack([y[a], y[b]]), color="0.4", linewidth=0.6)
    ax.scatter(x, y, s=30, c=image.permute(1, 2, 0).numpy()[y.round().astype(int), x.round().astype(int)] / 255)
    ax.axis("off")
plt.show()
