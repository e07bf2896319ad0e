import numpy as np
import pytest

import supercuts
from supercuts.core.errors import InputError
from supercuts.refine.hierarchy import REFINERS, refine_hierarchy, refiner_config
from supercuts.refine.refine_config import RefineConfig
from supercuts.superpixels.grid import connected_pieces

FEW = RefineConfig(epochs=30, n_features=12, n_classes=16, nu=2.0, initial_steps=15)


@pytest.fixture(scope="module")
def model():
    return supercuts.load("compact")


@pytest.fixture(scope="module")
def image():
    pixels = np.random.default_rng(0).integers(0, 30, (40, 56, 3)).astype(np.uint8)
    pixels[:, 28:] += 150
    pixels[10:30, 8:20, 0] += 120
    return pixels


@pytest.mark.parametrize("method", ["sp", "st"])
def test_a_tree_over_connected_regions(model, image, method):
    h = model.segment(image, superpixels=60)
    refined = refine_hierarchy(h, FEW.model_copy(update={"method": method}))
    assert 3 <= refined.n_leaves <= 60
    assert refined.embeddings.shape == (refined.n_leaves, 16)
    np.testing.assert_allclose(refined.embeddings.sum(axis=1), 1, atol=1e-4)
    pieces = connected_pieces(refined.labels, np.zeros_like(refined.labels))
    assert pieces.max() + 1 == refined.n_leaves
    assert refined.levels.keys() == h.levels.keys()
    if method == "sp":  # each leaf is a union of superpixels
        assert all(np.unique(refined.labels[h.labels == i]).size == 1 for i in range(h.n_leaves))
    halves = refined.cut(regions=2)
    assert max((halves[:, 28:] == i).mean() + (halves[:, :28] != i).mean() for i in (0, 1)) > 1.5


def test_levels_keep_their_number_of_regions(model, image):
    h = model.segment(image, superpixels=60)
    refined = refine_hierarchy(h, FEW)
    for name in h.levels:
        wanted = min(int(h.cut(level=name).max()) + 1, refined.n_leaves)
        assert abs(int(refined.cut(level=name).max()) + 1 - wanted) <= 1


def test_the_pipeline_refines(model, image):
    h = model.segment(image, superpixels=40, refiner=FEW)
    np.testing.assert_array_equal(h.labels, refine_hierarchy(model.segment(image, superpixels=40), FEW).labels)
    assert [item.n_leaves for item in model.segment([image], superpixels=40, refiner=FEW)] == [h.n_leaves]


def test_a_single_leaf_and_five_channels():
    one = supercuts.Hierarchy(
        labels=np.zeros((6, 8), np.int32),
        parents=np.zeros(1, np.int32),
        altitudes=np.zeros(1, np.float32),
        embeddings=np.zeros((1, 0), np.float32),
    )
    bands = np.random.default_rng(0).random((6, 8, 5), dtype=np.float32)
    refined = refine_hierarchy(one, FEW.model_copy(update={"epochs": 2, "initial_steps": 0}), bands)
    assert refined.n_leaves == 1
    with pytest.raises(InputError, match="give image="):
        refine_hierarchy(one, FEW)


def test_refiners_by_name():
    assert refiner_config("sp") is REFINERS["sp"]
    assert refiner_config(None) is None
    assert refiner_config(FEW) is FEW
    with pytest.raises(InputError, match="Choose one of: st, sp"):
        refiner_config("crf")


def test_pixels_that_a_mask_left_out_have_no_part(model, image):
    mask = np.arange(image.shape[1]) >= np.full((image.shape[0], 1), 3)
    config = FEW.model_copy(update={"epochs": 2, "initial_steps": 2})
    refined = refine_hierarchy(model.segment(image, superpixels=20, mask=mask), config)
    np.testing.assert_array_equal(refined.labels >= 0, mask)
    assert refined.n_leaves <= 20
    other = np.where(mask[..., None], image, 255).astype(np.uint8)
    again = refine_hierarchy(model.segment(other, superpixels=20, mask=mask), config)
    np.testing.assert_array_equal(again.labels, refined.labels)
