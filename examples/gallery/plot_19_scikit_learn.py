"""
Label a few superpixels, classify the rest
==========================================

The embeddings of superpixels are features for scikit-learn. A random forest learns from four strokes.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import color, data
from sklearn.ensemble import RandomForestClassifier

import supercuts

image = data.coffee()
h = supercuts.load("compact").segment(image)
table = h.region_table()

# %%
# One row for each superpixel: mean colour, embedding, and place.

counts = np.bincount(h.labels.ravel())
lab = color.rgb2lab(image)
means = np.stack([np.bincount(h.labels.ravel(), lab[..., c].ravel()) / counts for c in range(3)], axis=1)
features = np.hstack([means / 100, h.embeddings, table.centroid_yx[: h.n_leaves] / 600])

strokes = {"cup": (slice(55, 60), slice(195, 230)), "coffee": (slice(140, 160), slice(240, 340))}
strokes |= {"saucer": (slice(240, 300), slice(110, 150)), "table": (slice(10, 30), slice(10, 120))}
colors = ["blue", "orange", "red", "green"]
x, y = [], []
for number, rows_columns in enumerate(strokes.values()):
    leaves = np.unique(h.labels[rows_columns])
    x.append(features[leaves])
    y.append(np.full(len(leaves), number))
forest = RandomForestClassifier(50, random_state=0).fit(np.vstack(x), np.concatenate(y))
predicted = forest.predict(features)[h.labels]

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.imshow(image)
for number, (rows, columns) in enumerate(strokes.values()):
    size = (columns.stop - columns.start, rows.stop - rows.start)
    left.add_patch(plt.Rectangle((columns.start, rows.start), *size, color=colors[number]))
left.set_title("four strokes")
right.imshow(color.label2rgb(predicted, image, colors=colors, alpha=0.5, bg_label=-1))
right.set_title(", ".join(strokes))
for ax in (left, right):
    ax.axis("off")
plt.show()
