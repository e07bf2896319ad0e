"""Draw superpixel scores against the actual number of superpixels.

In   per method: points with their count and scores
Out  a picture of four panels
Not  no measuring
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from supercuts.core.files import atomic_path

PANELS = {
    "asa": ("achievable segmentation accuracy", (0.86, 0.985)),
    "undersegmentation_error": ("undersegmentation error (lower is better)", (0.03, 0.27)),
    "boundary_recall": ("boundary recall", (0.4, 1.0)),
    "compactness": ("compactness", (0.0, 0.7)),
}
# Okabe and Ito's colours, for colour-blind readers; families of methods share one and differ in the line
COLORS = {"scikit-image": "#0072B2", "OpenCV": "#009E73", "Higra": "#CC79A7"}
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))


def draw_curves(path: Path, curves: Mapping[str, Sequence[Mapping[str, float]]], ours: str) -> None:
    """Write the picture; methods that leave stray components are left out, their connected form is drawn."""
    shown = {name: points for name, points in curves.items() if "as it comes" not in name}
    figure = Figure(figsize=(10.6, 7.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    styles = _styles(shown, ours)
    for axes, (score, (title, limits)) in zip(panels.flat, PANELS.items(), strict=True):
        for name, points in shown.items():
            axes.plot(
                [point["n_superpixels"] for point in points], [point[score] for point in points],
                label=name, **styles[name],
            )  # fmt: skip
        axes.set(xscale="log", xlim=(50, 1600), ylim=limits, title=title)
        axes.set_xticks([50, 100, 200, 400, 600, 1000, 1500], ["50", "100", "200", "400", "600", "1000", "1500"])
        axes.minorticks_off()
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
    for axes in panels[1]:
        axes.set_xlabel("superpixels (actual)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:])


def _styles(names: Mapping[str, object], ours: str) -> dict[str, dict[str, object]]:
    styles: dict[str, dict[str, object]] = {}
    n_of_family: dict[str, int] = {}
    for name in names:
        if name == ours:
            styles[name] = {"color": "#D55E00", "linewidth": 3.0, "zorder": 5}
            continue
        family = name.split()[0]
        index = n_of_family.get(family, 0)
        n_of_family[family] = index + 1
        styles[name] = {"color": COLORS[family], "linestyle": STYLES[index % len(STYLES)], "linewidth": 1.3}
    return styles
