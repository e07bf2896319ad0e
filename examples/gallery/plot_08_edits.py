"""
Correct the tree: lock, merge, undo
===================================

An edit returns a new hierarchy and holds in it at every granularity: a locked region is never divided or merged with
others. Files keep edits, and ``undo`` takes them back one by one.
"""

import matplotlib.pyplot as plt
from skimage import color, data

import supercuts

image = data.coffee()
h = supercuts.load("compact").segment(image)

nodes, labels = h.cut_nodes(regions=12), h.cut(regions=12)
spoon = int(nodes[labels[290, 365]])  # the node under a pixel of the spoon
locked = h.lock(spoon)

fig, axes = plt.subplots(2, 2, figsize=(9, 6.2), layout="constrained")
for row, (name, tree) in zip(axes, {"before": h, "locked": locked}.items(), strict=True):
    for ax, n in zip(row, [3, 60], strict=True):
        cut = tree.cut(regions=n)
        ax.imshow(color.label2rgb(cut, image, kind="avg", bg_label=-1))
        ax.contour(cut == cut[290, 365], [0.5], colors="red", linewidths=1.5)
        ax.set_title(f"{name}: cut(regions={n})")
        ax.axis("off")
plt.show()

# %%
# An edit that contradicts an earlier one raises an error that names both.

print(locked.undo().edits)
