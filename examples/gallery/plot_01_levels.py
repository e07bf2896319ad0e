"""
Scene, objects and parts
========================

A hierarchy is computed once. The levels *scene*, *object* and *part* are cuts of it, at altitudes where cuts have as
many regions as the coarsest, the median and the finest human annotator draw.
"""

import matplotlib.pyplot as plt
from skimage import data, segmentation

import supercuts

image = data.chelsea()
h = supercuts.load("compact").segment(image)

# %%
# Each level is an ``(H, W)`` array of labels. Regions of a finer level lie inside regions of the coarser ones.

fig, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
for ax, level in zip(axes.flat, ["scene", "object", "part"], strict=False):
    labels = h.cut(level=level)
    ax.imshow(segmentation.mark_boundaries(image, labels, color=(1, 1, 0)))
    ax.set_title(f"{level}: {labels.max() + 1} regions")
axes[1, 1].imshow(segmentation.mark_boundaries(image, h.labels, color=(1, 1, 0)))
axes[1, 1].set_title(f"superpixels: {h.n_leaves}")
for ax in axes.flat:
    ax.axis("off")
plt.show()
