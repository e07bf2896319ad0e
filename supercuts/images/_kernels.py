"""Compiled loops over pixels for colour conversion and drawing."""

import numpy as np

from supercuts.core.compiled import fast_kernel, kernel


@fast_kernel
def lab_from_rgb(pixels, linear, mix, curve):
    """Convert (P, 3) uint8 sRGB to (P, 3) float32 Lab.

    linear (256,) is the linear light of each value. mix (3, 3) maps linear RGB to XYZ over white. curve (n + 2,) holds
    the Lab curve f at 0, 1/n, ... 1, with the last value repeated because interpolation at 1 reads it.
    """
    n_steps = np.float32(curve.size - 2)
    lab = np.empty((pixels.shape[0], 3), dtype=np.float32)
    for p in range(pixels.shape[0]):
        red, green, blue = linear[pixels[p, 0]], linear[pixels[p, 1]], linear[pixels[p, 2]]
        x = (mix[0, 0] * red + mix[0, 1] * green + mix[0, 2] * blue) * n_steps
        y = (mix[1, 0] * red + mix[1, 1] * green + mix[1, 2] * blue) * n_steps
        z = (mix[2, 0] * red + mix[2, 1] * green + mix[2, 2] * blue) * n_steps
        i, j, k = np.int32(x), np.int32(y), np.int32(z)
        fx = curve[i] + (x - np.float32(i)) * (curve[i + 1] - curve[i])
        fy = curve[j] + (y - np.float32(j)) * (curve[j + 1] - curve[j])
        fz = curve[k] + (z - np.float32(k)) * (curve[k + 1] - curve[k])
        lab[p, 0] = np.float32(116) * fy - np.float32(16)
        lab[p, 1] = np.float32(500) * (fx - fy)
        lab[p, 2] = np.float32(200) * (fy - fz)
    return lab


@kernel
def region_means(pixels, labels, n_regions):
    """Return the rounded mean of pixels (P, 3) per label in labels (P,), as (R, 3) uint8; 0 for ids without pixels."""
    sums = np.zeros((n_regions, 3), dtype=np.int64)
    counts = np.zeros(n_regions, dtype=np.int64)
    for p in range(labels.size):
        region = labels[p]
        counts[region] += 1
        for c in range(3):
            sums[region, c] += pixels[p, c]
    means = np.zeros((n_regions, 3), dtype=np.uint8)
    for region in range(n_regions):
        if counts[region] > 0:
            for c in range(3):
                means[region, c] = (2 * sums[region, c] + counts[region]) // (2 * counts[region])
    return means


@kernel
def own_label_share(labels, weights):
    """Return, for each pixel, the weighted share in 0..1 of the window around it that has its label: (H, W) float32.

    weights (2r + 1, 2r + 1) is the window; its part outside the image is ignored.
    """
    height, width = labels.shape
    radius = weights.shape[0] // 2
    share = np.empty((height, width), dtype=np.float32)
    for row in range(height):
        for col in range(width):
            own = np.float32(0)
            total = np.float32(0)
            for y in range(max(row - radius, 0), min(row + radius + 1, height)):
                for x in range(max(col - radius, 0), min(col + radius + 1, width)):
                    weight = weights[y - row + radius, x - col + radius]
                    total += weight
                    if labels[y, x] == labels[row, col]:
                        own += weight
            share[row, col] = own / total
    return share


@kernel
def halve(values, valid, rounding, out):
    """Set out (h, w, C) to the means of 2 x 2 pixels of values (H, W, C); the last line of an odd side counts twice.

    valid (H, W) bool is the mask of pixels to average; shape (0, 0) means all. The mean of no pixels is 0. rounding is
    0.5 for integers, else 0.
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
