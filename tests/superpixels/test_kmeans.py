import itertools

import numpy as np
import pytest
import torch

from supercuts.networks import maps as maps_module
from supercuts.networks.maps import PixelMaps
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels import kmeans_torch
from supercuts.superpixels.grid import Cells, Grid, assign, candidates

SHAPES = [(1, 1, 1, 1), (3, 1, 2, 1), (17, 23, 4, 5), (24, 36, 3, 6), (20, 31, 20, 31), (61, 23, 13, 5)]


def cells_of(color, embeddings, grid, **options):
    return Cells(PixelMaps(color, np.zeros((1, 1), np.float32), embeddings), grid, SSNConfig(), **options)


def run(cells, n_iterations, tolerance=0.0):
    """Return the centres, and the last weights of all cells."""
    weights = {}
    centers = assign(cells, n_iterations, tolerance, lambda strip, found: weights.update({strip: found.copy()}))
    return centers, np.concatenate([weights[strip] for strip in cells.strips])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_learned", [0, 5])
@pytest.mark.parametrize("n_threads", ["1", "3"])
@pytest.mark.parametrize("whole_pixels", [0, 10**6])
def test_values_are_those_of_the_differentiable_form(monkeypatch, shape, n_learned, n_threads, whole_pixels):
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    monkeypatch.setattr(maps_module, "_WHOLE_PIXELS", whole_pixels)
    grid, config = Grid(*shape), SSNConfig()
    rng = np.random.default_rng(0)
    color = rng.uniform(0, 100, (3, *shape[:2])).astype(np.float32)
    embeddings = rng.normal(0, 3, (n_learned, *shape[:2])).astype(np.float32)
    cells = cells_of(color, embeddings, grid)
    with torch.inference_mode():
        layout = kmeans_torch.make_layout(grid)
        tensors = [torch.from_numpy(x)[None] for x in (color, embeddings)]
        expected = kmeans_torch.pixel_features(*tensors, grid, config)
        features = kmeans_torch.to_cells(expected, layout)
        soft = kmeans_torch.soft_kmeans(features, layout, 4)
    for strip in cells.strips:
        np.testing.assert_array_equal(cells.features(strip, 0), features[0][cells.own(strip)])
    np.testing.assert_array_equal(candidates(grid), layout.candidates)
    centers, weights = run(cells, 4)
    np.testing.assert_array_equal(weights, soft.weights[0])
    np.testing.assert_array_equal(centers, soft.centers[0])


def test_features_that_are_not_kept_are_the_same_ones():
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 100, (3, 24, 36)).astype(np.float32), rng.normal(0, 3, (5, 24, 36)).astype(np.float32)
    kept, computed = (cells_of(*maps, Grid(24, 36, 3, 6), is_kept=is_kept) for is_kept in (True, False))
    for expected, actual in zip(run(kept, 3), run(computed, 3), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("shape", [(24, 36, 3, 6), (23, 35, 3, 5)])
def test_cells_of_every_second_row_and_column(shape):
    grid = Grid(*shape)
    rng = np.random.default_rng(0)
    color, embeddings = rng.uniform(0, 100, (3, *shape[:2])).astype(np.float32), np.zeros((0, *shape[:2]), np.float32)
    cells = cells_of(color, embeddings, grid, step_px=2)
    for row, ys in enumerate(cells.ys):
        first = int(np.ceil(row * grid.height / grid.rows))
        np.testing.assert_array_equal(
            ys[cells.is_y[row]], np.arange(first, int(np.ceil((row + 1) * grid.height / grid.rows)), 2)
        )
    found = np.concatenate([cells.features(strip, 0) for strip in cells.strips])
    at = cells.ys[0][:, None], cells.xs[0]
    np.testing.assert_allclose(found[0, :3], SSNConfig().color_scale * color[:, *at].reshape(3, -1), rtol=1e-6)


def test_iterations_go_on_from_given_centres():
    rng = np.random.default_rng(0)
    cells = cells_of(
        rng.uniform(0, 100, (3, 24, 36)).astype(np.float32), np.zeros((0, 24, 36), np.float32), Grid(24, 36, 3, 6)
    )
    expected, _ = run(cells, 5)
    begun, _ = run(cells, 2)
    np.testing.assert_array_equal(assign(cells, 3, 0.0, lambda *_: None, begun), expected)


def test_candidates_by_hand():
    # cells 0 1 / 2 3; 4 where there is none
    np.testing.assert_array_equal(candidates(Grid(2, 2, 2, 2))[0], [4, 4, 4, 4, 0, 1, 4, 2, 3])
    np.testing.assert_array_equal(candidates(Grid(2, 2, 2, 2))[3], [0, 1, 4, 2, 3, 4, 4, 4, 4])


@pytest.mark.parametrize("last", [2, 3, 4])
def test_iterations_end_once_centres_move_no_farther_than_the_tolerance(last):
    grid = Grid(24, 36, 3, 6)
    color = np.random.default_rng(0).uniform(0, 100, (3, 24, 36)).astype(np.float32)
    cells = cells_of(color, np.zeros((0, 24, 36), np.float32), grid)
    centers = [run(cells, n)[0] for n in range(1, 7)]
    moves = [np.linalg.norm(b - a, axis=1).mean() for a, b in itertools.pairwise(centers)]  # in 2, 3, ...
    assert min(moves[: last - 2], default=np.inf) > moves[last - 2]
    actual = run(cells, 6, 1.001 * float(moves[last - 2]))
    np.testing.assert_array_equal(actual[0], centers[last - 1])
    np.testing.assert_array_equal(actual[1], run(cells, last)[1])
