"""
More regions where they matter
==============================

``cut(regions=60, focus=mask, budget=0.8)`` puts 80 % of the regions inside a mask. The number of regions stays exact.
"""

import matplotlib.pyplot as plt
from skimage import data, segmentation

import supercuts

image = data.astronaut()
h = supercuts.load("compact").segment(image)
face = h.select(box=(60, 170, 180, 275), max_nodes=4)

fig, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
cuts = {"cut(regions=60)": {}, "focus=face, budget=0.8": {"focus": face, "budget": 0.8}}
for ax, (title, how) in zip(axes, cuts.items(), strict=True):
    labels = h.cut(regions=60, **how)
    ax.imshow(segmentation.mark_boundaries(image, labels, color=(1, 1, 0)))
    ax.contour(face, [0.5], colors="red", linewidths=1.5)
    ax.set_title(title)
    ax.axis("off")
plt.show()
