"""numba kernels that halve maps.

In   plain arrays, the last axis of a map its channels
Out  the arrays of the caller, filled
Not  no checks (the callers do them)
"""

import numpy as np

from supercuts.core.compiled import kernel


@kernel
def halve(values, valid, rounding, out):
    """Set out (h, w, C) to the means of 2 x 2 pixels of values (H, W, C); the last line of an odd side counts twice.

    valid (H, W) bool says which pixels count, (0, 0) that all do; where none does the mean is 0. rounding is 0.5 for
    whole numbers, 0 for others.
    """
    height, width, n_channels = values.shape
    weights = np.full(4, 0.25)
    for y in range(out.shape[0]):
        top, bottom = 2 * y, min(2 * y + 1, height - 1)
        for x in range(out.shape[1]):
            left, right = 2 * x, min(2 * x + 1, width - 1)
            if valid.size > 0:
                weights[0], weights[1] = valid[top, left], valid[top, right]
                weights[2], weights[3] = valid[bottom, left], valid[bottom, right]
                weights /= max(weights.sum(), 1.0)
            for c in range(n_channels):
                total = weights[0] * values[top, left, c] + weights[1] * values[top, right, c]
                total += weights[2] * values[bottom, left, c] + weights[3] * values[bottom, right, c]
                out[y, x, c] = total + rounding
