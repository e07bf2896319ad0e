import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import supercuts
from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.core.errors import InputError
from supercuts.core.private_torch import fastest
from supercuts.images.io import read_image
from supercuts.model import Model
from supercuts.networks import maps
from supercuts.refine.refine_config import RefineConfig
from supercuts.settings import PIXEL_CONFIG
from supercuts.superpixels import grid as grid_module
from supercuts.superpixels import leaves
from supercuts.superpixels._kernels import cluster as _kernels
from supercuts.superpixels.leaves import halved

PHOTO = Path(__file__).parents[1] / "examples" / "photo.jpg"
REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="module")
def photo():
    return read_image(PHOTO)


@pytest.fixture(scope="module")
def compact():
    return supercuts.load("compact")


@pytest.fixture
def small_strips(monkeypatch):
    monkeypatch.setattr(maps, "STRIP_PIXELS", 6000)
    monkeypatch.setattr(grid_module, "_STRIP_PIXELS", 6000)


def assert_same(first, second):
    for name in ("labels", "parents", "altitudes", "embeddings"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def assert_connected(labels):
    pieces, _ = _kernels.label_components(np.where(labels < 0, -1, labels).astype(np.int32))
    is_valid = labels >= 0
    assert np.unique(pieces[is_valid]).size == np.unique(labels[is_valid]).size


@pytest.mark.parametrize(("name", "share"), [("pixels", 0.99), ("compact", 0.95)])
def test_images_of_usual_size_give_the_recorded_results(photo, name, share, request):
    """Compare with stored results: without a network from an AMD EPYC, with one from an Intel Xeon.

    Processors round sums differently. A network's results are stored for both of its number types, since those of
    float32 and bfloat16 agree on 0.93 of the pixels only.
    """
    h = (Model(None) if name == "pixels" else request.getfixturevalue(name)).segment(photo)
    in_float32 = name == "compact" and fastest(torch.device("cpu")) == torch.float32
    stored = REFERENCE / f"photo_{name}{'_float32' if in_float32 else ''}"
    assert np.abs(np.sort(h.altitudes) - np.load(f"{stored}.npy")).mean() < 0.002
    table = contingency(np.asarray(Image.open(f"{stored}.png"), np.int32), h.labels)
    assert table.shape == (600, 600)
    assert min(table.max(axis=axis).sum() for axis in (0, 1)) >= share * table.sum()


@pytest.mark.parametrize("n_leaves", [40, 300])
@pytest.mark.parametrize("tile", [64, 96, 128])
def test_result_without_network_does_not_depend_on_tiles(photo, small_strips, n_leaves, tile):
    image = photo[:211, :333]
    assert_same(Model(None).segment(image, n_leaves, tile=tile), Model(None).segment(image, n_leaves))


@pytest.mark.parametrize("tile", [96, 4096])
def test_result_of_the_network_does_not_depend_on_tiles(photo, compact, small_strips, tile):
    image = photo[:173, :259]
    assert_same(compact.segment(image, 80, tile=tile), compact.segment(image, 80))


@given(st.integers(0, 10_000), st.integers(1, 60))
@settings(max_examples=20)
def test_masked_pixels_have_no_part_in_anything(seed, n_leaves):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 40, 2))
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = rng.random(shape) > rng.random()
    mask.flat[rng.integers(mask.size)] = True
    other = np.where(mask[..., None], image, rng.integers(0, 256, image.shape, dtype=np.uint8))
    h = Model(None).segment(image, n_leaves, mask=mask)
    np.testing.assert_array_equal(h.labels >= 0, mask)
    assert h.areas()[-1] == mask.sum()
    assert_connected(h.labels)
    assert (h.cut(regions=1) == np.where(mask, 0, -1)).all()
    assert_same(h, Model(None).segment(other, n_leaves, mask=mask))
    pieces = np.unique(_kernels.label_components(mask.astype(np.int32))[0][mask]).size
    assert h.n_leaves == min(max(n_leaves, pieces), int(mask.sum()))


def test_masked_pixels_do_not_reach_the_network(photo, compact):
    image = photo[:120, :160].copy()
    mask = np.ones(image.shape[:2], bool)
    mask[30:70, 40:] = False
    h = compact.segment(image, 50, mask=mask)
    image[~mask] = 255
    assert_same(h, compact.segment(image, 50, mask=mask))


@pytest.fixture
def large(monkeypatch, small_strips):
    """Treat images of 2500 pixels as large, and use small cells."""
    monkeypatch.setattr(maps, "_WHOLE_PIXELS", 2500)
    monkeypatch.setattr(leaves, "_CELL_PIXELS", 16)


@pytest.mark.parametrize("tile", [None, 0, 64, 128])
@pytest.mark.parametrize("name", ["compact", "pixels"])
def test_large_images_do_not_depend_on_tiles_either(photo, compact, large, name, tile, monkeypatch):
    image = photo[:173, :259]
    model = compact if name == "compact" else Model(None)
    calls = []
    monkeypatch.setattr(leaves, "halved", lambda maps: calls.append(maps.shape) or halved(maps))
    h = model.segment(image, 80, tile=tile)
    assert calls == [(173, 259)]  # 320 cells of 11200 pixels, then of 2860
    assert h.n_leaves == 80
    assert_connected(h.labels)
    if name == "pixels" or tile:
        assert_same(h, model.segment(image, 80, tile=96))


def test_superpixels_of_large_images_differ_only_at_borders(photo, compact, monkeypatch, small_strips):
    image = photo[:300, :400]
    whole = compact.segment(image, 28)
    monkeypatch.setattr(maps, "_WHOLE_PIXELS", 100_000)
    half = compact.segment(image, 28)
    assert half.n_leaves == 28
    table = contingency(whole.labels, half.labels)
    assert 0.85 < table.max(axis=1).sum() / table.sum() < 1


@given(st.integers(0, 10_000), st.integers(1, 30))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_masked_pixels_have_no_part_in_large_images_either(large, seed, n_leaves):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(51, 90, 2))
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = np.kron(rng.random((9, 9)) > 0.3, np.ones((10, 10), bool))[: shape[0], : shape[1]]
    mask[::7] &= rng.random() > 0.5  # lines narrower than two pixels
    mask[0, 0] = True
    h = Model(None).segment(image, n_leaves, mask=mask)
    np.testing.assert_array_equal(h.labels >= 0, mask)
    assert_connected(h.labels)
    pieces = np.unique(_kernels.label_components(mask.astype(np.int32))[0][mask]).size
    assert h.n_leaves == max(n_leaves, pieces)
    other = np.where(mask[..., None], image, rng.integers(0, 256, image.shape, dtype=np.uint8))
    assert_same(h, Model(None).segment(other, n_leaves, mask=mask))


def test_a_mask_of_all_pixels_changes_nothing(photo):
    image = photo[:80, :90]
    assert_same(Model(None).segment(image, 30, mask=np.ones((80, 90), bool)), Model(None).segment(image, 30))


def test_one_valid_pixel_is_a_tree(photo):
    mask = np.zeros((20, 30), bool)
    mask[7, 9] = True
    h = Model(None).segment(photo[:20, :30], 5, mask=mask)
    assert (h.n_leaves, h.labels[7, 9], h.labels.min()) == (1, 0, -1)


@pytest.mark.parametrize("n_bands", [4, 5, 12])
@pytest.mark.parametrize("name", ["compact", "pixels"])
def test_object_that_one_band_shows_is_a_region(compact, n_bands, name):
    rng = np.random.default_rng(n_bands)
    image = (100 + rng.integers(0, 6, (60, 80, n_bands))).astype(np.uint8)
    inside = np.zeros((60, 80), bool)
    inside[20:45, 30:60] = True
    image[inside, min(n_bands, 5) - 1] += 90
    model = compact if name == "compact" else Model(None)
    cut = model.segment(image, 40, bands=(3, 2, 1), stretch="none").cut(regions=2)
    actual = cut == cut[30, 40]
    assert (actual & inside).sum() / (actual | inside).sum() > 0.95
    unseen = image.copy()
    unseen[..., min(n_bands, 5) - 1] = 100
    cut = model.segment(unseen, 40, bands=(3, 2, 1), stretch="none").cut(regions=2)
    actual = cut == cut[30, 40]
    assert (actual & inside).sum() / (actual | inside).sum() < 0.8


def test_bands_for_the_network_are_counted_from_one(compact):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert_same(compact.segment(image, 20, bands=(3, 2, 1)), compact.segment(image[..., ::-1], 20))


def test_refuses_impossible_options(photo, compact):
    image = photo[:40, :50]
    mask = np.ones((40, 50), bool)
    mask[0] = False
    with pytest.raises(InputError, match="no valid pixel"):
        compact.segment(image, mask=np.zeros((40, 50), bool))
    with pytest.raises(InputError, match=r"mask is bool \(3, 3\); expected bool \(40, 50\)"):
        compact.segment(image, mask=np.ones((3, 3), bool))
    with pytest.raises(InputError, match="expected 3 different numbers from 1 to 5"):
        compact.segment(np.zeros((8, 8, 5), np.uint8), bands=(1, 2, 6))
    with pytest.raises(InputError, match="the images of a list one by one"):
        compact.segment([image], mask=mask)
    merging = PIXEL_CONFIG.merging.model_copy(update={"method": "gnn"})
    config = PIXEL_CONFIG.model_copy(update={"merging": merging})
    with pytest.raises(InputError, match="was learned without these bands"):
        Model(None, config=config).segment(np.zeros((8, 8, 5), np.uint8), 4)


def test_labels_of_masked_hierarchies_count_without_gaps(photo):
    mask = np.zeros((60, 70), bool)
    mask[::7] = True
    labels = Model(None).segment(photo[:60, :70], 3, mask=mask).labels
    assert relabel_consecutive(labels[mask])[1] == labels.max() + 1 == 9


MASK = np.ones((48, 64), bool)
MASK[:9, :20] = MASK[30:34, 25:] = False
PRIOR = np.zeros((48, 64), bool)
PRIOR[6:28, 30:55] = True
WAYS = {
    "priors": {"priors": [PRIOR, PRIOR & (np.arange(64) < 44)]},
    "refiner": {"refiner": RefineConfig(epochs=2, initial_steps=2, n_features=4, n_classes=8)},
    "mask": {"mask": MASK},
    "bands": {"bands": (3, 2, 1)},
    "tile": {"tile": 32},
    "views": {"views": "flip"},
    "large": {"whole_pixels": 500},
}


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(WAYS, 2), *zip(WAYS, WAYS, strict=True)])
def test_all_ways_to_segment_go_together(photo, compact, monkeypatch, one, other):
    options = WAYS[one] | WAYS[other]
    monkeypatch.setattr(maps, "_WHOLE_PIXELS", options.pop("whole_pixels", 2_000_000))
    image = photo[100:148, 200:264]
    if "bands" in options:
        image = np.concatenate([image, image[..., :2]], axis=2)
    model = supercuts.load("compact", views=options.pop("views")) if "views" in options else compact
    h = model.segment(image, 40, **options)
    np.testing.assert_array_equal(h.labels >= 0, options.get("mask", np.ones((48, 64), bool)))
    assert h.n_leaves == 40 or "refiner" in options
    assert_connected(h.labels)
    assert (h.cut(regions=1)[h.labels >= 0] == 0).all()
    assert (h.levels == {}) == ("bands" in options)
    if "priors" in options and "refiner" not in options:  # keeps no bands
        for prior in options["priors"]:
            valid = prior & options.get("mask", np.ones((48, 64), bool))
            inside = np.unique(h.labels[valid])
            assert not np.isin(h.labels[~valid & (h.labels >= 0)], inside).any()
    assert_same(h, model.segment(image, 40, **options))


def test_a_prior_without_a_valid_pixel_is_refused(photo):
    with pytest.raises(InputError, match=r"priors\[0\] has no valid pixel"):
        Model(None).segment(photo[:48, :64], 9, priors=[~MASK], mask=MASK)
