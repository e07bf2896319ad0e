"""Regions of all sizes with random maps."""

import numpy as np
import pytest

from supercuts.core.arrays import relabel_consecutive
from supercuts.networks.maps import PixelMaps


def mosaic(n=60, shape=(40, 50), n_regions=2, seed=0):
    """Return labels of n regions, the pixels nearest to random points, and maps with n_regions region channels."""
    rng = np.random.default_rng(seed)
    points = rng.random((n, 2)) * shape
    ys, xs = np.indices(shape)
    nearest = ((ys[..., None] - points[:, 0]) ** 2 + (xs[..., None] - points[:, 1]) ** 2).argmin(axis=2)
    small = (shape[0] // 2, shape[1] // 2)
    maps = PixelMaps(
        color=rng.uniform(-30, 80, (3, *shape)).astype(np.float32),
        boundary=rng.random(shape, np.float32),
        embeddings=rng.standard_normal((2, *shape), np.float32),
        strength=rng.random(small, np.float32) if n_regions else None,
        regions=rng.standard_normal((n_regions, *small), np.float32) if n_regions else None,
        region_stride=2 if n_regions else 1,
    )
    return relabel_consecutive(nearest)[0], maps


@pytest.fixture(scope="session")
def make_mosaic():
    """Return the function that makes labels and maps: make_mosaic(n, shape, n_regions, seed)."""
    return mosaic
