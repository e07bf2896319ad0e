"""Draw precision-recall curves as the BSDS500 benchmark does.

In   one curve per method, with its best point and average precision
Out  a picture: .png, .svg or .pdf
Not  no scores, no window, no pyplot: matplotlib's global state stays as it is
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# Okabe and Ito's colours, told apart by colour-blind readers; without their yellow, faint on white, and their green,
# which here means F and humans
_COLOURS = ("#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", ":")
_ISO_GREEN, _HUMAN_GREEN = "#A6DBA0", "#1B7837"
_LOWEST_RECALL = 0.01  # below, the benchmark draws nothing: precision of hardly any pixels


@dataclass(frozen=True, slots=True)
class PrecisionRecallPoint:
    """One point, recall and precision in 0..1."""

    recall: float
    precision: float

    @property
    def f(self) -> float:
        """Harmonic mean of both; 0 when both are."""
        total = self.recall + self.precision
        return 2 * self.recall * self.precision / total if total > 0 else 0.0


# How well annotators agree on the test split, as drawn by edgesEvalPlot of the Structured Edge Detection Toolbox
# (Dollar, Zitnick). Older plots show (0.70, 0.90), whose F is 0.79 and not the 0.80 that is published for BSDS500.
HUMANS_ON_BSDS500 = PrecisionRecallPoint(recall=0.7235, precision=0.9014)


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecallCurve:
    """The curve of one method over a dataset.

    name       in the legend
    recall     (T,) in 0..1, in the order of the thresholds
    precision  (T,) in 0..1
    ods        best point of the curve
    ap         average precision; NaN leaves it out
    """

    name: str
    recall: np.ndarray
    precision: np.ndarray
    ods: PrecisionRecallPoint
    ap: float

    def __post_init__(self) -> None:
        """Refuse what is no curve."""
        if self.recall.ndim != 1 or self.recall.shape != self.precision.shape or self.recall.size == 0:
            raise InputError(
                f"{self.name}: recall {self.recall.shape} and precision {self.precision.shape} are no curve. Give one "
                "value of each per threshold, at least one."
            )
        ods = np.array([self.ods.recall, self.ods.precision])
        for what, values in {"recall": self.recall, "precision": self.precision, "ods": ods}.items():
            for value in (float(values.min()), float(values.max())):  # NaN is the lowest and the highest
                check_in_range(f"{what} of {self.name}", value, 0, 1, remedy="Give shares of pixels.")


def draw_precision_recall(
    path: Path, curves: Sequence[PrecisionRecallCurve], human: PrecisionRecallPoint | None = None
) -> None:
    """Write the curves over lines of equal F, the legend sorted by F; human=HUMANS_ON_BSDS500 suits its test split."""
    suffix = path.suffix.lower()
    check_choice("suffix of a plot", suffix, (".png", ".svg", ".pdf"))
    if len(curves) == 0:
        raise InputError("There are no curves to draw: give at least one.")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_frame(axes)
    _draw_curves(axes, curves, human)
    with atomic_path(path) as temporary:
        # tight: the legend lies outside the axes, and names of any length are not cut off
        figure.savefig(temporary, format=suffix[1:], bbox_inches="tight")


def _draw_frame(axes: "Axes") -> None:
    """Draw axes, grid and the lines of equal F = 0.1, 0.2, ... 0.9, each with its F where it ends at recall 1."""
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Recall", ylabel="Precision", aspect="equal")
    ticks = np.linspace(0, 1, 11)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    for f in ticks[1:-1]:
        recall = np.geomspace(f / (2 - f), 1, 400)  # precision 1 at the left end; steep there
        axes.plot(recall, f * recall / (2 * recall - f), color=_ISO_GREEN, linewidth=0.9, zorder=1)
        axes.annotate(
            f"F = {f:.1f}",
            (1, f / (2 - f)),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=_HUMAN_GREEN,
        )


def _draw_curves(axes: "Axes", curves: Sequence[PrecisionRecallCurve], human: PrecisionRecallPoint | None) -> None:
    handles: list[tuple[float, tuple[Line2D, ...], str]] = []
    for index, curve in enumerate(curves):
        is_shown = curve.recall >= _LOWEST_RECALL
        style = _STYLES[index // len(_COLOURS) % len(_STYLES)] if curve.recall.size > 1 else "none"
        color = _COLOURS[index % len(_COLOURS)]
        (line,) = axes.plot(
            curve.recall[is_shown], curve.precision[is_shown], linestyle=style, color=color, linewidth=2, zorder=3
        )
        (best,) = axes.plot(curve.ods.recall, curve.ods.precision, "o", color=color, markersize=6, zorder=4)
        ap = "" if np.isnan(curve.ap) else f", AP = {_short(curve.ap)}"
        handles.append((curve.ods.f, (line, best), f"[F = {_short(curve.ods.f)}] {curve.name}{ap}"))
    if human is not None:
        (dot,) = axes.plot(human.recall, human.precision, "D", color=_HUMAN_GREEN, markersize=8, zorder=5)
        handles.append((human.f, (dot,), f"[F = {_short(human.f)}] Human"))
    handles.sort(key=lambda handle: -handle[0])
    legend = axes.legend(
        [lines for _, lines, _ in handles],
        [label for _, _, label in handles],
        loc="upper left",
        bbox_to_anchor=(0, -0.1),
        frameon=False,
        fontsize=9,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # names of methods are paths, and may hold a dollar sign


def _short(value: float) -> str:
    """Return .72 for 0.72, as in the benchmark's legends."""
    return f"{value:.2f}".removeprefix("0")
