"""Draw precision-recall curves in the style of the BSDS500 benchmark, and contact sheets of results."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8
from PIL import Image

from supercuts.core.arrays import arrays_repr
from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.images.draw import blend, contact_sheet, draw_boundaries, random_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


# Okabe and Ito's colours, distinguishable for colour-blind readers; without their yellow, faint on white, and their
# green, which marks F and humans here
_COLOURS = ("#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", ":")
_ISO_GREEN, _HUMAN_GREEN = "#A6DBA0", "#1B7837"
_LOWEST_RECALL = 0.01  # the benchmark draws nothing below it, where precision is that of very few pixels


@dataclass(frozen=True, slots=True)
class PrecisionRecallPoint:
    """One point of a curve; recall and precision are in 0..1."""

    recall: float
    precision: float

    @property
    def f(self) -> float:
        """Harmonic mean of recall and precision; 0 when both are 0."""
        total = self.recall + self.precision
        return 2 * self.recall * self.precision / total if total > 0 else 0.0


# Agreement of annotators on the test split, as drawn by edgesEvalPlot of the Structured Edge Detection Toolbox
# (Dollar, Zitnick). Older plots show (0.70, 0.90), whose F is 0.79 instead of the 0.80 published for BSDS500.
HUMANS_ON_BSDS500 = PrecisionRecallPoint(recall=0.7235, precision=0.9014)


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecallCurve:
    """The curve of one method over a dataset.

    name       label in the legend
    recall     (T,) in 0..1, in the order of the thresholds
    precision  (T,) in 0..1
    ods        best point of the curve
    ap         average precision; NaN omits it from the legend
    """

    name: str
    recall: np.ndarray
    precision: np.ndarray
    ods: PrecisionRecallPoint
    ap: float

    __repr__ = arrays_repr

    def __post_init__(self) -> None:
        """Raise InputError unless recall and precision are non-empty, of equal length and in 0..1."""
        if self.recall.ndim != 1 or self.recall.shape != self.precision.shape or self.recall.size == 0:
            raise InputError(
                f"{self.name}: recall {self.recall.shape} and precision {self.precision.shape} are not a curve. Give "
                "one value of each per threshold, at least one."
            )
        ods = np.array([self.ods.recall, self.ods.precision])
        for name, values in {"recall": self.recall, "precision": self.precision, "ods": ods}.items():
            for value in (float(values.min()), float(values.max())):  # NaN is the lowest and the highest
                check_in_range(f"{name} of {self.name}", value, 0, 1, remedy="Give shares of pixels.")


def draw_precision_recall(
    path: Path, curves: Sequence[PrecisionRecallCurve], human: PrecisionRecallPoint | None = None
) -> None:
    """Write the curves over lines of equal F, with a legend sorted by F.

    human is the point of human performance: HUMANS_ON_BSDS500 for the test split of BSDS500.
    """
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
        # tight: the legend lies outside the axes, and long names must not be cut off
        figure.savefig(temporary, format=suffix[1:], bbox_inches="tight")


def _draw_frame(axes: "Axes") -> None:
    """Draw axes, grid and the lines of equal F = 0.1, 0.2, ... 0.9, each labelled with its F at recall 1."""
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Recall", ylabel="Precision", aspect="equal")
    ticks = np.linspace(0, 1, 11)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    for f in ticks[1:-1]:
        recall = np.geomspace(f / (2 - f), 1, 400)  # from precision 1; denser on the left, where lines are steep
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
        text.set_parse_math(False)  # names of methods are paths and may contain a dollar sign


def _short(value: float) -> str:
    """Return .72 for 0.72, as in the benchmark's legends."""
    return f"{value:.2f}".removeprefix("0")


N_CASES = 12
SUFFIXES = (".png", ".jpg", ".jpeg")
_TILE_PX = 320  # long side
_TRUE, _FOUND = (255, 224, 102), (88, 222, 255)
_TINT = 0.45
_POINT_PX = 3


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image with its annotation and its prediction.

    image  (H, W, 3) uint8 RGB
    truth, found  (H, W) int32  0 for background, objects or parts from 1 on
    true_boxes_yxyx, found_boxes_yxyx  (K, 4) int64  y0, x0, y1, x1, ends exclusive; drawn in addition
    true_points_yx  (V, 2) float64  row, column; drawn on both pictures
    """

    name: str
    caption: str
    image: UInt8[np.ndarray, "height width 3"]
    truth: Int32[np.ndarray, "height width"]
    found: Int32[np.ndarray, "height width"]
    true_boxes_yxyx: Int[np.ndarray, "boxes 4"] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    found_boxes_yxyx: Int[np.ndarray, "found 4"] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    true_points_yx: Float[np.ndarray, "points 2"] = field(default_factory=lambda: np.zeros((0, 2)))


def worst(scores: Mapping[str, float], n: int = N_CASES) -> list[str]:
    """Return the names of the n lowest scores, lowest first.

    >>> worst({"a": 0.5, "b": 0.1, "c": 0.9}, 2)
    ['b', 'a']
    """
    return sorted(scores, key=lambda name: (scores[name], name))[:n]


def draw_cases(cases: Sequence[Case]) -> UInt8[np.ndarray, "height width 3"]:
    """Return a sheet of the cases, two per row: image, truth, prediction.

    Their captions are the name of the image, "truth" and the caption of the case.
    """
    if not cases:
        raise InputError("There are no cases to draw: give at least one.")
    tiles, captions = [], []
    for case in cases:
        rows, columns = _tile_shape(case.image.shape)
        picture = np.array(Image.fromarray(case.image).resize((columns, rows), Image.Resampling.LANCZOS))
        scale = np.array([rows, columns]) / case.image.shape[:2]
        points = case.true_points_yx * scale
        truth = draw_regions(picture, case.truth, _TRUE, case.true_boxes_yxyx, scale)
        predicted = draw_regions(picture, case.found, _FOUND, case.found_boxes_yxyx, scale)
        tiles += [picture, _with_points(truth, points), _with_points(predicted, points)]
        captions += [case.name, "truth", case.caption]
    return contact_sheet(tiles, captions, columns=3 if len(cases) == 1 else 6)


def check_sheet(path: str | os.PathLike[str]) -> None:
    """Raise InputError unless the path ends in a suffix of a picture."""
    name = os.fspath(path)
    if not name.lower().endswith(SUFFIXES):
        raise InputError(f"{name} does not end in {', '.join(SUFFIXES)}: give the sheet one of these suffixes.")


def write_sheet(path: str | os.PathLike[str], cases: Sequence[Case]) -> None:
    """Write the sheet of the cases as a picture."""
    check_sheet(path)
    sheet = Image.fromarray(draw_cases(cases))
    with atomic_path(path) as temporary:
        sheet.save(temporary, quality=90)


def draw_regions(
    picture: UInt8[np.ndarray, "rows columns 3"],
    labels: Int32[np.ndarray, "height width"],
    color: tuple[int, int, int],
    boxes: Int[np.ndarray, "boxes 4"],
    scale: Float[np.ndarray, "2"],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the picture with regions tinted and outlined, and boxes outlined; a single region is only outlined.

    labels and boxes (y0, x0, y1, x1) are in pixels of the image; the picture is `scale` (rows, columns) times as large.
    """
    rows, columns = picture.shape[:2]
    y, x = (
        (np.arange(n) * 2 + 1) * full // (2 * n) for n, full in ((rows, labels.shape[0]), (columns, labels.shape[1]))
    )
    ids = labels[y[:, None], x]
    if labels.max() > 1:
        colors = random_colors(np.arange(labels.max() + 1)[None])[0]  # parts of other images may raise the ids
        tinted = blend(picture, colors[ids], _TINT)
        picture = np.where((ids > 0)[..., None], tinted, picture)
    if ids.any():
        picture = draw_boundaries(picture, np.unique(ids, return_inverse=True)[1].reshape(ids.shape), color, width=2)
    for y0, x0, y1, x1 in np.rint(boxes * np.tile(scale, 2)).astype(int):
        inside = np.zeros((rows, columns), np.int32)
        inside[max(y0, 1) : min(y1, rows - 1), max(x0, 1) : min(x1, columns - 1)] = 1  # an edge on the frame shows too
        picture = draw_boundaries(picture, inside, color, width=2)
    return picture


def _with_points(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the picture with a dark-rimmed dot at each point."""
    y, x = np.indices(picture.shape[:2])
    drawn = picture.copy()
    for point_y, point_x in points:
        squared = (y - point_y) ** 2 + (x - point_x) ** 2
        drawn[squared <= (_POINT_PX + 1) ** 2] = 0
        drawn[squared <= _POINT_PX**2] = _TRUE
    return drawn


def _tile_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = _TILE_PX / max(shape[:2])
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
