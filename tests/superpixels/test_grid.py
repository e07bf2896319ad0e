import math

import numpy as np
import pytest
import skimage.measure
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.superpixels.grid import Grid, cell_labels, cell_table, connected_pieces, make_grid

sides = st.integers(1, 60)


def test_cell_labels_match_hand_worked_grid():
    labels = cell_labels(Grid(3, 4, 2, 2))  # rows 0 * 2 // 3, 1 * 2 // 3, 2 * 2 // 3 = 0, 0, 1
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]])


@given(height=sides, width=sides, data=st.data())
def test_cells_are_rectangles_that_differ_by_at_most_a_pixel_a_side(height, width, data):
    grid = Grid(height, width, data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    labels = cell_labels(grid)
    assert labels.shape == (height, width)
    heights = np.bincount(labels[:, 0] // grid.cols, minlength=grid.rows)
    widths = np.bincount(labels[0], minlength=grid.cols)
    assert heights.min() >= 1
    assert widths.min() >= 1
    assert np.ptp(heights) <= 1
    assert np.ptp(widths) <= 1
    np.testing.assert_array_equal(
        np.bincount(labels.ravel(), minlength=grid.n_cells), np.outer(heights, widths).ravel()
    )


@pytest.mark.parametrize(("length", "n_cells"), [(1, 1), (7, 3), (13, 5), (17, 5), (8, 8), (9, 1), (10, 7)])
def test_cell_table_matches_brute_force(length, n_cells):
    table, is_real = cell_table(length, n_cells)
    members = [[x for x in range(length) if x * n_cells // length == cell] for cell in range(n_cells)]
    longest = max(map(len, members))
    assert table.shape == is_real.shape == (n_cells, longest)
    for cell, own in enumerate(members):
        assert table[cell, is_real[cell]].tolist() == own
        padding = table[cell, ~is_real[cell]].tolist()
        assert padding == [own[-1]] * (longest - len(own)), "padding must not show another cell's pixel"


@given(height=sides, width=sides, share=st.floats(0, 1))
def test_grid_has_about_the_requested_cells(height, width, share):
    n_cells = 1 + round(share * (height * width - 1))
    grid = make_grid(height, width, n_cells)
    assert 1 <= grid.rows <= height
    assert 1 <= grid.cols <= width
    assert grid.n_cells == grid.rows * grid.cols
    # r rows of equal length can miss the number by r / 2, and r is about sqrt(n) when cells are square
    assert abs(math.log(grid.n_cells / n_cells)) <= 0.7 / math.sqrt(n_cells)


@pytest.mark.parametrize(("height", "width"), [(33, 47), (64, 64), (13, 17), (100, 7), (3, 200)])
def test_grid_is_at_least_as_near_as_the_grid_of_the_paper(height, width):
    for n_cells in range(1, 150):
        rows = min(max(math.floor(math.sqrt(n_cells * height / width)), 1), height)
        cols = min(max(math.floor(math.sqrt(n_cells * width / height)), 1), width)
        ours = make_grid(height, width, n_cells).n_cells
        assert abs(math.log(ours / n_cells)) <= abs(math.log(rows * cols / n_cells)) + 1e-12


@pytest.mark.parametrize("width", [1, 2, 17, 400])
def test_one_row_of_pixels_gets_the_exact_number(width):
    for n_cells in {1, width // 2 or 1, width}:
        assert make_grid(1, width, n_cells) == Grid(1, width, 1, n_cells)
        assert make_grid(width, 1, n_cells) == Grid(width, 1, n_cells, 1)


def test_grid_of_a_photograph_is_square():
    grid = make_grid(321, 481, 600)  # sqrt(600 * 321 / 481) = 20.01 rows, 29.98 columns
    assert (grid.rows, grid.cols) == (20, 30)
    assert grid.step_px == pytest.approx(math.sqrt(321 * 481 / 600))


@pytest.mark.parametrize("n_cells", [0, 0.5, 13, math.nan])
def test_impossible_numbers_of_cells_are_refused(n_cells):
    with pytest.raises(
        InputError, match=r"n_cells=.* is outside 1\.\.12\. Ask for between one cell and one cell a pixel"
    ):
        make_grid(3, 4, n_cells)


@pytest.mark.parametrize(("rows", "cols", "name"), [(0, 1, "rows"), (4, 1, "rows"), (1, 0, "cols"), (1, 5, "cols")])
def test_more_cells_than_pixels_along_an_axis_are_refused(rows, cols, name):
    with pytest.raises(InputError, match=f"{name}=.*at most one cell a pixel"):
        Grid(3, 4, rows, cols)


@given(seed=st.integers(0, 10_000), height=st.integers(1, 8), width=st.integers(1, 8))
def test_pieces_are_those_of_the_pairs_in_scan_order(seed, height, width):
    rng = np.random.default_rng(seed)
    labels, cells = rng.integers(0, 3, (2, height, width)).astype(np.int32)
    expected = skimage.measure.label(labels * 3 + cells, connectivity=1, background=-1) - 1
    _, first = np.unique(expected, return_index=True)
    np.testing.assert_array_equal(connected_pieces(labels, cells), np.argsort(np.argsort(first))[expected])
