"""
Scribbles of several labels
===========================

``segment_scribbles`` spreads strokes along the tree: each superpixel takes the label of its lowest ancestor under a
stroke. Strokes are lists of points ``(row, column)``, or an array with 0 where nothing is drawn.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import color, data

import supercuts

image = data.astronaut()
h = supercuts.load("compact").segment(image)

strokes = {
    1: [[(90, 200), (150, 240)]],  # head
    2: [[(300, 120), (460, 300)], [(330, 330), (480, 380)]],  # suit
    3: [[(40, 40), (300, 20)], [(20, 440), (300, 490)]],  # background
}
labels = h.segment_scribbles(strokes)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
left.imshow(image)
colors = ["orange", "green", "blue"]
for label, lines in strokes.items():
    for line in lines:
        y, x = np.transpose(line)
        left.plot(x, y, color=colors[label - 1], lw=4)
left.set_title("three labels")
right.imshow(color.label2rgb(labels, image, colors=colors, alpha=0.45))
right.set_title("segment_scribbles")
for ax in (left, right):
    ax.axis("off")
plt.show()
