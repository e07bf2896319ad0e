"""
Parts of an object
==================

``model.parts`` divides the objects that it finds, or those that it is given, into exactly ``k`` parts each. Parts
never leave their object.
"""

import matplotlib.pyplot as plt
from skimage import color, data

import supercuts

model = supercuts.load("compact")
image = data.astronaut()
h = model.segment(image)
objects = model.objects(h)

fig, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for ax, k in zip(axes, [2, 5, 10], strict=True):
    parts = model.parts(h, k=k, objects=objects)
    ax.imshow(color.label2rgb(parts.labels, image, bg_label=0, alpha=0.5))
    ax.set_title(f"k={k}")
    ax.axis("off")
plt.show()
