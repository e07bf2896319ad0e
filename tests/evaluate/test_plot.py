import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.evaluate.plot import (
    _FOUND,
    _TRUE,
    HUMANS_ON_BSDS500,
    Case,
    PrecisionRecallCurve,
    PrecisionRecallPoint,
    draw_cases,
    draw_precision_recall,
    draw_regions,
    worst,
    write_sheet,
)

RECALL = np.linspace(1, 0, 11)
PRECISION = np.linspace(0.2, 1, 11)


def curve(name="ours", recall=RECALL, precision=PRECISION, ods=(0.7, 0.6), ap=0.65):
    return PrecisionRecallCurve(name, np.asarray(recall), np.asarray(precision), PrecisionRecallPoint(*ods), ap)


@pytest.fixture
def drawn(monkeypatch):
    """Return the figures that are drawn from now on."""
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_f_is_the_harmonic_mean():
    assert PrecisionRecallPoint(0.5, 1).f == pytest.approx(2 / 3)
    assert PrecisionRecallPoint(0, 0).f == 0
    # the agreement that the literature quotes for the test split of BSDS500
    assert round(HUMANS_ON_BSDS500.f, 3) == 0.803


@pytest.mark.parametrize("name", ["pr.png", "pr.SVG", "new/folder/pr.pdf"])
def test_the_suffix_decides_the_format(tmp_path, name):
    path = tmp_path / name
    draw_precision_recall(path, [curve()])
    content = path.read_bytes()
    if path.suffix == ".png":
        with Image.open(path) as image:
            assert min(image.size) > 600
            assert np.asarray(image.convert("L")).std() > 10
    elif path.suffix == ".pdf":
        assert content.startswith(b"%PDF")
    else:
        assert xml.etree.ElementTree.fromstring(content).tag.endswith("svg")
    assert list(path.parent.iterdir()) == [path]


def test_the_legend_is_sorted_by_f(tmp_path, drawn):
    curves = [
        curve("low", ods=(0.5, 0.5), ap=float("nan")),
        curve("high", ods=(0.7, 0.74), ap=0.7),
        curve("perfect", ods=(1, 1), ap=1.0),
        curve(r"$\no$", ods=(0, 0), ap=0.0),
    ]
    draw_precision_recall(tmp_path / "pr.png", curves, HUMANS_ON_BSDS500)
    assert legend(drawn[0]) == [
        "[F = 1.00] perfect, AP = 1.00",
        "[F = .80] Human",
        "[F = .72] high, AP = .70",
        "[F = .50] low",
        r"[F = .00] $\no$, AP = .00",
    ]
    draw_precision_recall(tmp_path / "pr.png", curves)
    assert not any("Human" in label for label in legend(drawn[1]))


def test_colours_and_points_are_those_of_the_legend(tmp_path, drawn):
    curves = [curve(f"{i}", ods=(0.5, 0.1 * i)) for i in range(10)]
    draw_precision_recall(tmp_path / "pr.svg", curves)
    axes = drawn[0].axes[0]
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 10]
    points = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert len(lines) == len(points) == 10
    assert [line.get_color() for line in lines] == [point.get_color() for point in points]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10
    assert [point.get_ydata()[0] for point in points] == pytest.approx([0.1 * i for i in range(10)])
    np.testing.assert_allclose(lines[0].get_xdata(), RECALL[:-1])  # recall 0 is not a point of the curve
    np.testing.assert_allclose(lines[0].get_ydata(), PRECISION[:-1])


def test_lines_of_equal_f_are_drawn_and_labelled(tmp_path, drawn):
    draw_precision_recall(tmp_path / "pr.png", [curve()])
    axes = drawn[0].axes[0]
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 100]
    recall, precision = (np.array([getattr(line, f"get_{x}data")() for line in lines]) for x in "xy")
    f = 2 * recall * precision / (recall + precision)
    np.testing.assert_allclose(f, np.repeat(np.arange(1, 10)[:, None] / 10, f.shape[1], axis=1))
    np.testing.assert_allclose(precision[:, 0], 1)
    np.testing.assert_allclose(recall[:, -1], 1)
    assert [text.get_text() for text in axes.texts] == [f"F = 0.{i}" for i in range(1, 10)]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Recall", "Precision")


def test_a_single_threshold_is_a_point(tmp_path, drawn):
    draw_precision_recall(tmp_path / "pr.png", [curve(recall=[0.5], precision=[0.6], ods=(0.5, 0.6))])
    lines = [line for line in drawn[0].axes[0].get_lines() if len(line.get_xdata()) == 1]
    assert sorted(line.get_linestyle() for line in lines if line.get_marker() == "None") == ["None"]
    assert [line.get_marker() for line in lines if line.get_marker() != "None"] == ["o"]


def test_a_failure_leaves_the_old_picture(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(self, path, **_):
        path.write_bytes(b"half a pict")
        raise OSError("disk full")

    (tmp_path / "pr.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_precision_recall(tmp_path / "pr.png", [curve()])
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("pr.png", b"old")]


def test_pyplot_stays_unloaded_and_matplotlib_is_loaded_only_to_draw(tmp_path):
    code = f"""
import sys
from pathlib import Path
import numpy as np
from supercuts.evaluate.plot import PrecisionRecallCurve, PrecisionRecallPoint, draw_precision_recall
assert "matplotlib" not in sys.modules
point = PrecisionRecallPoint(0.5, 0.5)
curve = PrecisionRecallCurve("a", np.array([0.5]), np.array([0.5]), point, 0.5)
draw_precision_recall(Path({str(tmp_path / "pr.png")!r}), [curve])
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refusals(tmp_path):
    with pytest.raises(InputError, match=r"suffix of a plot='.jpg' is unknown. Choose one of: .png, .svg, .pdf"):
        draw_precision_recall(tmp_path / "pr.jpg", [curve()])
    with pytest.raises(InputError, match="no curves to draw: give at least one"):
        draw_precision_recall(tmp_path / "pr.png", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recall": [0.5]}, r"ours: recall \(1,\) and precision \(11,\) are not a curve. Give one value of each"),
        ({"recall": [], "precision": []}, r"at least one"),
        ({"recall": [[0.5]], "precision": [[0.5]]}, r"recall \(1, 1\)"),
        ({"recall": RECALL * 100}, r"recall of ours=100.0 is outside 0..1. Give shares"),
        ({"precision": np.where(RECALL == 1, np.nan, 0)}, r"precision of ours=nan is outside"),
        ({"ods": (0.5, -0.1)}, r"ods of ours=-0.1 is outside"),
    ],
)
def test_invalid_curves_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        curve(**changed)


GREY = np.full((40, 80, 3), 100, np.uint8)
BLOB = np.zeros((40, 80), np.int32)
BLOB[10:30, 20:60] = 1


def a_case(**changed):
    fields = {"truth": BLOB, "found": np.zeros_like(BLOB), **changed}
    return Case("a.b", "found: IoU 0.000", GREY, **fields)


def tiles(sheet, n=3):
    return np.array_split(sheet[:180], n, axis=1)


def near(picture, color):
    return (np.abs(picture.astype(int) - color).max(axis=2) < 30).sum()


def test_the_lowest_come_first_and_ties_go_by_name():
    assert worst({"c": 0.1, "b": 0.1, "a": 0.9}, 2) == ["b", "c"]


def test_a_case_is_three_tiles_the_truth_outlined_in_its_colour():
    image, truth, actual = tiles(draw_cases([a_case()]))
    assert near(truth, _TRUE) > 200
    assert near(image, _TRUE) == near(actual, _TRUE) == near(actual, _FOUND) == 0
    _, truth, actual = tiles(draw_cases([a_case(truth=BLOB * 0, found=BLOB)]))
    assert near(actual, _FOUND) > 200
    assert near(truth, _TRUE) == 0


def test_boxes_and_keypoints_are_drawn_up_to_the_edge():
    case = a_case(
        truth=BLOB * 0,
        true_boxes_yxyx=np.array([[0, 0, 40, 80]]),
        found_boxes_yxyx=np.array([[5, 5, 20, 20]]),
    )
    _, truth, actual = tiles(draw_cases([case]))
    assert near(truth, _TRUE) > 500
    assert near(actual, _FOUND) > 100
    image, truth, actual = tiles(draw_cases([a_case(truth=BLOB * 0, true_points_yx=np.array([[20.0, 40], [39, 79]]))]))
    assert near(truth, _TRUE) == near(actual, _TRUE) > 20
    assert near(image, _TRUE) == 0


def test_parts_are_tinted_and_the_rest_is_left_alone():
    labels = BLOB.copy()
    labels[10:30, 40:60] = 2
    image, truth, _ = tiles(draw_cases([a_case(truth=labels)]))
    changed = (image != truth).any(axis=2)
    assert changed.mean() > 0.1
    assert near(truth, (100, 100, 100)) > near(image, (100, 100, 100)) / 2


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_sheet_is_written_two_cases_a_row(tmp_path, suffix):
    path = tmp_path / "new" / f"worst.{suffix}"
    write_sheet(path, [a_case()] * 3)
    with Image.open(path) as sheet:
        assert sheet.format == {"png": "PNG", "jpg": "JPEG"}[suffix]
        assert sheet.width > 6 * 320 > 3 * sheet.height
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_cases_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match="give at least one"):
        draw_cases([])
    with pytest.raises(InputError, match=r"worst\.gif does not end in \.png, \.jpg"):
        write_sheet(tmp_path / "worst.gif", [a_case()])


def test_ids_may_exceed_the_number_of_pixels():
    labels = np.array([[0, 900]], np.int32)
    drawn = draw_regions(np.full((1, 2, 3), 90, np.uint8), labels, _FOUND, np.zeros((0, 4), int), np.ones(2))
    assert drawn.shape == (1, 2, 3)
    assert (drawn != 90).any()
