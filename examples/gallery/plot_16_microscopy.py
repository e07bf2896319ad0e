"""
Tissue: measure what was stained
================================

Superpixels of an immunohistochemistry image, measured with scikit-image's ``regionprops_table``: which regions hold
the brown stain?
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from skimage import color, data, measure, segmentation

import supercuts

image = data.immunohistochemistry()
h = supercuts.load("compact").segment(image, superpixels=800)
stain = color.rgb2hed(image)[..., 2]  # DAB, the brown stain

# %%
# ``regionprops`` takes 0 for background, so labels start at 1 here. ``h.export("tissue.tif", "labels-tiff")`` writes
# the same labels for ImageJ, CellProfiler and QuPath.

columns = ["label", "area", "mean_intensity"]
table = pd.DataFrame(measure.regionprops_table(h.labels + 1, stain, properties=columns)).set_index("label")
threshold = table["mean_intensity"].quantile(0.8)
stained = table.index[table["mean_intensity"] > threshold]
print(table.describe().round(3).to_string())

fig, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
axes[0].imshow(segmentation.mark_boundaries(image, h.labels, color=(1, 1, 0)))
axes[0].set_title("800 superpixels")
axes[1].imshow(table["mean_intensity"].to_numpy()[h.labels], cmap="magma")
axes[1].set_title("mean stain of each")
axes[2].imshow(np.where(np.isin(h.labels + 1, stained)[..., None], image, 255))
axes[2].set_title("the upper fifth")
for ax in axes:
    ax.axis("off")
plt.show()
