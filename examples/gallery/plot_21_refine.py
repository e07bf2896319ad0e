"""
Refine by a network fitted to the image
=======================================

``refiner="st"`` fits a small network to this one image, starting from a cut, and makes a new hierarchy of its
regions. It groups by texture and colour, in seconds to minutes.
"""

import matplotlib.pyplot as plt
from skimage import color, data

import supercuts
from supercuts.refine.refine_config import RefineConfig

image = data.coffee()[::2, ::2].copy()
model = supercuts.load("compact")
before = model.segment(image, superpixels=200)
settings = RefineConfig(epochs=8, initial_steps=8, n_features=16, n_classes=32, nu=2.0)
after = model.segment(image, superpixels=200, refiner=settings)
print(before.n_leaves, "superpixels before,", after.n_leaves, "after")

fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for ax, title, h in zip(axes, ["before", "refined"], [before, after], strict=True):
    ax.imshow(color.label2rgb(h.cut(regions=12), image, kind="avg", bg_label=-1))
    ax.set_title(f"{title}: cut(regions=12)")
    ax.axis("off")
plt.show()
