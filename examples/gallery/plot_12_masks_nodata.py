"""
Pixels without data
===================

Pixels outside ``mask`` belong to no region: they are -1 in every cut. Retinal photographs have a black border that
should not become a region.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data, segmentation, transform

import supercuts

image = (transform.resize(data.retina(), (470, 470), anti_aliasing=True) * 255).astype(np.uint8)
valid = image.sum(axis=2) > 30
h = supercuts.load("compact").segment(image, superpixels=300, mask=valid)

labels = h.cut(regions=20)
print("labels:", labels.min(), "to", labels.max(), "- masked:", (labels == -1).mean().round(2))

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
left.imshow(image)
left.set_title("image")
right.imshow(segmentation.mark_boundaries(image, labels, color=(1, 1, 0)))
right.set_title("20 regions inside the mask")
for ax in (left, right):
    ax.axis("off")
plt.show()
