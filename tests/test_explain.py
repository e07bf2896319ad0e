import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.explain import ShapMasker, lime_segments
from supercuts.hierarchy.tree import Hierarchy
from supercuts.model import Model

QUADRANT = np.s_[:24, 32:]  # the classifiers of these tests depend on it alone


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 256, (2, 2, 3)).repeat(24, axis=0).repeat(32, axis=1)
    return np.clip(corners + rng.integers(-9, 10, (48, 64, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def hierarchy(image):
    return Model(None).segment(image, superpixels=12)


def looks_at_quadrant(reference):
    """Return a classifier whose two outputs are how much the upper right quadrant looks like that of `reference`."""

    def predict(images):
        distance = np.abs(np.asarray(images, np.float64)[:, *QUADRANT] - reference[QUADRANT]).mean(axis=(1, 2, 3))
        likeness = 1 / (1 + distance)
        return np.stack([likeness, 1 - likeness], axis=1)

    return predict


@pytest.mark.parametrize("n_segments", [1, 7, 40])
def test_segments_have_the_exact_number(image, n_segments):
    segments = lime_segments(n_segments, Model(None))(image)
    assert segments.shape == image.shape[:2]
    np.testing.assert_array_equal(np.unique(segments), np.arange(n_segments))
    np.testing.assert_array_equal(lime_segments(n_segments, Model(None))(image / 255.0), segments)


def test_impossible_numbers_of_segments_are_refused():
    with pytest.raises(InputError, match="n_segments"):
        lime_segments(0)


def test_lime_finds_the_quadrant_by_our_segments(image):
    lime_image = pytest.importorskip("lime.lime_image")
    explainer = lime_image.LimeImageExplainer(random_state=0)
    explanation = explainer.explain_instance(
        image, looks_at_quadrant(image), top_labels=2, hide_color=0, num_samples=300,
        segmentation_fn=lime_segments(8, Model(None)),
    )  # fmt: skip
    np.testing.assert_array_equal(np.unique(explanation.segments), np.arange(8))
    weights = dict(explanation.local_exp[0])
    attributions = np.array([weights[segment] for segment in range(8)])[explanation.segments]
    assert attributions[QUADRANT].mean() > 10 * np.abs(np.delete(attributions, np.s_[:24], axis=0)).mean()


def test_shap_splits_along_our_tree(image, hierarchy):
    shap = pytest.importorskip("shap")
    predict, masker = looks_at_quadrant(image), ShapMasker(hierarchy, hidden=0)
    explainer = shap.Explainer(predict, masker)
    assert type(explainer).__name__.startswith("Partition")
    explanation = explainer(image[None], max_evals=400, silent=True)
    assert explanation.values.shape == (1, 12, 2)
    values = masker.to_pixels(explanation.values[0, :, 0])
    # efficiency of Owen values: they add up to what the regions change together
    all_hidden, all_shown = predict(np.stack([np.zeros_like(image), image]))[:, 0]
    assert explanation.values[0, :, 0].sum() == pytest.approx(all_shown - all_hidden)
    share = explanation.values[0, np.unique(hierarchy.labels[QUADRANT]), 0].sum() / explanation.values[0, :, 0].sum()
    assert share > 0.99
    assert values.shape == image.shape[:2]
    # the merges of shap's tree are the nodes of ours
    masks = shap.utils.make_masks(masker.clustering).toarray()
    ours = {tuple(hierarchy.leaves_of(node)) for node in range(hierarchy.n_nodes)}
    assert {tuple(np.flatnonzero(mask)) for mask in masks} == ours


def test_hidden_pixels_get_the_mean_a_colour_or_another_image():
    labels = np.array([[0, 1, -1]], np.int32)
    tree = np.array([2, 2, 2], np.int32), np.array([0, 0, 0.5], np.float32), np.zeros((2, 0), np.float32)
    h = Hierarchy(labels, *tree)
    image = np.array([[[0, 3], [6, 9], [3, 3]]], np.uint8)
    mask = np.array([True, False])
    for hidden, expected in ((None, [3, 5]), (7, [7, 7]), ([1, 2], [1, 2]), (image + 1, [7, 10])):
        (out,) = ShapMasker(h, hidden)(mask, image)
        assert out.dtype == np.uint8
        np.testing.assert_array_equal(out, [[[[0, 3], expected, [3, 3]]]])
    np.testing.assert_array_equal(ShapMasker(h, 0)(None, image)[0], [[[[0, 0], [0, 0], [3, 3]]]])
    assert ShapMasker(h).to_pixels(np.array([1.0, 2.0])).tolist() == [[1.0, 2.0, 0.0]]
    with pytest.raises(InputError, match=r"the image has shape \(2, 2, 3\), its hierarchy \(1, 3\)"):
        ShapMasker(h)(mask, np.zeros((2, 2, 3)))
