from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import supercuts
from supercuts.core.errors import InputError
from supercuts.hierarchy.tree import Hierarchy
from supercuts.networks.backbones.pretrained import make_pretrained
from supercuts.networks.ssn_config import PretrainedConfig
from supercuts.objects.discover import METHODS, Discovery, discover, discover_patches
from supercuts.objects.features import PatchFeatures, dino_keys
from supercuts.objects.node_graph import grid_graph
from supercuts.objects.tokencut import TokenCutConfig, tokencut

ON_FEATURES = [name for name in METHODS if name != "tree"]  # tested in test_figure_ground.py


def flat_tree(labels, features):
    """Return a hierarchy whose leaves all join at once."""
    n = int(labels.max()) + 1
    parents = np.append(np.full(n, n), n) if n > 1 else np.zeros(1)
    altitudes = np.append(np.zeros(n), 1) if n > 1 else np.zeros(1)
    return Hierarchy(labels, parents.astype(np.int32), altitudes.astype(np.float32), features.astype(np.float32))


def scene(first=0):
    """Return a hierarchy of 8 x 9 squares, one node being the object, and its mask; superpixel `first` is object."""
    is_object = np.zeros((8, 9), bool)
    is_object[3:6, 4:7] = True
    ids = np.arange(72)
    inside = int(np.flatnonzero(is_object)[0])
    ids[[first, inside]] = ids[[inside, first]]  # the superpixel of number `first` lies in the object
    squares = ids.reshape(8, 9)
    rng = np.random.default_rng(0)
    features = np.zeros((72, 4))
    features[squares] = np.array([[2.0, 0, 0, 0], [-1, 2.0, 0, 0]])[is_object.astype(int)]
    features += 0.1 * rng.standard_normal(features.shape)
    labels = squares.astype(np.int32).repeat(4, 0).repeat(4, 1)
    return flat_tree(labels, features), is_object.repeat(4, 0).repeat(4, 1)


@pytest.mark.parametrize("first", [0, 1, 30])
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("method", ["tokencut", "deep_spectral", "lost"])
def test_the_object_is_found_whatever_the_numbers_of_superpixels(method, refine, first):
    """The original painted 0 and 1 in place: superpixel 0 took the value of superpixel 1."""
    h, mask = scene(first)
    actual = discover(h, method=method, refine=refine)
    np.testing.assert_array_equal(actual.mask, mask)
    assert actual.boxes_yxyx.tolist() == [[12, 16, 24, 28]]
    assert (actual.saliency[mask] >= 0.5).all()
    assert (actual.saliency[~mask] <= 0.5).all()
    assert 0.3 < actual.scores[0] <= 1


@pytest.mark.parametrize("method", ON_FEATURES)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", ["random", "equal", "zero"])
def test_every_method_answers_whatever_it_is_given(method, n, kind):
    h, _ = scene()
    rng = np.random.default_rng(0)
    features = {"random": rng.standard_normal((72, 5)), "equal": np.ones((72, 5)), "zero": np.zeros((72, 5))}[kind]
    actual = discover(h, features.astype(np.float32), method, n)
    assert 1 <= len(actual.scores) <= n
    assert (np.diff(actual.scores) <= 0).all()
    assert ((actual.saliency >= 0) & (actual.saliency <= 1)).all()


@pytest.mark.parametrize("method", ON_FEATURES)
@pytest.mark.parametrize("n_leaves", [1, 2])
def test_one_or_two_superpixels_are_enough(method, n_leaves):
    labels = np.minimum(np.arange(6), n_leaves - 1).astype(np.int32)[None].repeat(3, 0)
    h = flat_tree(labels, np.eye(2)[:n_leaves])
    assert discover(h, method=method, n=2).mask.any()


@pytest.mark.parametrize("refine", [False, True])
def test_if_nothing_stands_out_the_object_is_the_whole_image(refine):
    h, _ = scene()
    for method in ON_FEATURES:
        actual = discover(h, np.ones((72, 3), np.float32), method, refine=refine)
        assert actual.mask.all(), method
        assert actual.scores.tolist() == [0]


def test_objects_are_disjoint_and_best_first():
    kind = np.zeros((10, 12), int)
    kind[2:6, 2:5], kind[5:8, 7:10] = 1, 2
    labels = np.arange(120, dtype=np.int32).reshape(10, 12)
    features = np.eye(4)[kind.ravel()] * 3 + 0.2 * np.random.default_rng(0).standard_normal((120, 4))
    actual = discover(flat_tree(labels, features), n=4)
    assert sorted(mask.sum() for mask in actual.masks) == [9, 12]
    assert actual.scores[0] >= actual.scores[1]


def test_patches_of_a_grid_are_the_published_method():
    values = np.random.default_rng(0).standard_normal((8, 3, 4)).astype(np.float32)
    patches = PatchFeatures(values, 16, 8.0)
    one = tokencut(patches.nodes, grid_graph(3, 4))
    actual = discover_patches(patches, (41, 60))
    np.testing.assert_array_equal(actual.mask, one.is_object.reshape(3, 4).repeat(16, 0).repeat(16, 1)[:41, :60])


def test_a_method_may_be_a_function_of_ones_own():
    h, mask = scene()
    actual = discover(h, method=partial(tokencut, config=TokenCutConfig(tau=0.5)))
    np.testing.assert_array_equal(actual.mask, mask)


def test_the_registry_takes_a_method_that_uses_the_hierarchy(monkeypatch):
    h, _ = scene()
    seen = []

    def own(task):
        seen.append(task)
        return task.repeat(tokencut)

    monkeypatch.setitem(METHODS, "own", own)
    discover(h, method="own", n=2, seed=5)
    (task,) = seen
    assert isinstance(task, Discovery)
    assert task.hierarchy is h
    assert (task.n, task.seed) == (2, 5)


def test_impossible_requests_are_refused():
    h, _ = scene()
    with pytest.raises(InputError, match=r"method='cut' is unknown\. Choose one of: tree, tokencut"):
        discover(h, method="cut")
    with pytest.raises(InputError, match="n=0 is outside"):
        discover(h, n=0)
    with pytest.raises(InputError, match="71 rows of features"):
        discover(h, np.ones((71, 2), np.float32))


@pytest.mark.parametrize("method", ON_FEATURES)
def test_random_transformers_run_from_image_to_objects(method):
    torch.manual_seed(0)
    vit = make_pretrained("timm:vit_tiny_patch16_224", PretrainedConfig(finetune_blocks=0)).eval()
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    image[20:50, 30:60] = (200, 30, 30)
    h = supercuts.load("compact").segment(image, superpixels=40)
    keys = dino_keys(vit, image)
    for actual in (discover(h, keys.pool(h.labels, h.n_leaves), method, n=2), discover_patches(keys, (70, 90), method)):
        assert actual.saliency.shape == (70, 90)
        assert actual.mask.any()


@pytest.mark.parametrize("method", ON_FEATURES)
@pytest.mark.parametrize("n", [1, 3])
def test_a_margin_that_a_mask_leaves_out_changes_nothing(method, n):
    h, _ = scene()
    wide = replace(h, labels=np.pad(h.labels, ((3, 2), (0, 5)), constant_values=-1))
    first, second = discover(h, method=method, n=n), discover(wide, method=method, n=n)
    np.testing.assert_array_equal(second.masks[:, 3:-2, :-5], first.masks)
    np.testing.assert_array_equal(second.saliency[3:-2, :-5], first.saliency)
    assert second.mask.sum() == first.mask.sum()
    assert not second.saliency[wide.labels < 0].any()


def test_the_object_never_holds_pixels_that_a_mask_left_out():
    h, mask = scene()
    is_out = np.zeros(h.shape, bool)
    is_out[::4, ::3] = True
    actual = discover(replace(h, labels=np.where(is_out, np.int32(-1), h.labels)))
    np.testing.assert_array_equal(actual.mask, mask & ~is_out)


def test_a_transformer_gets_the_mean_at_masked_pixels():
    torch.manual_seed(0)
    vit = make_pretrained("timm:vit_tiny_patch16_224", PretrainedConfig(finetune_blocks=0)).eval()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    valid = np.ones((70, 90), bool)
    valid[:30, :40] = False
    model = supercuts.load("compact")
    network = model.network
    h = model.segment(image, superpixels=20, mask=valid)
    second = replace(h, image=np.where(valid[..., None], h.image, rng.integers(0, 256, image.shape, dtype=np.uint8)))
    object.__setattr__(model, "network", SimpleNamespace(transformer=vit))
    try:
        first, two = model.leaf_features(h), model.leaf_features(second)
    finally:
        object.__setattr__(model, "network", network)
    assert first.shape == (h.n_leaves, 192)
    np.testing.assert_array_equal(first, two)
