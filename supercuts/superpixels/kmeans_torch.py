"""SSN's differentiable soft k-means in cell-major form: batched matrix products and sums over neighbours.

Jampani et al., "Superpixel Sampling Networks", ECCV 2018, equations 3 to 5. All pixels of a cell share nine candidates
(the cell and the 8 around it). Distances within a cell are therefore one (9, C) x (C, P) product, and the centre update
is its transpose; no array of size pixels x 9 x C is built. Pixels are the last axis, because the softmax over
candidates vectorises best that way. Works on any device and dtype and is differentiable; float32 on the CPU runs in
compiled kernels that keep a cell in the processor's cache and return the same values.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch.autograd.function import once_differentiable

from supercuts.core.checks import check_in_range
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels._kernels import kmeans as _kernels
from supercuts.superpixels.grid import N_CANDIDATES, Grid, cell_table

OUTSIDE = -1e16  # logit of a candidate outside the grid: weight 0 without the NaNs of -inf


@dataclass(frozen=True, slots=True)
class CellLayout:
    """Index tables of the cell-major layout of a grid, on one device.

    ys, xs     (rows, ph), (cols, pw) int64   pixel coordinates along each axis, padded by repetition
    is_pixel   (N, P) bool                    False on padding; P = ph * pw
    is_padded  bool                           whether there is padding
    outside    (N, 9) float                   0, or OUTSIDE if the candidate is not in the grid
    candidates (N, 9) int64                   the candidates; N if there is none
    givers     (N, 9) int64                   9 m + k for each cell m whose candidate k this is; 9 N if there is none
    """

    grid: Grid
    ys: torch.Tensor
    xs: torch.Tensor
    is_pixel: torch.Tensor
    is_padded: bool
    outside: torch.Tensor
    candidates: torch.Tensor
    givers: torch.Tensor


@dataclass(frozen=True, slots=True)
class SoftAssignment:
    """Soft superpixels: Q sums to one over candidates, and to zero on padding.

    weights  (B, N, 9, P)  Q
    centers  (B, N, C)     mean features, weighted by Q
    mass     (B, N)        sum of Q, in pixels
    """

    weights: torch.Tensor
    centers: torch.Tensor
    mass: torch.Tensor


def make_layout(grid: Grid, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> CellLayout:
    """Return the layout of `grid` for tensors of `dtype` on `device`."""
    ys, is_y = (torch.from_numpy(table).to(device) for table in cell_table(grid.height, grid.rows))
    xs, is_x = (torch.from_numpy(table).to(device) for table in cell_table(grid.width, grid.cols))
    is_pixel = rearrange(is_y[:, None, :, None] & is_x[None, :, None, :], "rows cols ph pw -> (rows cols) (ph pw)")
    n = grid.n_cells
    ids = rearrange(torch.arange(n, device=device), "(rows cols) -> rows cols", rows=grid.rows)
    ids = F.pad(ids, (1, 1, 1, 1), value=n)
    shifts = [(i, j) for i in range(3) for j in range(3)]
    candidates = torch.stack([ids[i : i + grid.rows, j : j + grid.cols].flatten() for i, j in shifts], dim=1)
    # a cell is candidate k of the neighbour that is its own candidate 8 - k
    givers = (candidates.flip(1) * N_CANDIDATES + torch.arange(N_CANDIDATES, device=device)).clamp_max(n * N_CANDIDATES)
    outside = (candidates == n).to(dtype) * OUTSIDE
    return CellLayout(grid, ys, xs, is_pixel, not bool(is_pixel.all()), outside, candidates, givers)


def to_cells(maps: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return maps (B, C, H, W) in cell-major layout (B, N, C, P); padded entries repeat a pixel of the cell."""
    b, c = maps.shape[:2]
    if b == 1 and _is_compiled(maps) and not maps.requires_grad:
        cells = maps.new_empty(1, layout.grid.n_cells, c, layout.is_pixel.shape[1])
        _kernels.lay_out(maps[0].contiguous().numpy(), layout.ys.numpy(), layout.xs.numpy(), cells[0].numpy())
        return cells
    (rows, _), (cols, _) = layout.ys.shape, layout.xs.shape
    for axis, table in ((2, layout.ys), (3, layout.xs)):
        if maps.shape[axis] != table.numel():  # cells of unequal sides are padded
            maps = maps.index_select(axis, table.flatten())
    return rearrange(maps, "b c (rows ph) (cols pw) -> b (rows cols) c (ph pw)", rows=rows, cols=cols)


def to_pixels(cells: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return cells (B, N, C, P) as maps (B, C, H, W): the inverse of `to_cells`."""
    (rows, ph), (cols, _) = layout.ys.shape, layout.xs.shape
    tall = rearrange(cells, "b (rows cols) c (ph pw) -> b c (rows ph) (cols pw)", rows=rows, cols=cols, ph=ph)
    return tall[:, :, _real(layout.ys)][:, :, :, _real(layout.xs)]


def _real(table: torch.Tensor) -> torch.Tensor:
    """Return the flat positions of the table at which each coordinate first appears."""
    flat = table.flatten()
    is_new = torch.ones_like(flat, dtype=torch.bool)
    is_new[1:] = flat[1:] != flat[:-1]
    return is_new.nonzero().squeeze(1)


def by_cell(values: torch.Tensor) -> torch.Tensor:
    """Return (B, N, ...) as (B * N, ...), the batch of a matrix product; a view if `values` is contiguous."""
    return rearrange(values, "b n ... -> (b n) ...")


def by_image(values: torch.Tensor, n_images: int) -> torch.Tensor:
    """Return (B * N, ...) as (B, N, ...): the inverse of `by_cell`."""
    return rearrange(values, "(b n) ... -> b n ...", b=n_images)


def candidate_centers(centers: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return (B, N, 9, C): the centres of each cell's candidates, zeros outside the grid."""
    of_candidates = F.pad(centers, (0, 0, 0, 1)).index_select(1, layout.candidates.flatten())
    return rearrange(of_candidates, "b (n candidates) c -> b n candidates c", candidates=N_CANDIDATES)


def scatter_to_candidates(sums: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Sum the contributions (B, N, 9, C) of each cell to its candidates; return (B, N, C)."""
    padded_sums = F.pad(rearrange(sums, "b n candidates c -> b (n candidates) c"), (0, 0, 0, 1))
    received = padded_sums.index_select(1, layout.givers.flatten())
    return reduce(received, "b (n givers) c -> b n c", "sum", givers=N_CANDIDATES)


def assign(cells: torch.Tensor, centers: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return Q (B, N, 9, P) = softmax over candidates of minus the squared distance (Jampani et al., equation 3)."""
    b = len(cells)
    own_center = centers[:, :, None]
    # measured from the cell's own centre s0: -|f - s|^2 + |f - s0|^2 = 2 f.d - |d|^2 - 2 s0.d with d = s - s0. The
    # softmax cancels |f - s0|^2, one product suffices, and small d keep float32 exact for features of any magnitude
    delta = candidate_centers(centers, layout) - own_center
    bias = layout.outside - (delta * (delta + 2 * own_center)).sum(-1)
    logits = torch.baddbmm(by_cell(bias[..., None]), by_cell(delta), by_cell(cells), alpha=2)
    weights = by_image(F.softmax(logits, dim=1), b)
    return weights * layout.is_pixel[:, None].to(weights.dtype) if layout.is_padded else weights


def pool(weights: torch.Tensor, cells: torch.Tensor, layout: CellLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the means (B, N, C) of cell-major values weighted by Q, and the mass (B, N) of each superpixel."""
    b, _, c, _ = cells.shape
    sums = by_image(torch.bmm(by_cell(weights), by_cell(cells).mT), b)
    sums_and_mass = torch.cat([sums, weights.sum(3, keepdim=True)], dim=3)
    received = scatter_to_candidates(sums_and_mass, layout)
    return received[..., :c] / received[..., c:].clamp_min(1e-16), received[..., c]


def spread(weights: torch.Tensor, values: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return, at each pixel, the mean of superpixel values (B, N, C) by Q: (B, N, C, P); the transpose of `pool`."""
    candidate_values = by_cell(candidate_centers(values, layout))
    return by_image(torch.bmm(candidate_values.mT, by_cell(weights)), len(values))


def soft_kmeans(cells: torch.Tensor, layout: CellLayout, n_iterations: int) -> SoftAssignment:
    """Run T iterations of assignment and centre update from the mean features of each cell.

    cells (B, N, C, P) are those of `to_cells`. As in the original, each iteration assigns, then updates. The result
    holds the centres of the last update and Q of the last assignment.
    """
    check_in_range("n_iterations", n_iterations, 1, 1000, remedy="Five to ten iterations are usual.")
    if _is_compiled(cells):
        return SoftAssignment(*_Compiled.apply(cells, layout, n_iterations))
    is_pixel = layout.is_pixel.to(cells.dtype)[:, :, None]
    sums = torch.bmm(by_cell(cells), repeat(is_pixel, "n p one -> (b n) p one", b=len(cells)))
    centers = by_image(sums, len(cells))[..., 0] / is_pixel.sum(1)
    if torch.is_grad_enabled() and cells.requires_grad:
        return SoftAssignment(*_Iterations.apply(cells, centers, layout, n_iterations))
    for _ in range(n_iterations):
        weights = assign(cells, centers, layout)
        centers, mass = pool(weights, cells, layout)
    return SoftAssignment(weights, centers, mass)


class _Compiled(torch.autograd.Function):
    """All iterations in compiled kernels."""

    @staticmethod
    def forward(
        ctx: Any, cells: torch.Tensor, layout: CellLayout, n_iterations: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        b, n, c, p = cells.shape
        is_needed = ctx.needs_input_grad[0]
        joined = by_cell(cells.detach()).contiguous()
        weights = cells.new_empty(n_iterations if is_needed else 1, b * n, N_CANDIDATES, p)
        centers, mass = cells.new_empty(n_iterations + 1, b * n, c), cells.new_empty(n_iterations, b * n)
        values = (joined, weights, centers, mass)
        _kernels.run(*(x.numpy() for x in values), *_tables(layout))
        if is_needed:
            ctx.save_for_backward(*values)
            ctx.layout = layout
        return by_image(weights[-1], b), by_image(centers[-1], b), by_image(mass[-1], b)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_weights: torch.Tensor, to_centers: torch.Tensor, to_mass: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        values = list[torch.Tensor](ctx.saved_tensors)
        to_cells = torch.empty_like(values[0])
        changed = (to_centers.flatten(0, 1).clone(), to_mass.flatten().clone())
        gradients = (to_weights.flatten(0, 1).contiguous(), *changed, to_cells)
        _kernels.run_backward(*(x.numpy() for x in (*values, *gradients)), *_tables(ctx.layout))
        return by_image(to_cells, len(to_weights)), None, None


def _is_compiled(values: torch.Tensor) -> bool:
    return values.dtype == torch.float32 and values.device.type == "cpu"


def _tables(layout: CellLayout) -> tuple[np.ndarray, ...]:
    return layout.candidates.numpy(), layout.is_pixel.numpy()


class _Iterations(torch.autograd.Function):
    """All iterations as one step of the autograd graph.

    Autograd would allocate the gradient of the features, the largest tensor, in each product and sum the results.
    Here every product adds to it in place.
    """

    @staticmethod
    def forward(
        ctx: Any, cells: torch.Tensor, centers: torch.Tensor, layout: CellLayout, n_iterations: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        saved = [cells, centers]
        for _ in range(n_iterations):
            weights = assign(cells, centers, layout)
            centers, mass = pool(weights, cells, layout)
            saved += [weights, centers, mass]
        ctx.save_for_backward(*saved)
        ctx.layout = layout
        return weights, centers, mass

    @staticmethod
    def backward(
        ctx: Any, to_weights: torch.Tensor, to_centers: torch.Tensor, to_mass: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        cells, first, *saved = list[torch.Tensor](ctx.saved_tensors)
        befores = [first, *saved[1::3]]  # centres at the start of each iteration
        to_cells = cells.new_zeros(cells.shape)  # contiguous even if the cells are not
        for t in reversed(range(len(saved) // 3)):
            weights, centers, mass = saved[3 * t : 3 * t + 3]
            # centers = sums / mass, both summed over the contributions of cells to their candidates
            to_sums = to_centers / mass.clamp_min(1e-16)[..., None]
            to_given = torch.cat([to_sums, (to_mass - (to_sums * centers).sum(-1))[..., None]], dim=2)
            to_weights = _back_through_pool(to_given, weights, cells, to_cells, ctx.layout) + to_weights
            to_logits = (to_weights - (weights * to_weights).sum(2, keepdim=True)).mul_(weights)
            to_centers = _back_through_logits(to_logits, befores[t], cells, to_cells, ctx.layout)
            to_mass, to_weights = torch.zeros_like(to_mass), weights.new_zeros(())  # only the last are returned
        return to_cells, to_centers, None, None


def _back_through_pool(
    to_given: torch.Tensor, weights: torch.Tensor, cells: torch.Tensor, to_cells: torch.Tensor, layout: CellLayout
) -> torch.Tensor:
    """Return the gradient of Q, given that of sums and mass (B, N, C + 1); add that of the cells to `to_cells`."""
    c = cells.shape[2]
    candidate_gradients = by_cell(candidate_centers(to_given, layout))
    sums = candidate_gradients[..., :c].contiguous()  # products of strided factors take many times as long
    by_cell(to_cells).baddbmm_(sums.mT, by_cell(weights))
    return torch.baddbmm(candidate_gradients[..., c:], sums, by_cell(cells)).view_as(weights)


def _back_through_logits(
    to_logits: torch.Tensor, centers: torch.Tensor, cells: torch.Tensor, to_cells: torch.Tensor, layout: CellLayout
) -> torch.Tensor:
    """Return the gradient of the centres passed to `assign`; add that of the cells to `to_cells`.

    logits = 2 f.d - d.(d + 2 s0) with d = s - s0, so their gradient is 2 (f - s) for a candidate s, 2 (s0 - f) for s0.
    """
    own_center = centers[:, :, None]
    candidate_values = candidate_centers(centers, layout)
    flat = by_cell(to_logits)
    by_cell(to_cells).baddbmm_(by_cell(candidate_values - own_center).mT, flat, alpha=2)
    share = 2 * to_logits.sum(3, keepdim=True)
    toward = 2 * by_image(torch.bmm(flat, by_cell(cells).mT), len(cells))
    return scatter_to_candidates(toward - share * candidate_values, layout) + (share * own_center - toward).sum(2)


def pixel_features(color: torch.Tensor, embeddings: torch.Tensor | None, grid: Grid, config: SSNConfig) -> torch.Tensor:
    """Return the SSN features (B, C + 2 + D, H, W): scaled colour, scaled (row, col), learned channels.

    `color` (B, C, H, W) is the result of images.convert.color_features. The position scale is
    `position_scale * max(rows / H, cols / W)`, so one model serves any number of superpixels (Jampani et al.). Without
    embeddings this is SSN_pix.
    """
    b, _, height, width = color.shape
    scale = config.position_scale * max(grid.rows / height, grid.cols / width)
    ys = torch.arange(height, device=color.device, dtype=color.dtype).view(1, 1, height, 1) * scale
    xs = torch.arange(width, device=color.device, dtype=color.dtype).view(1, 1, 1, width) * scale
    parts = [config.color_scale * color, ys.expand(b, 1, height, width), xs.expand(b, 1, height, width)]
    return torch.cat(parts if embeddings is None else [*parts, embeddings], dim=1)
