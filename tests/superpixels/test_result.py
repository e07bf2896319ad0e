from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from supercuts.superpixels.result import Superpixels


def test_superpixels_are_frozen_int32_and_compare_by_identity():
    labels = np.zeros((2, 2), np.int32)
    superpixels = Superpixels(labels, 1)
    assert superpixels != Superpixels(labels, 1)
    with pytest.raises(FrozenInstanceError):
        superpixels.n = 2
    with pytest.raises(TypeCheckError):
        Superpixels(labels.astype(np.int64), 1)
