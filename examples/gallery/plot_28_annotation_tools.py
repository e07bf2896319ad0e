"""
Regions for labelme, CVAT and Label Studio
==========================================

The regions of a cut become polygons in a JSON file of labelme, corrected there by hand, and the file comes back as
priors: masks that are nodes of a new tree.
"""

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Polygon
from skimage import data

import supercuts

image = data.coffee()[::2, ::2]
model = supercuts.load("compact")
h = model.segment(image, 300)
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "coffee_labelme.json"
h.export(path, "labelme", regions=8)
shapes = json.loads(path.read_text())["shapes"]
print(
    len(shapes), "shapes; the first:", shapes[0]["label"], shapes[0]["shape_type"], len(shapes[0]["points"]), "points"
)

# %%
# ``h.export("coffee_cvat.xml", regions=8)`` and ``h.export("coffee_label-studio.json", regions=8)`` write the same
# regions for CVAT and Label Studio. Now the corrected file, here unchanged, as priors:

again = model.segment(image, 300, priors=path)
labels, back = h.cut(regions=8), again.cut(regions=8)

fig, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
for ax, title in zip(axes, ["regions", "shapes in the file", "the tree with the file as priors"], strict=True):
    ax.set_title(title)
    ax.axis("off")
axes[0].imshow(labels, cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
axes[1].imshow(image)
for k, shape in enumerate(shapes):
    axes[1].add_patch(Polygon(np.array(shape["points"]), fill=False, color=f"C{k % 10}", linewidth=2))
axes[2].imshow(back, cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
plt.show()
folder.cleanup()
