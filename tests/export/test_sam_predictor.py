import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.export.sam_predictor import SuperCutsPredictor


class Fixed:
    """Returns the same hierarchy for any image."""

    def __init__(self, hierarchy):
        self.hierarchy = hierarchy

    def segment(self, image, superpixels=None):
        self.image, self.superpixels = image, superpixels
        return self.hierarchy


@pytest.fixture
def h(voronoi):
    return voronoi()


@pytest.fixture
def predictor(h):
    predictor = SuperCutsPredictor(Fixed(h))
    predictor.set_image(h.image)
    return predictor


def click(x, y, label=1):
    return {"point_coords": np.array([[x, y]]), "point_labels": np.array([label])}


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def test_the_steps_of_the_notebook_of_sam(predictor, h):
    """One click, more clicks with an earlier mask, a box, a box with a click, a batch of boxes."""
    predictor.set_image(h.image)
    input_point, input_label = np.array([[20, 10]]), np.array([1])
    masks, scores, logits = predictor.predict(point_coords=input_point, point_labels=input_label, multimask_output=True)
    assert masks.shape == (3, *h.shape)
    assert masks.dtype == bool
    assert scores.shape == (3,)
    assert logits.shape == (3, 256, 256)
    assert masks[:, 10, 20].all()

    points, labels = np.array([[20, 10], [45, 35]]), np.array([1, 0])
    mask_input = logits[np.argmax(scores), :, :]
    masks, _, _ = predictor.predict(
        point_coords=points, point_labels=labels, mask_input=mask_input[None, :, :], multimask_output=False
    )
    assert masks.shape == (1, *h.shape)
    assert masks[0, 10, 20]
    assert not masks[0, 35, 45]

    input_box = np.array([10, 5, 30, 25])
    masks, _, _ = predictor.predict(
        point_coords=None, point_labels=None, box=input_box[None, :], multimask_output=False
    )
    assert masks[0, 15, 20]

    masks, _, _ = predictor.predict(
        point_coords=np.array([[15, 10]]), point_labels=np.array([0]), box=input_box, multimask_output=False
    )
    assert not masks[0, 10, 15]

    torch = pytest.importorskip("torch")
    input_boxes = torch.tensor([[10, 5, 30, 25], [0, 0, 20, 20]], device=predictor.device)
    transformed = predictor.transform.apply_boxes_torch(input_boxes, h.shape)
    masks, scores, logits = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=transformed, multimask_output=False
    )
    assert (masks.shape, scores.shape, logits.shape) == ((2, 1, *h.shape), (2, 1), (2, 1, 256, 256))


def test_masks_are_the_regions_of_the_levels_and_the_selected_object(predictor, h):
    for x, y in ((3, 4), (25, 20), (49, 39)):
        masks, scores, _ = predictor.predict(**click(x, y))
        np.testing.assert_array_equal(masks[0], h.select(point=(y, x), level="part"))
        np.testing.assert_array_equal(masks[1], h.select(points={1: [(y, x)]}))
        np.testing.assert_array_equal(masks[2], h.select(point=(y, x), level="scene"))
        assert ((scores > 0) & (scores <= 1)).all()
        single, score, _ = predictor.predict(**click(x, y), multimask_output=False)
        np.testing.assert_array_equal(single[0], masks[1])
        assert score == scores[1]


def test_clicks_beside_the_object_are_in_no_mask(predictor, h):
    for other in range(0, 50, 7):
        points, labels = np.array([[25, 20], [other, 3]]), np.array([1, 0])
        if h.labels[20, 25] != h.labels[3, other]:
            masks, _, _ = predictor.predict(points, labels)
            assert masks[:, 20, 25].all()
            assert not masks[:, 3, other].any()


def test_a_box_leaves_out_what_lies_outside_it(predictor, h):
    masks, _, _ = predictor.predict(box=np.array([10, 5, 30, 25]), multimask_output=False)
    inside = np.zeros(h.shape, bool)
    inside[5:25, 10:30] = True
    for leaf in np.unique(h.labels[masks[0]]):
        assert inside[h.labels == leaf].mean() >= 0.5 or leaf == h.labels[14, 20]


def test_logits_have_the_sign_of_the_masks(predictor):
    masks, _, low = predictor.predict(**click(20, 10))
    logits, _, _ = predictor.predict(**click(20, 10), return_logits=True)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits > predictor.mask_threshold, masks)
    assert (low[:, 256 * 40 // 50 + 1 :] < 0).all()  # below the image, whose longest side is its width


def test_an_earlier_mask_alone_gives_the_mask_again(predictor):
    masks, _, low = predictor.predict(**click(20, 10))
    again, _, _ = predictor.predict(mask_input=low[1][None], multimask_output=False)
    assert iou(again[0], masks[1]) > 0.95
    assert predictor.predict(mask_input=low[1][None])[0].shape == masks.shape


def test_without_calibrated_levels(h):
    bare = type(h)(h.labels, h.parents, h.altitudes, h.embeddings)
    predictor = SuperCutsPredictor(Fixed(bare), superpixels=60)
    predictor.set_image(h.image, image_format="BGR")
    np.testing.assert_array_equal(predictor.model.image, h.image[..., ::-1])
    assert predictor.model.superpixels == 60
    masks, _, _ = predictor.predict(**click(20, 10))
    assert masks[0].sum() <= masks[2].sum()


def test_masked_pixels_are_in_no_mask(holed):
    predictor = SuperCutsPredictor(Fixed(holed))
    predictor.set_image(holed.image)
    y, x = np.argwhere(holed.labels >= 0)[20]
    masks, _, low = predictor.predict(**click(x, y))
    assert not masks[:, holed.labels < 0].any()
    predictor.predict(mask_input=low[:1])


def test_refusals(predictor, h):
    with pytest.raises(InputError, match="nothing to predict from"):
        predictor.predict()
    with pytest.raises(InputError, match="point_labels must hold one label for each"):
        predictor.predict(point_coords=np.array([[1, 2]]))
    with pytest.raises(InputError, match=r"box=\(60, 5, 70, 9\) covers no pixel of an image of 50x40"):
        predictor.predict(box=np.array([60, 5, 70, 9]))
    with pytest.raises(InputError, match=r"mask_input of shape \(1, 4, 4\); expected \(1, 256, 256\)"):
        predictor.predict(mask_input=np.zeros((1, 4, 4), np.float32))
    with pytest.raises(InputError, match=r"point x=50 is outside 0..49"):
        predictor.predict(**click(50, 2))
    predictor.reset_image()
    assert not predictor.is_image_set
    with pytest.raises(InputError, match="no image is set"):
        predictor.predict(**click(1, 1))
