"""Queries on hierarchies with masked pixels: these are in no answer and change none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import ConstraintError, InputError
from supercuts.hierarchy.regions import frame_contact, image_area


def leave_out(h, seed):
    """Return the hierarchy without some of its pixels; every leaf keeps one."""
    rng = np.random.default_rng(seed)
    is_out = rng.random(h.shape) < rng.random()
    shuffled = rng.permutation(h.labels.size)
    is_out.flat[shuffled[np.unique(h.labels.ravel()[shuffled], return_index=True)[1]]] = False
    return replace(h, labels=np.where(is_out, np.int32(-1), h.labels))


def pad(h, top, bottom, left, right):
    """Return the hierarchy of a larger image in which a mask leaves out all new pixels."""
    return replace(h, labels=np.pad(h.labels, ((top, bottom), (left, right)), constant_values=-1), image=None)


def draw_holed(data, hierarchies):
    return leave_out(data.draw(hierarchies), data.draw(st.integers(0, 2**32 - 1)))


def draw_box(data, shape):
    y0, x0 = (data.draw(st.integers(0, size - 1)) for size in shape)
    return y0, x0, data.draw(st.integers(y0 + 1, shape[0])), data.draw(st.integers(x0 + 1, shape[1]))


@given(data=st.data())
def test_a_box_overlaps_valid_pixels_alone(hierarchies, data):
    h = draw_holed(data, hierarchies)
    y0, x0, y1, x1 = box = draw_box(data, h.shape)
    inside = np.zeros(h.shape, bool)
    inside[y0:y1, x0:x1] = True
    inside &= h.labels >= 0
    if not inside.any():
        for n in (1, 2):
            with pytest.raises(InputError, match="lies on masked pixels: draw it over pixels"):
                h.select(box=box, max_nodes=n)
        return
    masks = [np.isin(h.labels, h.leaves_of(node)) for node in range(h.n_nodes)]
    overlaps = [(inside & mask).sum() / (inside | mask).sum() for mask in masks]
    actual = h.select(box=box)
    np.testing.assert_array_equal(actual, masks[int(np.argmax(overlaps))])
    several = h.select(box=box, max_nodes=3)
    assert not several[h.labels < 0].any()
    assert (inside & several).sum() / (inside | several).sum() >= max(overlaps) - 1e-12


@given(data=st.data())
def test_clicks_and_strokes_on_masked_pixels_are_ignored(hierarchies, data):
    h = draw_holed(data, hierarchies)
    is_in = h.labels >= 0
    on, out = np.argwhere(is_in), np.argwhere(~is_in)
    points = {1: [tuple(on[0].tolist())], 2: [tuple(at) for at in on[3:5].tolist()]}
    more = {label: [*of_label, *map(tuple, out[label::3].tolist())] for label, of_label in points.items()}
    mask = h.select(points=points)
    assert not mask[~is_in].any()
    np.testing.assert_array_equal(h.select(points=more), mask)
    strokes = {1: [[points[1][0]]], 2: [[point] for point in points[2]]}
    longer = {**strokes, 7: [[tuple(at)] for at in out.tolist()]}
    spread = h.segment_scribbles(strokes)
    np.testing.assert_array_equal(spread < 0, ~is_in)
    np.testing.assert_array_equal(h.segment_scribbles(longer), spread)
    np.testing.assert_array_equal(h.select(scribbles=longer), spread == 1)
    if len(out):
        point = tuple(out[0].tolist())
        for mark in ({"point": point}, {"points": {1: [point]}}, {"scribbles": {1: [point]}}):
            with pytest.raises(InputError, match=r"on masked pixels|no click on the object"):
                h.select(**mark)
        with pytest.raises(InputError, match="on masked pixels"):
            h.cut(regions=1, focus=point)


@given(data=st.data())
def test_a_margin_changes_no_answer(hierarchies, data):
    """An image padded with masked pixels has the answers of the image alone."""
    h = data.draw(hierarchies)
    top, bottom, left, right = (data.draw(st.integers(0, 3)) for _ in range(4))
    wide = pad(h, top, bottom, left, right)
    middle = np.s_[top : top + h.shape[0], left : left + h.shape[1]]
    pixel = st.tuples(*(st.integers(0, size - 1) for size in h.shape))
    points = {1: data.draw(st.lists(pixel, min_size=1, max_size=3)), 2: data.draw(st.lists(pixel, max_size=3))}
    moved = {label: [(y + top, x + left) for y, x in of_label] for label, of_label in points.items()}
    np.testing.assert_array_equal(wide.select(points=moved)[middle], h.select(points=points))
    np.testing.assert_array_equal(frame_contact(wide.labels, h.n_leaves), frame_contact(h.labels, h.n_leaves))
    y0, x0, y1, x1 = draw_box(data, h.shape)
    moved_box = (y0 + top, x0 + left, y1 + top, x1 + left)
    np.testing.assert_array_equal(wide.select(box=moved_box)[middle], h.select(box=(y0, x0, y1, x1)))
    reaching = (0 if y0 == 0 else moved_box[0], moved_box[1], moved_box[2], moved_box[3])
    np.testing.assert_array_equal(wide.select(box=reaching)[middle], h.select(box=(y0, x0, y1, x1)))
    focus = np.random.default_rng(top).random(h.shape) < 0.5
    around = np.pad(focus, ((top, bottom), (left, right)), constant_values=True)
    for regions in (1, h.n_leaves):
        first, second = h.cut(regions=regions, focus=focus), wide.cut(regions=regions, focus=around)
        np.testing.assert_array_equal(second[middle], first)
        assert (second == -1).sum() == second.size - first.size
    contours = wide.ucm()[2 * top : 2 * (top + h.shape[0]) + 1, 2 * left : 2 * (left + h.shape[1]) + 1]
    np.testing.assert_array_equal(contours[1:-1, 1:-1], h.ucm()[1:-1, 1:-1])


@given(data=st.data())
def test_edits_and_least_areas_hold(hierarchies, data):
    h = draw_holed(data, hierarchies)
    is_out = h.labels < 0
    edited = h
    for kind in data.draw(st.lists(st.sampled_from(["merge", "split", "lock"]), max_size=3)):
        nodes = [data.draw(st.integers(0, h.n_nodes - 1)) for _ in range(2 if kind == "merge" else 1)]
        try:
            edited = getattr(edited, kind)(*(min(node, edited.n_nodes - 1) for node in nodes))
        except (InputError, ConstraintError):
            continue
    for granularity in (0, 0.5, 1):
        for min_area in (None, 2):
            cut = edited.cut(granularity=granularity, min_area=min_area)
            np.testing.assert_array_equal(cut < 0, is_out)
            areas = np.bincount(cut[~is_out])
            nodes = edited.cut_nodes(granularity=granularity, min_area=min_area)
            np.testing.assert_array_equal(edited.areas()[nodes], areas)
    table = edited.region_table()
    assert table.area[-1] == (~is_out).sum()
    rows, columns = np.nonzero(~is_out)
    np.testing.assert_allclose(table.centroid_yx[-1], [rows.mean(), columns.mean()])


def test_bays_touch_the_frame_and_holes_do_not():
    labels = np.zeros((5, 7), np.int32)
    labels[2, 2] = -1  # a hole
    labels[0, 4:] = labels[1, 5] = -1  # a bay
    area = image_area(labels)
    assert area[2, 2]
    assert not area[0, 4:].any()
    assert not area[1, 5]
    # the outline of the valid pixels, in pixel sides
    assert frame_contact(labels, 1).tolist() == [2 * (5 + 7) + 2]


def test_areas_without_a_mask_are_all_pixels():
    labels = np.array([[0, 0, 1], [0, 2, 1]], np.int32)
    assert image_area(labels).all()
    assert frame_contact(labels, 3).tolist() == [5, 4, 1]
