import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.superpixels._kernels import cluster as _kernels
from supercuts.superpixels.grid import Grid, cell_labels, cell_table
from supercuts.superpixels.kmeans_torch import (
    CellLayout,
    SoftAssignment,
    candidate_centers,
    make_layout,
    pool,
    scatter_to_candidates,
    soft_kmeans,
    spread,
    to_cells,
    to_pixels,
)

# 13 x 17 with 4 x 5 cells has a short cell before a long one: its padding must not stand for the next cell's pixel
GRIDS = [
    Grid(1, 1, 1, 1),
    Grid(1, 9, 1, 4),
    Grid(8, 1, 3, 1),
    Grid(7, 5, 3, 2),
    Grid(13, 17, 4, 5),
    Grid(6, 6, 3, 3),
    Grid(4, 3, 4, 3),
]
ids = [f"{g.height}x{g.width} in {g.rows}x{g.cols}" for g in GRIDS]


def random_features(grid: Grid, channels: int = 4, batch: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, grid.height, grid.width, generator=generator, dtype=torch.float64)


def naive(features: torch.Tensor, grid: Grid, n_iterations: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return dense Q (B, H * W, N) and centres (B, N, C): every pixel against every superpixel, then masked."""
    height, width = features.shape[-2:]
    row = torch.tensor([y * grid.rows // height for y in range(height) for _ in range(width)])
    col = torch.tensor([x * grid.cols // width for _ in range(height) for x in range(width)])
    rows, cols = torch.arange(grid.n_cells) // grid.cols, torch.arange(grid.n_cells) % grid.cols
    is_candidate = ((row[:, None] - rows).abs() <= 1) & ((col[:, None] - cols).abs() <= 1)
    own = torch.nn.functional.one_hot(row * grid.cols + col, grid.n_cells).to(features.dtype)
    pixels = features.flatten(2).mT
    centers = own.T @ pixels / own.sum(0)[:, None]
    for _ in range(n_iterations):
        distance = (pixels[:, :, None] - centers[:, None]).square().sum(-1)
        q = distance.neg().masked_fill(~is_candidate, -torch.inf).softmax(-1)
        centers = q.mT @ pixels / q.sum(1)[..., None]
    return q, centers


def dense(weights: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return cell-major Q as (B, H * W, N)."""
    grid = layout.grid
    cell = torch.from_numpy(cell_labels(grid)).long().flatten()[:, None]
    row = cell // grid.cols + torch.arange(9) // 3 - 1
    col = cell % grid.cols + torch.arange(9) % 3 - 1
    is_inside = (row >= 0) & (row < grid.rows) & (col >= 0) & (col < grid.cols)
    q = to_pixels(weights, layout).flatten(2).mT
    assert (q[:, ~is_inside] == 0).all(), "a candidate outside the grid has weight"
    target = torch.where(is_inside, row * grid.cols + col, 0)
    return q.new_zeros(*q.shape[:2], grid.n_cells).scatter_add(2, target.expand_as(q), q)


def run(features: torch.Tensor, grid: Grid, n_iterations: int = 3) -> tuple[SoftAssignment, CellLayout]:
    layout = make_layout(grid, features.device, features.dtype)
    return soft_kmeans(to_cells(features, layout), layout, n_iterations), layout


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_agrees_with_dense_distances(grid):
    features = random_features(grid)
    soft, layout = run(features, grid)
    q, centers = naive(features, grid, 3)
    torch.testing.assert_close(dense(soft.weights, layout), q, rtol=0, atol=1e-9)
    torch.testing.assert_close(soft.centers, centers, rtol=0, atol=1e-9)
    torch.testing.assert_close(soft.mass, q.sum(1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_hard_labels_agree_with_dense_argmax(grid):
    features = random_features(grid, batch=1)
    soft, _ = run(features, grid)
    ys, is_y = cell_table(grid.height, grid.rows)
    xs, is_x = cell_table(grid.width, grid.cols)
    weights = soft.weights[0].float().numpy()
    boundary, no_mask = np.zeros((grid.height, grid.width), np.float32), np.zeros((0, 0), bool)
    heaviest, expected = naive(features, grid, 3)[0][0].max(1)
    for least in (0.0, 0.5, 2.0):
        marked = np.empty((grid.height, grid.width), np.int32)
        limits = np.float32(1), np.float32(least)
        _kernels.mark_cores(weights, ys, is_y, xs, is_x, 0, boundary, 0, no_mask, limits, marked)
        labels = np.where(marked < 0, -1 - marked, marked)
        np.testing.assert_array_equal(labels.ravel(), expected)
        is_clear = np.abs(heaviest.numpy() - least) > 1e-6
        np.testing.assert_array_equal((marked.ravel() >= 0)[is_clear], heaviest.numpy()[is_clear] > least)


@pytest.mark.parametrize("grid", GRIDS[3:5], ids=ids[3:5])
def test_gradients_agree_with_dense_distances(grid):
    features = random_features(grid, channels=3).requires_grad_()
    q, centers = naive(features, grid, 3)
    soft, layout = run(features, grid)
    generator = torch.Generator().manual_seed(1)
    on_q, on_centers = (torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in (q, centers))
    (expected,) = torch.autograd.grad((q * on_q).sum() + (centers * on_centers).sum(), features)
    ours = (dense(soft.weights, layout) * on_q).sum() + (soft.centers * on_centers).sum()
    torch.testing.assert_close(torch.autograd.grad(ours, features)[0], expected, rtol=0, atol=1e-9)


def test_gradients_agree_with_finite_differences():
    grid = Grid(5, 4, 2, 2)
    layout = make_layout(grid, dtype=torch.float64)

    def outputs(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        soft = soft_kmeans(to_cells(features, layout), layout, 2)
        return soft.weights, soft.centers

    assert torch.autograd.gradcheck(outputs, random_features(grid, channels=2, batch=1).requires_grad_())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_cells_hold_their_pixels_in_scan_order(grid, batch):
    maps = random_features(grid, channels=2, batch=batch)
    layout = make_layout(grid)
    cells = to_cells(maps, layout)
    labels = torch.from_numpy(cell_labels(grid))
    assert cells.shape == (batch, grid.n_cells, 2, layout.is_pixel.shape[1])
    for cell in range(grid.n_cells):
        torch.testing.assert_close(
            cells[:, cell][..., layout.is_pixel[cell]], maps[:, :, labels == cell], rtol=0, atol=0
        )


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_to_pixels_inverts_to_cells_and_never_reads_padding(grid):
    maps = random_features(grid)
    layout = make_layout(grid)
    cells = to_cells(maps, layout).masked_fill(~layout.is_pixel[:, None], torch.nan)
    torch.testing.assert_close(to_pixels(cells, layout), maps, rtol=0, atol=0)


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_weights_sum_to_one_on_pixels_and_to_zero_on_padding(grid):
    soft, layout = run(random_features(grid), grid)
    expected = layout.is_pixel.double().expand(2, -1, -1)
    torch.testing.assert_close(soft.weights.sum(2), expected, rtol=0, atol=1e-12)
    assert (soft.weights >= 0).all()
    torch.testing.assert_close(soft.mass.sum(1), torch.full((2,), grid.height * grid.width, dtype=torch.float64))


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_pool_and_spread_are_transposes(grid):
    soft, layout = run(random_features(grid), grid)
    x = to_cells(random_features(grid, channels=3, seed=1), layout)
    v = torch.randn(2, grid.n_cells, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    means, mass = pool(soft.weights, x, layout)
    torch.testing.assert_close((spread(soft.weights, v, layout) * x).sum(), (v * means * mass[..., None]).sum())


def test_pool_averages_and_spread_carries_back_by_hand():
    layout = make_layout(Grid(1, 4, 1, 2))  # two cells of two pixels
    weights = torch.zeros(1, 2, 9, 2)
    weights[0, 0, 4] = torch.tensor([1.0, 0.5])  # own cell
    weights[0, 0, 5] = torch.tensor([0.0, 0.5])  # the cell to the right
    weights[0, 1, 4] = 1.0
    means, mass = pool(weights, torch.tensor([[[[1.0, 4.0]], [[5.0, 6.0]]]]), layout)
    torch.testing.assert_close(mass, torch.tensor([[1.5, 2.5]]))
    torch.testing.assert_close(means, torch.tensor([[[2.0], [5.2]]]))
    torch.testing.assert_close(spread(weights, means, layout), torch.tensor([[[[2.0, 3.6]], [[5.2, 5.2]]]]))


def test_candidates_of_a_corner_are_its_neighbours_and_zeros():
    grid = Grid(6, 6, 2, 3)
    centers = torch.arange(1.0, 7.0).view(1, 6, 1)
    near = candidate_centers(centers, make_layout(grid))[0, :, :, 0]
    assert near[0].tolist() == [0, 0, 0, 0, 1, 2, 0, 4, 5]
    assert near[4].tolist() == [1, 2, 3, 4, 5, 6, 0, 0, 0]
    # adding up is the transpose: every cell receives one from each of its candidates, itself included
    received = scatter_to_candidates(torch.ones(1, 6, 9, 1), make_layout(grid))[0, :, 0]
    assert received.tolist() == [4, 6, 4, 4, 6, 4]


def test_features_far_from_zero_keep_the_weights_in_float32():
    grid = Grid(13, 17, 4, 5)
    features = (random_features(grid, batch=1) * 64).round() / 64  # so that adding the offset rounds nothing
    near, _ = run(features.float(), grid)
    far, _ = run(features.float() + 1024, grid)
    torch.testing.assert_close(far.weights, near.weights, rtol=0, atol=5e-3)


def test_images_of_a_batch_do_not_see_each_other():
    grid = Grid(13, 17, 4, 5)
    features = random_features(grid, batch=3)
    together, _ = run(features, grid)
    for i in range(3):
        alone, _ = run(features[i : i + 1], grid)
        torch.testing.assert_close(together.weights[i], alone.weights[0], rtol=0, atol=1e-12)


def test_no_iterations_are_refused():
    grid = Grid(2, 2, 1, 1)
    with pytest.raises(InputError, match=r"n_iterations=0 is outside 1\.\.1000\. Five to ten"):
        run(random_features(grid), grid, n_iterations=0)


@pytest.mark.gpu
@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_a_gpu_equals_the_cpu(grid):
    features = random_features(grid)
    here, _ = run(features, grid)
    there, _ = run(features.cuda(), grid)
    torch.testing.assert_close(there.weights.cpu(), here.weights, rtol=0, atol=1e-9)
    torch.testing.assert_close(there.centers.cpu(), here.centers, rtol=0, atol=1e-9)


# compiled kernels against float64, which runs on torch's products


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 21])
def test_compiled_iterations_give_the_same_values(grid, channels):
    exact = random_features(grid, channels)
    (expected, _), (soft, _) = run(exact, grid), run(exact.float(), grid)
    for name in ("weights", "centers", "mass"):
        torch.testing.assert_close(getattr(soft, name).double(), getattr(expected, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
@pytest.mark.parametrize("channels", [1, 3, 5, 21])
def test_compiled_iterations_have_the_same_gradient(grid, channels):
    gradients = []
    for dtype in (torch.float64, torch.float32):
        features = random_features(grid, channels).to(dtype).requires_grad_()
        soft, _ = run(features, grid)
        outputs = (soft.weights, soft.centers, soft.mass)
        generator = torch.Generator().manual_seed(1)
        ups = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype) for x in outputs]
        torch.autograd.backward(outputs, ups)
        gradients.append(features.grad.double())
    scale = gradients[0].abs().max()
    torch.testing.assert_close(gradients[1] / scale, gradients[0] / scale, rtol=0, atol=1e-5)


def test_features_far_apart_keep_a_finite_softmax():
    grid = Grid(6, 6, 3, 3)
    features = 1e4 * random_features(grid).float()
    soft, layout = run(features, grid)
    assert soft.weights.isfinite().all()
    torch.testing.assert_close(soft.weights.sum(2)[:, layout.is_pixel], torch.ones(2, 36))


ROUNDING = """
import hashlib
import torch
from supercuts.superpixels.grid import Grid
from supercuts.superpixels.kmeans_torch import make_layout, soft_kmeans, to_cells

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
features = torch.randn(2, 21, 40, 50, generator=generator).requires_grad_()
layout = make_layout(Grid(40, 50, 5, 7))
soft = soft_kmeans(to_cells(features, layout), layout, 3)
(soft.weights * torch.randn(soft.weights.shape, generator=generator)).sum().backward()
print(hashlib.sha256(soft.centers.detach().numpy().tobytes() + features.grad.numpy().tobytes()).hexdigest())
"""


def test_code_that_was_just_compiled_rounds_as_code_from_the_cache(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", ROUNDING], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert any(tmp_path.rglob("*.nbc"))
    assert runs[0].stdout == runs[1].stdout
