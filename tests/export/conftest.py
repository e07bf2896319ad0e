"""One tree worked by hand, with every optional field; trees of any size."""

from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
from scipy.spatial import KDTree

from supercuts.hierarchy.tree import Hierarchy


@pytest.fixture
def small():
    """2x3 pixels, leaves 0 0 1 / 2 2 2; 3 = {0, 1} at .25, 4 = root at .75."""
    return Hierarchy(
        labels=np.array([[0, 0, 1], [2, 2, 2]], dtype=np.int32),
        parents=np.array([3, 3, 4, 4, 4], dtype=np.int32),
        altitudes=np.array([0, 0, 0, 0.25, 0.75], dtype=np.float32),
        embeddings=np.arange(6, dtype=np.float32).reshape(3, 2),
        image=np.arange(18, dtype=np.uint8).reshape(2, 3, 3),
        levels={"scene": 0.75, "object": 0.5, "part": 0.1},
    )


@pytest.fixture
def as_installed():
    """Switch the array annotations off, as outside the tests, to reach our own error messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def random_hierarchy(seed, height=19, width=26, n_leaves=40, arity=3):
    """Return leaves in several pieces that touch at corners and have holes, under a tree of 2 to `arity` children."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, n_leaves, (height // 3 + 1, width // 3 + 1))
    labels = np.repeat(np.repeat(coarse, 3, axis=0), 3, axis=1)[:height, :width]
    speckled = rng.random(labels.shape) < 0.1
    labels = np.where(speckled, rng.integers(0, n_leaves, labels.shape), labels)
    labels.flat[rng.permutation(labels.size)[:n_leaves]] = np.arange(n_leaves)  # every leaf somewhere
    parents, altitudes, open_nodes = list(range(n_leaves)), [0.0] * n_leaves, list(range(n_leaves))
    while len(open_nodes) > 1:
        size = min(int(rng.integers(2, arity + 1)), len(open_nodes))
        chosen = [open_nodes.pop(int(rng.integers(len(open_nodes)))) for _ in range(size)]
        node = len(parents)
        # a coarse grid of altitudes: some are equal
        step = rng.integers(0, 2) / 64
        altitudes.append(min(1.0, max(altitudes[child] for child in chosen) + step))
        parents.append(node)
        open_nodes.append(node)
        for child in chosen:
            parents[child] = node
    top = altitudes[-1]
    return Hierarchy(
        labels=labels.astype(np.int32),
        parents=np.array(parents, np.int32),
        altitudes=np.array(altitudes, np.float32),
        embeddings=rng.random((n_leaves, 3), dtype=np.float32),
        image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        levels={"scene": 0.8 * top, "object": 0.5 * top, "part": 0.2 * top},
    )


@pytest.fixture(params=range(3))
def ragged(request):
    """Return a random hierarchy whose regions are in pieces and have holes."""
    return random_hierarchy(request.param)


@pytest.fixture
def geotiff(ragged, tmp_path):
    """Return a GeoTIFF of the image of `ragged`, rotated on the map."""
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "scene.tif"
    height, width = ragged.shape
    transform = rasterio.Affine(0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": height, "width": width}
    with rasterio.open(path, "w", **profile, crs="EPSG:32632", transform=transform) as file:
        file.write(np.moveaxis(ragged.image, -1, 0))
    return path


def leave_out(h, seed=0):
    """Return the hierarchy without the pixels of a band, a block, and some here and there; every leaf keeps one."""
    rng = np.random.default_rng(seed)
    is_out = rng.random(h.shape) < 0.1
    is_out[: h.shape[0] // 5], is_out[h.shape[0] // 2 :, h.shape[1] // 3 : h.shape[1] // 2] = True, True
    is_out[h.shape[0] // 3, h.shape[1] // 4 :] = True  # regions come in pieces
    shuffled = rng.permutation(h.labels.size)
    is_out.flat[shuffled[np.unique(h.labels.ravel()[shuffled], return_index=True)[1]]] = False
    return replace(h, labels=np.where(is_out, np.int32(-1), h.labels))


@pytest.fixture
def leave_pixels_out():
    """Return leave_out."""
    return leave_out


@pytest.fixture(params=range(3))
def holed(request):
    """Return a random hierarchy of which a mask left some pixels out."""
    return leave_out(random_hierarchy(request.param), request.param)


@pytest.fixture
def voronoi():
    """Return voronoi_hierarchy."""
    return voronoi_hierarchy


def voronoi_hierarchy(seed=0, n_leaves=60, shape=(40, 50), arity=2, ties=True):
    """Voronoi cells joined at random; arity: most children of a node; ties: with many equal altitudes."""
    rng = np.random.default_rng(seed)
    pixels = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    centres = rng.permutation(pixels.reshape(-1, 2))[:n_leaves]
    open_nodes, parents, altitudes = list(range(n_leaves)), [-1] * n_leaves, [0.0] * n_leaves
    while len(open_nodes) > 1:
        new = len(parents)
        for _ in range(min(int(rng.integers(2, arity + 1)), len(open_nodes))):
            parents[open_nodes.pop(int(rng.integers(len(open_nodes))))] = new
        open_nodes.append(new)
        parents.append(new)
        altitudes.append(altitudes[-1] + rng.integers(0 if ties else 1, 3) / (2 * n_leaves))
    return Hierarchy(
        labels=KDTree(centres).query(pixels)[1].astype(np.int32),
        parents=np.array(parents, np.int32),
        altitudes=np.array(altitudes, np.float32),
        embeddings=rng.random((n_leaves, 3), dtype=np.float32),
        image=rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        levels={"scene": 0.6, "object": 0.2, "part": 0.3},
    )
