import numpy as np
import skimage.measure
from hypothesis import given
from hypothesis import strategies as st

from supercuts.superpixels.connectivity import connected_pieces


@given(seed=st.integers(0, 10_000), height=st.integers(1, 8), width=st.integers(1, 8))
def test_pieces_are_those_of_the_pairs_in_scan_order(seed, height, width):
    rng = np.random.default_rng(seed)
    labels, cells = rng.integers(0, 3, (2, height, width)).astype(np.int32)
    expected = skimage.measure.label(labels * 3 + cells, connectivity=1, background=-1) - 1
    _, first = np.unique(expected, return_index=True)
    np.testing.assert_array_equal(connected_pieces(labels, cells), np.argsort(np.argsort(first))[expected])
