"""numba kernel of the objective: all its terms and its gradient in one pass over the response.

In   response and its softmax (P, K), targets and weights (P,), coefficients
Out  sums as plain arrays; the softmax becomes the gradient, in place
Not  no checks (objective.py does them)
"""

import numpy as np
from supercuts.core.compiled import sum_kernel


@sum_kernel
def differentiate(response, soft, labels, targets, weights, height, width, step_y, step_x, largest, smallest, top, low):
    """Return the sums of weighted cross-entropy, |differences| along y and along x.

    `soft` is overwritten by the gradient. step_y and step_x are the gradients of a unit difference;
    if both are 0, so are the sums of differences. The share of the
    class `largest` is raised with weight `top`, that of `smallest` lowered with `low`; both are per pixel.
    """
    n_pixels, n_classes = response.shape
    entropy, total_y, total_x = 0.0, 0.0, 0.0
    one = response[0, 0] - response[0, 0] + 1  # of the type of the response: a float64 constant would widen the loops
    zero = one - one
    continues = step_y != 0 or step_x != 0
    for p in range(n_pixels):
        y, x = p // width % height, p % width
        # a view of each row: indices computed by hand could be negative, and loops over them are not vectorised
        r, g = response[p], soft[p]
        # beyond the border the pixel is its own neighbour: a difference of 0, whose sign is 0
        up, down = response[p - width if y > 0 else p], response[p + width if y < height - 1 else p]
        left, right = response[p - 1 if x > 0 else p], response[p + 1 if x < width - 1 else p]
        target, label = targets[p], labels[p]
        entropy += weights[p] * (r[label] - np.log(g[label]) - r[target])
        share_top, share_low = top * g[largest], low * g[smallest]
        scale = one * (weights[p] - share_top + share_low)
        sum_y, sum_x = zero, zero
        # neighbours are most of the work, and of no account without a weight
        for k in range(n_classes if continues else 0):
            below, above = down[k] - r[k], r[k] - up[k]
            after, before = right[k] - r[k], r[k] - left[k]
            sum_y += abs(below)
            sum_x += abs(after)
            sign_y = (one if above > 0 else zero) - (one if above < 0 else zero)
            sign_y += (one if below < 0 else zero) - (one if below > 0 else zero)
            sign_x = (one if before > 0 else zero) - (one if before < 0 else zero)
            sign_x += (one if after < 0 else zero) - (one if after > 0 else zero)
            g[k] = scale * g[k] + step_y * sign_y + step_x * sign_x
        for k in range(0 if continues else n_classes):
            g[k] *= scale
        total_y += sum_y
        total_x += sum_x
        g[target] -= weights[p]
        g[largest] += share_top
        g[smallest] -= share_low
    return entropy, total_y, total_x
