"""numba kernel of the objective: all its terms and its gradient in one pass over the response.

In   response and its softmax (P, K), targets and weights (P,), coefficients
Out  sums as plain arrays; the softmax becomes the gradient, in place
Not  no checks (objective.py does them)
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def differentiate(response, soft, labels, targets, weights, height, width, step_y, step_x, largest, smallest, top, low):
    """Return the sums of weighted cross-entropy, |differences| along y and along x.

    `soft` is overwritten by the gradient. step_y and step_x are the gradients of a unit difference;
    if both are 0, so are the sums of differences. The share of the
    class `largest` is raised with weight `top`, that of `smallest` lowered with `low`; both are per pixel.
    """
    n_pixels, n_classes = response.shape
    r, g = response.reshape(-1), soft.reshape(-1)
    entropy, total_y, total_x = 0.0, 0.0, 0.0
    one = r[0] - r[0] + 1  # of the type of the response: a float64 constant would widen the loops
    zero = one - one
    continues = step_y != 0 or step_x != 0
    for p in range(n_pixels):
        y, x = p // width % height, p % width
        here = p * n_classes
        # beyond the border the pixel is its own neighbour: a difference of 0, whose sign is 0
        up = here - width * n_classes if y > 0 else here
        down = here + width * n_classes if y < height - 1 else here
        left = here - n_classes if x > 0 else here
        right = here + n_classes if x < width - 1 else here
        target, label = here + targets[p], here + labels[p]
        entropy += weights[p] * (r[label] - np.log(g[label]) - r[target])
        share_top, share_low = top * g[here + largest], low * g[here + smallest]
        scale = one * (weights[p] - share_top + share_low)
        sum_y, sum_x = zero, zero
        # neighbours are most of the work, and of no account without a weight
        for k in range(n_classes if continues else 0):
            value = r[here + k]
            below, above = r[down + k] - value, value - r[up + k]
            after, before = r[right + k] - value, value - r[left + k]
            sum_y += abs(below)
            sum_x += abs(after)
            sign_y = (one if above > 0 else zero) - (one if above < 0 else zero)
            sign_y += (one if below < 0 else zero) - (one if below > 0 else zero)
            sign_x = (one if before > 0 else zero) - (one if before < 0 else zero)
            sign_x += (one if after < 0 else zero) - (one if after > 0 else zero)
            g[here + k] = scale * g[here + k] + step_y * sign_y + step_x * sign_x
        for k in range(0 if continues else n_classes):
            g[here + k] *= scale
        total_y += sum_y
        total_x += sum_x
        g[target] -= weights[p]
        g[here + largest] += share_top
        g[here + smallest] -= share_low
    return entropy, total_y, total_x
