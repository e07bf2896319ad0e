import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.refine.config import PartitionConfig
from supercuts.refine.partition import partition


@pytest.mark.parametrize("method", ["slic", "felzenszwalb"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_superpixels_are_numbered_without_gaps(method, channels):
    noise = np.random.default_rng(0).random((32, 40, channels), dtype=np.float32)
    image = np.linspace(0, 0.9, 40, dtype=np.float32)[:, None] + 0.1 * noise
    labels = partition(image, PartitionConfig(method=method, n_segments=20))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() >= 4


def test_our_own_come_from_the_caller():
    with pytest.raises(InputError, match="give the labels of its superpixels"):
        partition(np.zeros((4, 4, 3), np.float32), PartitionConfig())
