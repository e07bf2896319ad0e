import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import maximum_filter, minimum_filter
from skimage.segmentation import find_boundaries

from supercuts.core.errors import InputError
from supercuts.images.convert import rgb_to_lab
from supercuts.images.draw import blend, contact_sheet, draw_boundaries, mean_color, random_colors

HALVES = np.repeat([0, 1], 10)[None].repeat(12, axis=0)  # a boundary between columns 9 and 10


def grey(value, height=12, width=20):
    return np.full((height, width, 3), value, dtype=np.uint8)


def label_map(height=14, width=17, n_regions=9, seed=0):
    centres = np.random.default_rng(seed).random((n_regions, 2)) * (height, width)
    yx = np.stack(np.mgrid[:height, :width], axis=-1)
    return np.argmin(((yx[:, :, None] - centres) ** 2).sum(-1), axis=-1)


def test_mean_color_is_hand_worked():
    image = np.array([[[0, 10, 0], [1, 20, 0], [9, 9, 9]]], dtype=np.uint8)
    result = mean_color(image, np.array([[2, 2, 0]], dtype=np.uint16))
    assert result.tolist() == [[[1, 15, 0], [1, 15, 0], [9, 9, 9]]]  # 0.5 rounds up; id 1 has no pixels


def test_mean_color_matches_plain_numpy():
    labels = label_map()
    image = np.random.default_rng(1).integers(0, 256, (*labels.shape, 3)).astype(np.uint8)
    result = mean_color(image[::-1], labels[::-1])
    for region in range(labels.max() + 1):
        inside = labels[::-1] == region
        assert np.abs(result[inside] - image[::-1][inside].mean(0)).max() <= 0.5 + 1e-9


def test_mean_color_keeps_an_image_of_one_pixel_regions():
    image = np.random.default_rng(1).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(mean_color(image, np.arange(20).reshape(4, 5)), image)


def test_random_colors_depend_on_id_and_seed_only():
    labels = label_map()
    colors = random_colors(labels)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors[labels == 3][0], random_colors(np.arange(4).reshape(2, 2))[1, 1])
    np.testing.assert_array_equal(colors.transpose(1, 0, 2), random_colors(labels.T))
    assert (random_colors(labels, seed=1) != colors).any()


@pytest.mark.parametrize("seed", range(3))
def test_random_colors_are_distinct_and_neither_dark_nor_pale(seed):
    n_ids = 300
    lab = rgb_to_lab(random_colors(np.arange(n_ids)[None], seed=seed))[0]
    assert lab[:, 0].min() > 45
    assert lab[:, 0].max() < 92
    for step in range(1, 50):  # a just noticeable difference is about 2.3
        difference = np.linalg.norm(lab[step:] - lab[:-step], axis=1)
        assert np.quantile(difference, 0.05) > 5, step
    assert np.linalg.norm(np.diff(lab, axis=0), axis=1).min() > 30


@pytest.mark.parametrize("width", [1, 2])
def test_lines_lie_on_the_boundary_and_nowhere_else(width):
    image = grey(100)
    result = draw_boundaries(image, HALVES, width=width)
    assert (result[:, 9:11] > 180).all()
    assert (result[:, [8, 11]] < 75).all(), "the dark outer line"
    np.testing.assert_array_equal(result[:, :6], image[:, :6])
    np.testing.assert_array_equal(result[:, 14:], image[:, 14:])
    np.testing.assert_array_equal(result, result[:, ::-1])  # centred


def test_wide_lines_are_brighter_and_reach_full_colour():
    thin, wide = (draw_boundaries(grey(100), HALVES, width=width).astype(int) for width in (1, 2))
    assert wide[6, 9].tolist() == [255, 255, 255]
    assert (wide[:, 9:11] > thin[:, 9:11]).all()


@pytest.mark.parametrize(("value", "color"), [(255, (255, 255, 255)), (0, (0, 0, 0))])
def test_a_line_shows_on_a_ground_of_its_own_colour(value, color):
    result = draw_boundaries(grey(value), HALVES, color=color).astype(int)
    assert np.abs(result - value).max() > 80


def test_one_region_has_no_lines():
    image = grey(77)
    np.testing.assert_array_equal(draw_boundaries(image, np.zeros((12, 20), np.int64)), image)


def test_drawing_commutes_with_transposing_and_ignores_ids():
    labels = label_map()
    image = np.random.default_rng(2).integers(0, 256, (*labels.shape, 3)).astype(np.uint8)
    result = draw_boundaries(image, labels)
    flipped = draw_boundaries(image.transpose(1, 0, 2), labels.T).transpose(1, 0, 2)
    assert np.abs(result.astype(int) - flipped).max() <= 1  # sums in another order
    np.testing.assert_array_equal(result, draw_boundaries(image, labels.max() - labels))


@given(hnp.arrays(np.int32, (9, 11), elements=st.integers(0, 1)))
def test_every_boundary_pixel_is_touched_and_none_far_away(labels):
    is_touched = (draw_boundaries(grey(100, 9, 11), labels) != 100).any(-1)
    assert is_touched[find_boundaries(labels, connectivity=1, mode="thick")].all()
    window_is_uniform = maximum_filter(labels, 5, mode="nearest") == minimum_filter(labels, 5, mode="nearest")
    assert not is_touched[window_is_uniform].any()


def test_inputs_are_left_alone():
    image, labels = grey(9), HALVES.copy()
    image.flags.writeable = labels.flags.writeable = False
    for result in (mean_color(image, labels), draw_boundaries(image, labels), blend(image, image, 0.5)):
        assert not np.shares_memory(result, image)


def test_blend_is_hand_worked():
    assert blend(grey(0), grey(200), 0.25)[0, 0, 0] == 50
    np.testing.assert_array_equal(blend(grey(3), grey(200), 0), grey(3))
    np.testing.assert_array_equal(blend(grey(3), grey(200), 1.0), grey(200))


def test_contact_sheet_places_pictures_and_captions():
    pictures = [grey(10, 30, 40), grey(20, 30, 40), grey(30, 20, 40)]
    sheet = contact_sheet(pictures, ["one", "two", "a caption far too wide for its cell"], columns=2)
    assert sheet.dtype == np.uint8
    for value, area in ((10, 1200), (20, 1200), (30, 800)):
        rows, cols = np.nonzero((sheet == value).all(-1))
        assert rows.size >= area
        block = (sheet == value).all(-1)[rows.min() : rows.min() + area // 40, cols.min() : cols.min() + 40]
        assert block.all()
    first_left, second_left = (np.nonzero((sheet == v).all(-1))[1].min() for v in (10, 20))
    assert second_left >= first_left + 40
    third_top = np.nonzero((sheet == 30).all(-1))[0].min()
    below_first = sheet[42:third_top, first_left : first_left + 40]
    assert below_first.min() < 120, "no caption under the first picture"
    assert (sheet[:, :8] == 255).all()
    assert (sheet[:, -8:] == 255).all()
    assert (sheet[:, first_left + 42 : second_left - 2] == 255).all(), "a caption runs into the next column"


def test_contact_sheet_survives_odd_captions():
    sheet = contact_sheet([grey(1, 4, 3)] * 4, ["", "\n", "wide " * 50, "日本語"], columns=3)
    assert sheet.shape[2] == 3


BAD_LABELS = [
    (np.zeros((3, 3), int), "differ in size: give the labels of this image"),
    (np.full((12, 20), -2), r"outside 0..239.*relabel_consecutive"),
    (np.full((12, 20), 10**9), r"outside 0..239.*relabel_consecutive"),
]


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS)
@pytest.mark.parametrize("function", [mean_color, draw_boundaries])
def test_unfit_labels_are_refused(function, labels, message):
    with pytest.raises(InputError, match=message):
        function(grey(0), labels)


def test_other_refusals():
    with pytest.raises(InputError, match="not empty"):
        random_colors(np.zeros((0, 4), int))
    with pytest.raises(InputError, match=r"width=3 is unknown. Choose one of: 1, 2"):
        draw_boundaries(grey(0), HALVES, width=3)
    with pytest.raises(InputError, match=r"not three values 0..255"):
        draw_boundaries(grey(0), HALVES, color=(300, 0, 0))
    with pytest.raises(InputError, match=r"alpha=1.5 is outside 0..1"):
        blend(grey(0), grey(1), 1.5)
    with pytest.raises(InputError, match="blend pictures of one size"):
        blend(grey(0), grey(1, 3, 3), 0.5)
    with pytest.raises(InputError, match="1 pictures and 0 captions"):
        contact_sheet([grey(0)], [], 1)
    with pytest.raises(InputError, match=r"columns=0 is outside 1..1"):
        contact_sheet([grey(0)], ["a"], 0)
    with pytest.raises(InputError, match=r"image of shape .* is not an \(H, W, 3\) uint8 picture"):
        blend(np.zeros((0, 4, 3), np.uint8), np.zeros((0, 4, 3), np.uint8))


def test_pixels_in_no_region_are_drawn_without_colour_and_in_strips(monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    labels = np.kron(rng.integers(-1, 4, (6, 8)), np.ones((4, 4), int))[:23, :31]
    whole = draw_boundaries(image, labels, width=2)
    monkeypatch.setattr("supercuts.images.draw._STRIP_PIXELS", 100)
    np.testing.assert_array_equal(draw_boundaries(image, labels, width=2), whole)
    assert (random_colors(labels)[labels < 0] == 128).all()
    np.testing.assert_array_equal(random_colors(labels)[labels >= 0], random_colors(np.maximum(labels, 0))[labels >= 0])
    inside = labels == 2
    np.testing.assert_allclose(
        mean_color(image, labels)[inside], np.tile(image[inside].mean(0), (inside.sum(), 1)), atol=1
    )
