"""
Exactly N regions
=================

``cut(regions=N)`` returns exactly N connected regions, for any N up to the number of superpixels. The cuts are
nested: from one to the next, regions are only split.
"""

import matplotlib.pyplot as plt
from skimage import color, data

import supercuts

image = data.coffee()
h = supercuts.load("compact").segment(image, superpixels=400)

fig, axes = plt.subplots(2, 2, figsize=(9, 6.2), layout="constrained")
for ax, n in zip(axes.flat, [4, 12, 50, 400], strict=True):
    labels = h.cut(regions=n)
    ax.imshow(color.label2rgb(labels, image, kind="avg", bg_label=-1))
    ax.set_title(f"cut(regions={n}): labels 0 to {labels.max()}")
    ax.axis("off")
plt.show()

# %%
# Nested means that each region of the finer cut lies in one region of the coarser cut:

fine, coarse = h.cut(regions=50), h.cut(regions=12)
print(all(len(set(coarse[fine == region])) == 1 for region in range(50)))
