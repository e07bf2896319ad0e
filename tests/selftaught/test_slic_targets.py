from collections import Counter

import numpy as np
import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.selftaught.slic_targets import (
    TargetConfig,
    image_superpixels,
    slic_targets,
    thesis_targets,
    voted_targets,
)


def naive_vote(winners: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    voted = np.empty_like(winners)
    for one, cells, out in zip(winners, superpixels, voted, strict=True):
        for cell in np.unique(cells):
            counts = Counter(one[cells == cell].tolist())
            most = max(counts.values())
            out[cells == cell] = min(label for label, n in counts.items() if n == most)
    return voted


def test_votes_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    winners, superpixels = rng.integers(0, 4, (3, 9, 7)), rng.integers(0, 12, (3, 9, 7))
    found = voted_targets(torch.from_numpy(winners), torch.from_numpy(superpixels))
    np.testing.assert_array_equal(found, naive_vote(winners, superpixels))


def test_targets_carry_no_gradient():
    responses = torch.rand(2, 16, 8, 8, requires_grad=True)
    superpixels = torch.zeros(2, 8, 8, dtype=torch.long)
    for kind in ("voted", "thesis"):
        assert not slic_targets(responses, superpixels, kind).requires_grad
    assert slic_targets(responses, superpixels, "voted").unique().numel() <= 2  # one superpixel an image


def test_superpixels_follow_the_image():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    labels = image_superpixels(image, TargetConfig(superpixel_area_px=64))
    assert 8 <= labels.max() + 1 <= 24
    assert labels.min() == 0
    assert set(labels[:, :16].ravel()).isdisjoint(labels[:, 16:].ravel())
    assert not image_superpixels(image, TargetConfig(kind="thesis")).any()


def test_thesis_targets_are_segment_ids_of_the_label_map():
    winners = torch.zeros(2, 32, 32, dtype=torch.long)
    winners[:, :, 16:] = 60
    targets = thesis_targets(winners)
    assert targets.shape == winners.shape
    assert targets.min() == 1  # channel 0 is never a target
    assert targets.max() <= 12
    # at so low a compactness, ids follow the grey value of the class number
    left, right = set(targets[0, :, :14].unique().tolist()), set(targets[0, :, 18:].unique().tolist())
    assert left.isdisjoint(right)


def test_thesis_targets_do_not_depend_on_the_scaling_of_new_releases():
    """Without rescaling, doubling the class numbers halves the compactness in effect: both are near 0 here."""
    winners = torch.zeros(1, 16, 16, dtype=torch.long)
    winners[:, 8:] = 3
    torch.testing.assert_close(thesis_targets(winners), thesis_targets(2 * winners))


def test_one_class_everywhere_has_thesis_targets():
    assert thesis_targets(torch.full((1, 16, 16), 7)).min() == 1


def test_too_few_channels_for_the_segment_ids_are_refused():
    responses, superpixels = torch.rand(1, 4, 32, 32), torch.zeros(1, 32, 32, dtype=torch.long)
    with pytest.raises(InputError, match=r"classes=4 are fewer than the segment ids 1\.\.\d+: give 16 or more"):
        slic_targets(responses, superpixels, "thesis")
    assert slic_targets(responses, superpixels, "voted").max() < 4


def test_config_refuses_an_unknown_form():
    with pytest.raises(ValueError, match="'voted' or 'thesis'"):
        TargetConfig(kind="vote")
