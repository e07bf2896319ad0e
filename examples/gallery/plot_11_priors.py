"""
Masks from another tool
=======================

A detector, a threshold or a person often knows a region already. ``priors`` makes such masks nodes of the tree: every
superpixel lies in the mask or outside it, and the mask is complete before it merges with anything else.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data, filters, measure, morphology, segmentation

import supercuts

image = data.coins()
model = supercuts.load("compact")

# %%
# The other tool is Otsu's threshold here; each of its large components becomes one prior.

mask = morphology.opening(image > filters.threshold_otsu(image), morphology.disk(4))
components = measure.label(mask)
priors = [components == region.label for region in measure.regionprops(components) if 500 < region.area < 5000]
h = model.segment(image, priors=priors)

leaves_inside = [np.unique(h.labels[prior]) for prior in priors]
print(len(priors), "priors;", "each is a union of superpixels:")
print(all((np.isin(h.labels, leaves) == prior).all() for leaves, prior in zip(leaves_inside, priors, strict=True)))

report = supercuts.report_priors(h, priors)
print(int(report.is_node.sum()), "of them are nodes of the tree")

fig, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].contour(np.any(priors, axis=0), [0.5], colors="yellow", linewidths=1)
axes[0].set_title("priors")
for ax, title, tree in ((axes[1], "without", model.segment(image)), (axes[2], "with priors", h)):
    ax.imshow(segmentation.mark_boundaries(image, tree.cut(regions=60), color=(1, 1, 0)))
    ax.set_title(f"{title}: cut(regions=60)")
for ax in axes:
    ax.axis("off")
plt.show()
