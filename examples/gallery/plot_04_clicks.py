"""
An object from clicks
=====================

``select(points={1: [...], 2: [...]})`` returns the object that contains the clicks 1 and excludes the clicks 2. The
result is the most likely union of regions of the tree, not just one node of it.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import supercuts

image = data.coffee()
h = supercuts.load("compact").segment(image)

coffee, cup, saucer = (150, 290), (60, 190), (350, 150)
tries = [{1: [coffee]}, {1: [coffee, cup]}, {1: [coffee, cup], 2: [saucer]}]

fig, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
for ax, points in zip(axes, tries, strict=True):
    mask = h.select(points=points)
    ax.imshow(np.where(mask[..., None], image, image // 4))
    for label, color in ((1, "lime"), (2, "red")):
        for y, x in points.get(label, []):
            ax.plot(x, y, "o", color=color, mec="white", ms=9)
    ax.set_title(f"{len(points[1])} on it, {len(points.get(2, []))} next to it")
    ax.axis("off")
plt.show()
