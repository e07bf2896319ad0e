from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from supercuts.superpixels.result import PixelMaps, Superpixels


def make_maps(**changes: np.ndarray) -> PixelMaps:
    maps = {
        "color": np.zeros((3, 4, 6), np.float32),
        "boundary": np.zeros((4, 6), np.float32),
        "embeddings": np.zeros((5, 4, 6), np.float32),
    }
    return PixelMaps(**(maps | changes))


def test_shape_is_height_and_width():
    assert make_maps().shape == (4, 6)
    assert make_maps(embeddings=np.zeros((0, 4, 6), np.float32)).shape == (4, 6)
    assert make_maps(color=np.zeros((7, 4, 6), np.float32)).shape == (4, 6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"boundary": np.zeros((4, 6))},
        {"boundary": np.zeros((6, 4), np.float32)},
        {"color": np.zeros((4, 6, 3), np.float32)},
        {"embeddings": np.zeros((5, 4, 7), np.float32)},
    ],
    ids=["float64", "transposed", "channels last", "another width"],
)
def test_maps_of_another_kind_or_size_are_refused(wrong):
    with pytest.raises(TypeCheckError):
        make_maps(**wrong)


def test_superpixels_are_frozen_int32_and_compare_by_identity():
    labels = np.zeros((2, 2), np.int32)
    superpixels = Superpixels(labels, 1)
    assert superpixels != Superpixels(labels, 1)
    with pytest.raises(FrozenInstanceError):
        superpixels.n = 2
    with pytest.raises(TypeCheckError):
        Superpixels(labels.astype(np.int64), 1)
