"""
Refine by a network fitted to the image
=======================================

``refiner="sp"`` fits a small network to this one image, starting from a cut, and makes a new hierarchy of its
regions. It is for images unlike photographs: here three phases of a material, under noise as in a micrograph. On
photographs the tree alone is better.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage
from skimage import measure, segmentation

import supercuts
from supercuts.core.arrays import contingency
from supercuts.metrics.region import segmentation_covering

rng = np.random.default_rng(0)
smooth = ndimage.gaussian_filter(rng.normal(size=(200, 200)), 14)
phase = np.digitize(smooth / smooth.std(), (-0.5, 0.6))
truth = measure.label(phase + 1, connectivity=1).astype(np.int32) - 1
grey = (80 + 45 * phase + rng.normal(0, 30, phase.shape)).clip(0, 255).astype(np.uint8)
image = np.repeat(grey[..., None], 3, axis=2)

model = supercuts.load("compact")
n_regions = int(truth.max()) + 1
before = model.segment(image, superpixels=600).cut(regions=n_regions)
after = model.segment(image, superpixels=600, refiner="sp").cut(regions=n_regions)

fig, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for ax, title, labels in zip(axes, ["true", "before", "refined"], [truth, before, after], strict=True):
    covering = segmentation_covering(contingency(truth, labels))
    print(f"{title}: {n_regions} regions, covering {covering:.2f}")
    ax.imshow(segmentation.mark_boundaries(image, labels, color=(1, 0.8, 0), mode="thick"))
    ax.set_title(f"{title}, covering {covering:.2f}")
    ax.axis("off")
plt.show()
