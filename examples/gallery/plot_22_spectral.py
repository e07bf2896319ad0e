"""
Normalised cuts of the superpixel graph
=======================================

A cut of the tree decides on each border separately. ``spectral_clusters`` weighs all borders of the graph together,
as normalised cuts do; its regions need not be connected.
"""

import matplotlib.pyplot as plt
from skimage import color, data

import supercuts

image = data.chelsea()
h = supercuts.load("compact").segment(image)
results = {
    "h.cut(regions=6)": h.cut(regions=6),
    "k-means": supercuts.spectral_clusters(h, 6),
    "discretised": supercuts.spectral_clusters(h, 6, method="discretize"),
}

fig, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
for ax, (title, labels) in zip(axes, results.items(), strict=True):
    ax.imshow(color.label2rgb(labels, image, alpha=0.4, bg_label=-1))
    ax.set_title(title)
    ax.axis("off")
plt.show()
