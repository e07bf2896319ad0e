"""
Salient objects
===============

``model.objects`` finds what annotators would draw as figure against the background. It was never trained on masks of
objects.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import supercuts

model = supercuts.load("compact")
image = data.chelsea()
found = model.objects(model.segment(image))

fig, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
left.imshow(image)
for y0, x0, y1, x1 in found.boxes_yxyx:
    left.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="yellow", lw=2))
left.set_title("box")
middle.imshow(found.saliency, cmap="magma", vmin=0, vmax=1)
middle.set_title("saliency")
right.imshow(np.where(found.mask[..., None], image, 255))
right.set_title(f"mask, score {found.scores[0]:.2f}")
for ax in (left, middle, right):
    ax.axis("off")
plt.show()
