"""
Supervoxels of a volume
=======================

A stack of slices becomes one tree over exactly as many supervoxels as asked, each connected in three dimensions. The
volume is made here: bright nuclei in noise, with slices twice as far apart as pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.segmentation import mark_boundaries

from supercuts.superpixels.volumes import VolumeConfig, segment_volume

rng = np.random.default_rng(0)
z, y, x = np.mgrid[:16, :96, :96]
volume = np.full(z.shape, 0.15)
for cz, cy, cx in rng.uniform((2, 12, 12), (14, 84, 84), (9, 3)):
    volume[4 * (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 11**2] = rng.uniform(0.5, 0.9)
volume = np.clip(volume + rng.normal(0, 0.05, z.shape), 0, 1).astype(np.float32)

h = segment_volume(volume, 300, spacing=(2.0, 1.0, 1.0), config=VolumeConfig(compactness=20))
print(len(np.unique(h.labels)), "supervoxels")

# %%
# Supervoxels above, a cut of the tree below: the same regions continue from slice to slice.

cut = h.cut(regions=10)
fig, axes = plt.subplots(2, 4, figsize=(12, 6), layout="constrained")
for column, index in zip(axes.T, [3, 6, 9, 12], strict=True):
    grey = np.repeat(volume[index][..., None], 3, axis=2)
    column[0].imshow(mark_boundaries(grey, h.labels[index], color=(1, 0.8, 0)))
    column[0].set_title(f"slice {index}")
    column[1].imshow(cut[index], cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
for ax in axes.ravel():
    ax.axis("off")
plt.show()

# %%
# ``h.export_ome_zarr("nuclei.zarr", volume, (2.0, 1.0, 1.0), regions=10)`` writes both for napari.
