"""
Masks in the format of automatic mask generators
================================================

``SuperCutsMaskGenerator`` returns the list of dicts that code for Segment Anything's mask generator expects, and adds
the tree: ``level``, ``node`` and ``parent``.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import supercuts

image = data.astronaut()
generator = supercuts.SuperCutsMaskGenerator(supercuts.load("compact"), levels=("object", "part"))
masks = generator.generate(image)
print(len(masks), "masks with", sorted(masks[0]))

fig, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
rng = np.random.default_rng(1)
for ax, level in zip(axes, ["object", "part"], strict=True):
    picture = image / 255
    shown = [mask for mask in masks if level in mask["levels"]]
    for mask in shown:
        picture[mask["segmentation"]] = 0.5 * picture[mask["segmentation"]] + 0.5 * rng.random(3)
    ax.imshow(picture)
    ax.set_title(f"{level}: {len(shown)} masks")
    ax.axis("off")
plt.show()
