"""SSN's differentiable soft k-means in cell-major form: batched matrix products and nine shifted adds.

In   pixel features (B, C, H, W) and a Grid
Out  SoftAssignment: Q (B, N, 9, P) over each pixel's nine candidate superpixels, centres (B, N, C)
Not  no networks, no hard labels' connectivity; N = cells, P = pixels a cell (padded)

Jampani et al., "Superpixel Sampling Networks", ECCV 2018, equations 3 to 5. Every pixel of a cell has the same nine
candidates (its cell and the 8 around it), so distances of a cell are one (9, C) x (C, P) product and the centre update
is its transpose; nothing of size pixels x 9 x C is ever gathered. Pixels are the last axis, where the softmax over
candidates vectorises best. Same code on CPU and GPU, any dtype, differentiable.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from supercuts.core.checks import check_in_range
from supercuts.superpixels.grid import N_CANDIDATES, Grid, cell_table

OUTSIDE = -1e16  # logit of a candidate outside the grid: weight 0 without the NaNs of -inf


@dataclass(frozen=True, slots=True)
class CellLayout:
    """Where each pixel lies in the cell-major layout of a grid, on one device.

    ys, xs     (rows, ph), (cols, pw) int64   pixel coordinates along each axis, padded by repetition
    is_pixel   (N, P) bool                    False on padding; P = ph * pw
    outside    (N, 9) float                   0, or OUTSIDE where the candidate is not in the grid
    """

    grid: Grid
    ys: torch.Tensor
    xs: torch.Tensor
    is_pixel: torch.Tensor
    outside: torch.Tensor


@dataclass(frozen=True, slots=True)
class SoftAssignment:
    """Soft superpixels: Q sums to one over candidates, and to zero on padding.

    weights  (B, N, 9, P)  Q
    centers  (B, N, C)     mean features by Q
    mass     (B, N)        sum of Q, in pixels
    """

    weights: torch.Tensor
    centers: torch.Tensor
    mass: torch.Tensor


def make_layout(grid: Grid, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> CellLayout:
    """Return the layout of `grid` for tensors of `dtype` on `device`."""
    ys, is_y = (torch.from_numpy(table).to(device) for table in cell_table(grid.height, grid.rows))
    xs, is_x = (torch.from_numpy(table).to(device) for table in cell_table(grid.width, grid.cols))
    is_pixel = (is_y[:, None, :, None] & is_x[None, :, None, :]).reshape(grid.n_cells, -1)
    in_grid = F.pad(torch.ones(1, 1, grid.rows, grid.cols, device=device, dtype=dtype), (1, 1, 1, 1))
    outside = (1 - F.unfold(in_grid, 3)[0].T) * OUTSIDE
    return CellLayout(grid, ys, xs, is_pixel, outside)


def to_cells(maps: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Lay (B, C, H, W) out as (B, N, C, P); padded entries repeat a pixel of the cell."""
    b, c, _, width = maps.shape
    pixels = layout.ys[:, None, :, None] * width + layout.xs[None, :, None, :]
    cells = maps.flatten(2).index_select(2, pixels.flatten()).view(b, c, *layout.is_pixel.shape).transpose(1, 2)
    return cells if b == 1 else cells.contiguous()  # matrix products take one image's view as it is


def to_pixels(cells: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Bring (B, N, C, P) back to (B, C, H, W): the inverse of `to_cells`."""
    b, _, c, _ = cells.shape
    rows, ph = layout.ys.shape
    cols, pw = layout.xs.shape
    tall = cells.view(b, rows, cols, c, ph, pw).permute(0, 3, 1, 4, 2, 5).reshape(b, c, rows * ph, cols * pw)
    return tall[:, :, _real(layout.ys)][:, :, :, _real(layout.xs)]


def _real(table: torch.Tensor) -> torch.Tensor:
    """Return the flat positions of the table at which each coordinate first appears."""
    flat = table.flatten()
    is_new = torch.ones_like(flat, dtype=torch.bool)
    is_new[1:] = flat[1:] != flat[:-1]
    return is_new.nonzero().squeeze(1)


def candidate_centers(centers: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return (B, N, 9, C): the centres of each cell's candidates, zeros outside the grid."""
    b, _, c = centers.shape
    padded = F.pad(centers.view(b, grid.rows, grid.cols, c), (0, 0, 1, 1, 1, 1))
    shifted = [padded[:, i : i + grid.rows, j : j + grid.cols] for i in range(3) for j in range(3)]
    return torch.stack(shifted, dim=3).reshape(b, grid.n_cells, N_CANDIDATES, c)


def scatter_to_candidates(sums: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Add (B, N, 9, C), what each cell gives to its candidates, up to (B, N, C): nine shifted adds."""
    b, _, _, c = sums.shape
    sums = sums.view(b, grid.rows, grid.cols, N_CANDIDATES, c)
    # what candidate (i, j) of cell (r, c) receives goes to cell (r + i - 1, c + j - 1): pad by the shift, then crop
    shifted = [
        F.pad(sums[:, :, :, 3 * i + j], (0, 0, j, 2 - j, i, 2 - i))[:, 1:-1, 1:-1] for i in range(3) for j in range(3)
    ]
    return torch.stack(shifted).sum(0).reshape(b, grid.n_cells, c)


def assign(cells: torch.Tensor, centers: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return Q (B, N, 9, P) = softmax over candidates of minus the squared distance (equation 3 there)."""
    b, n, c, p = cells.shape
    own = centers[:, :, None]
    # measured from the cell's own centre s0: -|f - s|^2 + |f - s0|^2 = 2 f.d - |d|^2 - 2 s0.d with d = s - s0. The
    # softmax does not see |f - s0|^2, one product suffices, and small d keep float32 exact wherever the features lie
    delta = candidate_centers(centers, layout.grid) - own
    bias = layout.outside - (delta * (delta + 2 * own)).sum(-1)
    logits = torch.baddbmm(
        bias.reshape(b * n, N_CANDIDATES, 1), delta.reshape(b * n, N_CANDIDATES, c), cells.reshape(b * n, c, p), alpha=2
    )
    return (F.softmax(logits, dim=1) * layout.is_pixel[:, None].repeat(b, 1, 1)).view(b, n, N_CANDIDATES, p)


def pool(weights: torch.Tensor, cells: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (B, N, C) means of cell-major values by Q, and the mass (B, N) of each superpixel."""
    b, n, c, p = cells.shape
    sums = torch.bmm(weights.reshape(b * n, N_CANDIDATES, p), cells.reshape(b * n, c, p).mT)
    sums = scatter_to_candidates(sums.view(b, n, N_CANDIDATES, c), grid)
    mass = scatter_to_candidates(weights.sum(3)[..., None], grid)
    return sums / mass.clamp_min(1e-16), mass[..., 0]


def spread(weights: torch.Tensor, values: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return (B, N, C, P): at each pixel, the mean of superpixel values (B, N, C) by Q; the transpose of `pool`."""
    b, n, c = values.shape
    near = candidate_centers(values, grid).reshape(b * n, N_CANDIDATES, c)
    return torch.bmm(near.mT, weights.reshape(b * n, N_CANDIDATES, -1)).view(b, n, c, -1)


def soft_kmeans(cells: torch.Tensor, layout: CellLayout, n_iterations: int) -> SoftAssignment:
    """Run T iterations of assignment and centre update from the mean features of each cell.

    cells (B, N, C, P) from `to_cells`. As in the original, iteration t assigns, then updates; the centres returned are
    the last update's and Q is the last assignment.
    """
    check_in_range("n_iterations", n_iterations, 1, 1000, remedy="Five to ten iterations are usual.")
    b, n, c, p = cells.shape
    is_pixel = layout.is_pixel.to(cells.dtype)[:, :, None]
    sums = torch.bmm(cells.reshape(b * n, c, p), is_pixel.repeat(b, 1, 1))
    centers = sums.view(b, n, c) / is_pixel.sum(1)
    for _ in range(n_iterations):
        weights = assign(cells, centers, layout)
        centers, mass = pool(weights, cells, layout.grid)
    return SoftAssignment(weights=weights, centers=centers, mass=mass)
