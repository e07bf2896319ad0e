import numpy as np
import pytest

from supercuts.core.errors import FileFormatError
from supercuts.datasets.coco_masks import decode_segmentation


def pack(runs):
    """Write runs as pycocotools' rleToString does."""
    text = ""
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr((bits | 32 if more else bits) + 48)
    return text


def runs_of(mask):
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    return np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()


def test_a_pixel_belongs_to_a_polygon_when_its_centre_does():
    mask = decode_segmentation([[1, 1, 3.6, 1, 3.6, 3, 1, 3]], 4, 5)
    expected = np.zeros((4, 5), bool)
    expected[1:3, 1:4] = True  # centres 1.5, 2.5 and 3.5 lie inside
    np.testing.assert_array_equal(mask, expected)


def test_polygons_are_joined_reach_over_the_edge_and_may_be_stray_clicks():
    mask = decode_segmentation([[-5, -5, 1, -5, 1, 9, -5, 9], [2, 0, 9, 0, 9, 1, 2, 1], [0, 0, 1, 1]], 2, 4)
    np.testing.assert_array_equal(mask, [[1, 0, 1, 1], [1, 0, 0, 0]])


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 300)])
@pytest.mark.parametrize("form", ["list", "str", "bytes"])
def test_runs_give_their_mask_back(shape, form):
    rng = np.random.default_rng(3)
    mask = np.kron(rng.random((shape[0], -(-shape[1] // 60))) < 0.5, np.ones((1, 60), bool))[:, : shape[1]]
    runs = runs_of(mask)
    counts = runs if form == "list" else pack(runs) if form == "str" else pack(runs).encode()
    encoding = {"size": list(shape), "counts": counts}
    np.testing.assert_array_equal(decode_segmentation(encoding, *shape), mask)


def test_known_text_is_unpacked():
    """COCO's text of runs 4, 3, 2: one character each, 48 + the run."""
    mask = decode_segmentation({"size": [3, 3], "counts": "432"}, 3, 3)
    assert np.flatnonzero(mask.T.ravel()).tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [2, 2], "counts": [3, 3]},
        {"size": [2, 3], "counts": [5]},
        {"size": [2, 3], "counts": [9, -3]},
        {"counts": [6]},
        [[0, 0, 1]],
        [["a", "b"]],
        7,
    ],
)
def test_what_cannot_be_drawn_is_refused(segmentation):
    with pytest.raises(FileFormatError, match=r"of 2 rows and 3 columns cannot be drawn .*Expected polygons"):
        decode_segmentation(segmentation, 2, 3)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [2, 3], "counts": "o" * 300_000},
        {"size": [2, 3], "counts": [2**63 - 1, 2**63 - 1, 8]},
        {"size": [2, 3], "counts": "\u65e5"},
        [[float("inf")] * 6],
    ],
    ids=["no end", "overflow", "other characters", "infinite"],
)
def test_runs_and_corners_that_no_image_has_are_refused(segmentation):
    with pytest.raises(FileFormatError, match="cannot be drawn"):
        decode_segmentation(segmentation, 2, 3)
