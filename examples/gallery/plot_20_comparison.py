"""
Beside slic and felzenszwalb
============================

The same number of superpixels from SuperCuts and from two functions of scikit-image, and where each places its
borders. One photograph proves nothing; :doc:`/results/peers` has the benchmark.
"""

import matplotlib.pyplot as plt
from skimage import color, data, segmentation

import supercuts

image = data.astronaut()
slic = segmentation.slic(image, n_segments=250, compactness=10, start_label=0)
n = slic.max() + 1  # fewer than asked for; SuperCuts then makes exactly as many
labels = {
    "SuperCuts": supercuts.load("compact").segment(image, superpixels=int(n)).labels,
    "slic": slic,
    "felzenszwalb": segmentation.felzenszwalb(image, scale=100, sigma=0.8, min_size=200),
}

fig, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
for (top, bottom), (name, result) in zip(axes.T, labels.items(), strict=True):
    top.imshow(segmentation.mark_boundaries(image, result, color=(1, 1, 0)))
    top.set_title(f"{name}: {result.max() + 1}")
    bottom.imshow(color.label2rgb(result, image, kind="avg", bg_label=-1)[50:250, 120:320])
    bottom.set_title("mean colours, detail")
    top.axis("off")
    bottom.axis("off")
plt.show()
