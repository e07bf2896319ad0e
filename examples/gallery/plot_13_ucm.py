"""
The ultrametric contour map
===========================

``ucm()`` draws the whole tree as one picture: each contour has the altitude at which its two sides merge. A threshold
of the map gives the cut at that altitude.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data, measure

import supercuts

image = data.coffee()
h = supercuts.load("compact").segment(image)
ucm = h.ucm()  # (2H+1, 2W+1): pixels at odd places, contours between them
print(image.shape, ucm.shape)

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
shown = left.imshow(ucm, cmap="magma_r", interpolation="antialiased")
fig.colorbar(shown, ax=left, label="altitude")
left.set_title("h.ucm()")
right.imshow(ucm > 0.4, cmap="gray_r", interpolation="antialiased")
right.set_title("h.ucm() > 0.4")
for ax in (left, right):
    ax.axis("off")
plt.show()

# %%
# Connected components of what lies below the threshold are the regions of the cut:

regions = measure.label(ucm <= 0.4, connectivity=1)[1::2, 1::2]
pairs = np.unique(np.stack([regions.ravel(), h.cut(altitude=0.4).ravel()]), axis=1)
print(pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])))
