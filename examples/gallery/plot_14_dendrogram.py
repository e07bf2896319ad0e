"""
The tree as a dendrogram
========================

``h.export(..., "linkage")`` writes the linkage matrix of scipy, so its functions for clusterings work on superpixels.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.cluster.hierarchy import dendrogram, fcluster
from skimage import color, data

import supercuts

image = data.chelsea()
h = supercuts.load("compact").segment(image, superpixels=40)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "chelsea.npy"
    h.export(path, "linkage")
    matrix = np.load(path)

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", width_ratios=[2, 1.4])
dendrogram(matrix, color_threshold=0.35, ax=left)
left.axhline(0.35, color="0.5", ls="--")
left.set(title="40 superpixels", ylabel="altitude")
clusters = fcluster(matrix, 0.35, "distance")[h.labels]
right.imshow(color.label2rgb(clusters, image, kind="avg"))
right.set_title(f"fcluster at 0.35: {clusters.max()} regions")
right.axis("off")
plt.show()

print((np.unique(clusters).size, h.cut(altitude=0.35).max() + 1))
