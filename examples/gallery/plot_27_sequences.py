"""
Ids that stay in a sequence
===========================

Every frame has exactly as many superpixels as asked, and a superpixel keeps its id while it is in view. Here a window
moves over a photograph.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

from supercuts.superpixels.volumes import segment_sequence

photo = data.coffee()[::2, ::2]
frames = np.stack([photo[4 * t : 4 * t + 150, 10 * t : 10 * t + 220] for t in range(6)])
h = segment_sequence(frames, 150)
print([len(np.unique(labels)) for labels in h.labels])

# %%
# Superpixels of the first frame and those that came later, in grey, and a cut of the common tree with one colour per
# region.

cut = h.cut(regions=25)
colors = np.random.default_rng(0).random((h.slices.n_leaves, 3))
colors[h.labels[0].max() + 1 :] = 0.5
fig, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained")
for column, t in zip(axes.T, [0, 2, 5], strict=True):
    stay = np.isin(np.unique(h.labels[t]), h.labels[0]).mean()
    column[0].imshow(0.4 * frames[t] / 255 + 0.6 * colors[h.labels[t]])
    column[0].set_title(f"frame {t}: {stay:.0%} of the first frame's")
    column[1].imshow(0.4 * frames[t] / 255 + 0.6 * plt.get_cmap("tab20")(cut[t] % 20)[..., :3])
for ax in axes.ravel():
    ax.axis("off")
plt.show()
