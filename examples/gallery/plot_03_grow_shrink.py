"""
The region under a point, and larger and smaller ones
=====================================================

``select(point=...)`` returns the mask of the region that contains a point. ``grow`` climbs the tree from there, one
node a step; ``shrink`` descends towards the superpixel.
"""

import matplotlib.pyplot as plt
from skimage import data, segmentation

import supercuts

image = data.astronaut()
h = supercuts.load("compact").segment(image)
point = (130, 220)  # row, column: on the face

fig, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
steps = [("shrink=2", {"shrink": 2}), ("level='part'", {}), ("grow=1", {"grow": 1}), ("grow=2", {"grow": 2})]
for ax, (title, how) in zip(axes, steps, strict=True):
    mask = h.select(point=point, level="part", **how)
    faded = image.copy()
    faded[~mask] = faded[~mask] // 3 + 40
    ax.imshow(segmentation.mark_boundaries(faded, mask.astype(int), color=(1, 1, 0), mode="thick"))
    ax.plot(point[1], point[0], "r+", ms=12, mew=2)
    ax.set_title(f"{title}: {mask.sum()} pixels")
    ax.axis("off")
plt.show()
