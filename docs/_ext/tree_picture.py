"""A picture of a small hierarchy beside its arrays: label map, tree with altitudes, and two cuts."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from supercuts import Hierarchy

LABELS = np.array(
    [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [2, 2, 2, 3, 3, 4],
        [2, 2, 3, 3, 4, 4],
    ],
    np.int32,
)
PARENTS = np.array([5, 5, 6, 6, 7, 8, 7, 8, 8], np.int32)
ALTITUDES = np.array([0, 0, 0, 0, 0, 0.2, 0.3, 0.5, 0.8], np.float32)
PALETTE = np.array([[102, 194, 165], [252, 141, 98], [141, 160, 203], [231, 138, 195], [166, 216, 84]]) / 255
X = np.array([0, 1, 2, 3, 4, 0.5, 2.5, 3.25, 1.875])  # places of the nodes


def hierarchy() -> Hierarchy:
    """Return the hierarchy of the picture."""
    return Hierarchy(LABELS, PARENTS, ALTITUDES, np.zeros((5, 0), np.float32))


def draw(path: Path) -> None:
    """Write the picture as SVG; equal code gives equal bytes."""
    h = hierarchy()
    with mpl.rc_context({"svg.hashsalt": "tree", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(10, 5.2), layout="constrained", facecolor="white")
        grid = figure.add_gridspec(2, 3, width_ratios=[1, 1, 1.5])
        draw_map(figure.add_subplot(grid[0, 0]), h.labels, "labels: the 5 leaves")
        draw_map(figure.add_subplot(grid[0, 1]), h.cut(altitude=0.4), "cut(altitude=0.4): 3 regions")
        draw_map(figure.add_subplot(grid[1, 0]), h.cut(regions=2), "cut(regions=2)")
        axes = figure.add_subplot(grid[1, 1])
        axes.imshow(h.ucm(), cmap="magma_r", vmin=0, vmax=1)
        axes.set_title("ucm()", fontsize=10)
        axes.axis("off")
        draw_tree(figure.add_subplot(grid[:, 2]))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})


def draw_map(axes, labels, title):
    """Draw a label map with the number of each pixel's region."""
    axes.imshow(PALETTE[labels])
    for (y, x), label in np.ndenumerate(labels):
        axes.text(x, y, label, ha="center", va="center")
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def draw_tree(axes):
    """Draw the tree: leaves at altitude 0, each merge at its altitude."""
    for node, parent in enumerate(PARENTS):
        if node != parent:
            top = ALTITUDES[parent]
            axes.plot([X[node], X[node], X[parent]], [ALTITUDES[node], top, top], color="0.4", lw=1.5, zorder=1)
    for node, (x, y) in enumerate(zip(X, ALTITUDES, strict=True)):
        color = PALETTE[node] if node < len(PALETTE) else "white"
        axes.scatter(x, y, s=420, color=color, edgecolor="0.2", zorder=2)
        axes.text(x, y, node, ha="center", va="center", zorder=3)
    axes.axhline(0.4, color="tab:red", ls="--", lw=1.2)
    axes.text(-0.45, 0.415, "cut(altitude=0.4)", color="tab:red")
    axes.set(xlim=(-0.5, 4.5), ylim=(-0.08, 0.9), ylabel="altitude", xticks=[])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title("nodes 0 to 4 are leaves, 8 is the root", fontsize=10)
