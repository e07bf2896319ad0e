"""
The best union of regions in a box
==================================

``select(box=...)`` returns the node of the tree that overlaps a box most. With ``max_nodes`` it returns the best
union of that many nodes; the optimum is exact.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import supercuts

image = data.astronaut()
h = supercuts.load("compact").segment(image)
box = (5, 400, 285, 490)  # y0, x0, y1, x1 around the model of a shuttle

fig, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for ax, max_nodes in zip(axes, [1, 3, 8], strict=True):
    mask = h.select(box=box, max_nodes=max_nodes)
    ax.imshow(np.where(mask[..., None], image, image // 3))
    y0, x0, y1, x1 = box
    ax.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="yellow"))
    ax.set_title(f"max_nodes={max_nodes}")
    ax.axis("off")
plt.show()
