"""numba kernels of the soft k-means and its gradient, one cell at a time.

A cell's features, its nine weights per pixel and their gradients stay in the processor's cache from the distances to
the sums; batched products of nine rows would pass over memory each time. Scratch rows are padded to a multiple of the
vector length; padding has weight 0. Products take three rows at once and keep their sums in registers.

numba inlines all helpers into one function. Helpers that may reorder sums would round differently when just compiled
and when read from the cache, so that a resumed run would differ from an uninterrupted one.
"""

import numpy as np

from supercuts.core._kernels import _exp2
from supercuts.core.compiled import inlined_helper, kernel, sum_kernel

_LANES = 16  # number of float32 in the widest vectors
_OUTSIDE = np.float32(-1e16)
_LOG2_E = np.float32(1.4426950408889634)
_LEAST_MASS = np.float32(1e-16)
_LEAST = np.float32(-126)  # 2 to a smaller power is not a normal number
_MANTISSA_BITS = np.int32(23)


@kernel
def lay_out(maps, ys, xs, cells):
    """Set cells (N, C, P) to the pixels of maps (C, H, W) at the coordinates ys (rows, ph) and xs (cols, pw)."""
    (rows, ph), (cols, pw) = ys.shape, xs.shape
    for c in range(maps.shape[0]):
        for r in range(rows):
            for i in range(ph):
                line = maps[c, ys[r, i]]
                for k in range(cols):
                    for j in range(pw):
                        cells[r * cols + k, c, i * pw + j] = line[xs[k, j]]


@inlined_helper
def _add_product(rows, factors, f, n_channels):
    """Add the product of factors (9, C) and f (C, width) to rows (9, width)."""
    width = f.shape[1]
    for k in range(0, 9, 3):
        c = 0
        while c + 4 <= n_channels:
            a0, a1, a2, a3 = factors[k, c], factors[k, c + 1], factors[k, c + 2], factors[k, c + 3]
            b0, b1, b2, b3 = factors[k + 1, c], factors[k + 1, c + 1], factors[k + 1, c + 2], factors[k + 1, c + 3]
            d0, d1, d2, d3 = factors[k + 2, c], factors[k + 2, c + 1], factors[k + 2, c + 2], factors[k + 2, c + 3]
            for q in range(width):
                f0, f1, f2, f3 = f[c, q], f[c + 1, q], f[c + 2, q], f[c + 3, q]
                rows[k, q] += a0 * f0 + a1 * f1 + a2 * f2 + a3 * f3
                rows[k + 1, q] += b0 * f0 + b1 * f1 + b2 * f2 + b3 * f3
                rows[k + 2, q] += d0 * f0 + d1 * f1 + d2 * f2 + d3 * f3
            c += 4
        while c < n_channels:
            a0, b0, d0 = factors[k, c], factors[k + 1, c], factors[k + 2, c]
            for q in range(width):
                rows[k, q] += a0 * f[c, q]
                rows[k + 1, q] += b0 * f[c, q]
                rows[k + 2, q] += d0 * f[c, q]
            c += 1


@inlined_helper
def _add_transposed(f, factors, rows, n_channels):
    """Add the product of the transpose of factors (9, C) and rows (9, width) to f (C, width)."""
    width = f.shape[1]
    for k in range(0, 9, 3):
        c = 0
        while c + 3 <= n_channels:
            a0, a1, a2 = factors[k, c], factors[k + 1, c], factors[k + 2, c]
            b0, b1, b2 = factors[k, c + 1], factors[k + 1, c + 1], factors[k + 2, c + 1]
            d0, d1, d2 = factors[k, c + 2], factors[k + 1, c + 2], factors[k + 2, c + 2]
            for q in range(width):
                w0, w1, w2 = rows[k, q], rows[k + 1, q], rows[k + 2, q]
                f[c, q] += a0 * w0 + a1 * w1 + a2 * w2
                f[c + 1, q] += b0 * w0 + b1 * w1 + b2 * w2
                f[c + 2, q] += d0 * w0 + d1 * w1 + d2 * w2
            c += 3
        while c < n_channels:
            a0, a1, a2 = factors[k, c], factors[k + 1, c], factors[k + 2, c]
            for q in range(width):
                f[c, q] += a0 * rows[k, q] + a1 * rows[k + 1, q] + a2 * rows[k + 2, q]
            c += 1


@inlined_helper
def _set_dots(rows, f, n_channels, out):
    """Set out (9, 0..C) to the products of rows (9, width) with f (C, width)."""
    width = f.shape[1]
    zero = np.float32(0)
    for k in range(0, 9, 3):
        c = 0
        while c + 3 <= n_channels:
            s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = zero
            for q in range(width):
                f0, f1, f2 = f[c, q], f[c + 1, q], f[c + 2, q]
                w0, w1, w2 = rows[k, q], rows[k + 1, q], rows[k + 2, q]
                s00 += w0 * f0
                s01 += w0 * f1
                s02 += w0 * f2
                s10 += w1 * f0
                s11 += w1 * f1
                s12 += w1 * f2
                s20 += w2 * f0
                s21 += w2 * f1
                s22 += w2 * f2
            out[k, c] = s00
            out[k, c + 1] = s01
            out[k, c + 2] = s02
            out[k + 1, c] = s10
            out[k + 1, c + 1] = s11
            out[k + 1, c + 2] = s12
            out[k + 2, c] = s20
            out[k + 2, c + 1] = s21
            out[k + 2, c + 2] = s22
            c += 3
        while c < n_channels:
            s0 = s1 = s2 = zero
            for q in range(width):
                s0 += rows[k, q] * f[c, q]
                s1 += rows[k + 1, q] * f[c, q]
                s2 += rows[k + 2, q] * f[c, q]
            out[k, c] = s0
            out[k + 1, c] = s1
            out[k + 2, c] = s2
            c += 1


@inlined_helper
def _softmax(rows, mask):
    """Turn nine rows of logits into weights times mask, with a relative error of at most 6e-6."""
    width = rows.shape[1]
    bits = rows.view(np.int32)
    top, total = np.empty(width, np.float32), np.empty(width, np.float32)
    for q in range(width):
        top[q] = rows[0, q]
        total[q] = 0
    for k in range(1, 9):
        for q in range(width):
            top[q] = max(top[q], rows[k, q])
    for k in range(9):
        for q in range(width):
            x = max((rows[k, q] - top[q]) * _LOG2_E, _LEAST)
            whole = np.floor(x)
            r = x - whole
            rows[k, q] = _exp2(r)
            bits[k, q] += np.int32(whole) << _MANTISSA_BITS  # times 2 to the whole part
            rows[k, q] = rows[k, q] if x > _LEAST else np.float32(0)  # weight 0 outside the grid
            total[q] += rows[k, q]
    for q in range(width):
        total[q] = mask[q] / total[q]
    for k in range(9):
        for q in range(width):
            rows[k, q] *= total[q]


@inlined_helper
def _set_rows(rows, values):
    """Copy values to the start of rows; padding is unchanged."""
    for c in range(values.shape[0]):
        for q in range(values.shape[1]):
            rows[c, q] = values[c, q]


@inlined_helper
def _iterate(cells, centers, weights, is_kept, contributions, candidates, is_pixel, start):
    """Set weights (M, 9, P) to Q, if it is kept, and contributions (M, 9, C + 1) to what cells add to candidates.

    Contributions are sums and masses. cells (M, C, P) may be a part of all cells, from cell `start` on, with is_pixel
    of that part; centers and candidates are those of all cells.
    """
    n = candidates.shape[0]
    n_channels, n_pixels = cells.shape[1:]
    width = -(-n_pixels // _LANES) * _LANES
    f = np.empty((n_channels, width), np.float32)
    rows = np.empty((9, width), np.float32)
    mask = np.empty((1, width), np.float32)
    f[:] = 0
    mask[:] = 0
    double = np.empty((9, n_channels), np.float32)
    bias = np.empty(9, np.float32)
    for i in range(cells.shape[0]):
        own = start + i
        first = own - own % n  # first cell of the image
        for k in range(9):
            m = candidates[own - first, k]
            if m == n:
                bias[k] = _OUTSIDE
                double[k] = 0
                continue
            bias[k] = 0
            for c in range(n_channels):
                # distances are measured from the cell's own centre, as in soft_kmeans.assign
                d = centers[first + m, c] - centers[own, c]
                double[k, c] = 2 * d
                bias[k] -= d * (d + 2 * centers[own, c])
        _set_rows(f, cells[i])
        _set_rows(mask, is_pixel[i % is_pixel.shape[0] : i % is_pixel.shape[0] + 1])
        for k in range(9):
            rows[k] = bias[k]
        _add_product(rows, double, f, n_channels)
        _softmax(rows, mask[0])
        _set_dots(rows, f, n_channels, contributions[i])
        for k in range(9):
            mass = np.float32(0)
            for q in range(width):
                mass += rows[k, q]
            contributions[i, k, n_channels] = mass
            if is_kept:
                for q in range(n_pixels):
                    weights[i, k, q] = rows[k, q]


@inlined_helper
def _iterate_backward(cells, centers, to_sums, to_weights, weights, to_cells, contributions, candidates):
    """Add the gradient of the cells to to_cells, and set contributions, from which that of the centres follows.

    to_sums (M + images, C + 1) is the gradient of the sums and mass of each superpixel: N + 1 rows per image, the last
    of them zero. to_weights (M, 9, P) is the further gradient of Q, or (0, 9, P) for none. contributions
    (M, 9, C + 1) is set to the sums over pixels of 2 g f and of 2 g, for the gradient g of the logits.
    """
    n = candidates.shape[0]
    n_channels, n_pixels = cells.shape[1:]
    width = -(-n_pixels // _LANES) * _LANES
    f = np.zeros((n_channels, width), np.float32)
    to_f = np.zeros((n_channels, width), np.float32)
    w = np.zeros((9, width), np.float32)
    g = np.empty((9, width), np.float32)
    along = np.empty(width, np.float32)
    sums = np.empty((9, n_channels), np.float32)
    delta = np.empty((9, n_channels), np.float32)
    for i in range(cells.shape[0]):
        image = i // n
        first = image * n
        for k in range(9):
            m = candidates[i - first, k]
            for c in range(n_channels):
                sums[k, c] = to_sums[first + image + m, c]
                delta[k, c] = np.float32(0) if m == n else centers[first + m, c] - centers[i, c]
        _set_rows(f, cells[i])
        _set_rows(to_f, to_cells[i])
        _set_rows(w, weights[i])
        for k in range(9):
            g[k] = to_sums[first + image + candidates[i - first, k], n_channels]
        _add_product(g, sums, f, n_channels)
        if to_weights.shape[0] > 0:
            for k in range(9):
                for q in range(n_pixels):
                    g[k, q] += to_weights[i, k, q]
        along[:] = 0
        for k in range(9):
            for q in range(width):
                along[q] += w[k, q] * g[k, q]
        for k in range(9):
            total = np.float32(0)
            for q in range(width):
                g[k, q] = 2 * w[k, q] * (g[k, q] - along[q])
                total += g[k, q]
            contributions[i, k, n_channels] = total
        _set_dots(g, f, n_channels, contributions[i])
        _add_transposed(to_f, sums, w, n_channels)
        _add_transposed(to_f, delta, g, n_channels)
        for c in range(n_channels):
            for q in range(n_pixels):
                to_cells[i, c, q] = to_f[c, q]


@inlined_helper
def _receive(contributions, candidates, i, received):
    """Set received (C + 1,) to the sum of the contributions of nearby cells to cell i."""
    n = candidates.shape[0]
    received[:] = 0
    for k in range(9):
        m = candidates[i % n, 8 - k]  # the cell whose candidate k is i
        if m < n:
            for c in range(received.size):
                received[c] += contributions[i - i % n + m, k, c]


@sum_kernel
def mean_of_cells(cells, is_pixel, centers):
    """Set centers (S, C) to the mean features of cells (S, C, P); 0 for a cell without pixels."""
    n, n_channels = is_pixel.shape[0], cells.shape[1]
    for i in range(cells.shape[0]):
        for c in range(n_channels):
            total, count = np.float32(0), np.float32(0)
            for q in range(cells.shape[2]):
                total += cells[i, c, q] * is_pixel[i % n, q]
                count += is_pixel[i % n, q]
            centers[i, c] = total / max(count, np.float32(1))


@sum_kernel
def iterate(cells, centers, weights, is_kept, contributions, candidates, is_pixel, start):
    """Assign the pixels of S cells, the first being cell `start` of centers (N, C) and candidates (N, 9)."""
    _iterate(cells, centers, weights, is_kept, contributions, candidates, is_pixel, start)


@sum_kernel
def update(contributions, candidates, centers):
    """Set centers (N, C) to means of contributions (N, 9, C + 1); a centre without any is unchanged."""
    n_channels = centers.shape[1]
    received = np.empty(n_channels + 1, np.float32)
    for i in range(centers.shape[0]):
        _receive(contributions, candidates, i, received)
        share = 1 / max(received[n_channels], _LEAST_MASS)
        if received[n_channels] > 0:
            for c in range(n_channels):
                centers[i, c] = received[c] * share


@sum_kernel
def run(cells, weights, centers, mass, candidates, is_pixel):
    """Run T iterations from the mean features of each cell, one for each row of mass (T, M).

    Sets centers (T + 1, M, C), starting with the initial ones, mass, and weights to Q: (T, M, 9, P) for that of all
    iterations, (1, M, 9, P) for that of the last.
    """
    n_iterations, n_cells = mass.shape
    n, n_channels = candidates.shape[0], cells.shape[1]
    for i in range(n_cells):
        for c in range(n_channels):
            total, count = np.float32(0), np.float32(0)
            for q in range(cells.shape[2]):
                total += cells[i, c, q] * is_pixel[i % n, q]
                count += is_pixel[i % n, q]
            centers[0, i, c] = total / count
    contributions = np.empty((n_cells, 9, n_channels + 1), np.float32)
    received = np.empty(n_channels + 1, np.float32)
    for t in range(n_iterations):
        row = min(t, weights.shape[0] - 1)
        is_kept = t == row or t == n_iterations - 1  # else the next iteration would overwrite it
        _iterate(cells, centers[t], weights[row], is_kept, contributions, candidates, is_pixel, 0)
        for i in range(n_cells):
            _receive(contributions, candidates, i, received)
            mass[t, i] = received[n_channels]
            share = 1 / max(received[n_channels], _LEAST_MASS)
            for c in range(n_channels):
                centers[t + 1, i, c] = received[c] * share


@sum_kernel
def run_backward(cells, weights, centers, mass, to_weights, to_centers, to_mass, to_cells, candidates, is_pixel):
    """Set to_cells (M, C, P) to the gradient of the cells, given those of the last Q, centres and mass.

    to_centers (M, C) and to_mass (M,) are overwritten.
    """
    n_iterations, n_cells = mass.shape
    n, n_channels = candidates.shape[0], cells.shape[1]
    nothing = to_weights[:0]
    to_sums = np.zeros((n_cells + n_cells // n, n_channels + 1), np.float32)
    contributions = np.empty((n_cells, 9, n_channels + 1), np.float32)
    received = np.empty(n_channels + 1, np.float32)
    to_cells[:] = 0
    for t in range(n_iterations - 1, -1, -1):
        for i in range(n_cells):
            row = to_sums[i + i // n]
            row[n_channels] = to_mass[i]
            for c in range(n_channels):
                # centers = sums / mass
                row[c] = to_centers[i, c] / max(mass[t, i], _LEAST_MASS)
                row[n_channels] -= row[c] * centers[t + 1, i, c]
        beyond = to_weights if t == n_iterations - 1 else nothing  # only the last Q and mass are returned
        to_mass[:] = 0
        _iterate_backward(cells, centers[t], to_sums, beyond, weights[t], to_cells, contributions, candidates)
        for i in range(n_cells):
            _receive(contributions, candidates, i, received)
            # logits = 2 f.d - d.(d + 2 s0), d = s - s0: gradient 2 (f - s) for a candidate s, 2 (s0 - f) for s0
            for c in range(n_channels):
                to_centers[i, c] = received[c] - received[n_channels] * centers[t, i, c]
            for k in range(9):
                for c in range(n_channels):
                    to_centers[i, c] += contributions[i, k, n_channels] * centers[t, i, c] - contributions[i, k, c]
    for i in range(n_cells):
        count = np.float32(0)
        for q in range(cells.shape[2]):
            count += is_pixel[i % n, q]
        for c in range(n_channels):
            for q in range(cells.shape[2]):
                to_cells[i, c, q] += to_centers[i, c] / count * is_pixel[i % n, q]
