from collections import Counter

import numpy as np
import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.refine.fit import Example, fit, label, majority_vote, respond
from supercuts.refine.refine_config import RefineConfig

SMALL = RefineConfig(n_features=12, n_classes=8, epochs=12, min_classes=0, precision="float32")


def halves(seed=0, height=16, width=20, channels=3):
    """Return a picture whose right half is brighter in its first channel."""
    image = np.random.default_rng(seed).random((height, width, channels), dtype=np.float32) * 0.1
    image[:, width // 2 :, 0] += 0.8
    return image


def squares(height=16, width=20, side=4):
    return (np.arange(height)[:, None] // side * 5 + np.arange(width) // side).astype(np.int32)


def accuracy(labels):
    """Return the share of pixels that two classes, one for each half, explain."""
    middle = labels.shape[1] // 2
    right, left = (np.bincount(part.ravel(), minlength=8) for part in (labels[:, middle:], labels[:, :middle]))
    return max(left[i] + right[j] for i in range(8) for j in range(8) if i != j) / labels.size


def test_st_finds_the_halves_and_stops_at_min_classes():
    steps = []
    config = SMALL.model_copy(update={"epochs": 150, "min_classes": 2, "nu": 5.0})
    network = fit([Example(halves())], config, steps.append)
    assert len(steps) < 150
    assert steps[-1].n_labels <= 2
    assert accuracy(label(network, Example(halves()), config)) > 0.9


def test_losses_fall_and_steps_are_reported():
    steps = []
    fit([Example(halves())], SMALL, steps.append)
    assert [step.number for step in steps] == list(range(12))
    assert steps[-1].loss < steps[0].loss
    assert steps[0].of == 12


def test_the_seed_decides_the_result():
    labels = [
        label(fit([Example(halves())], config), Example(halves()), config)
        for config in (SMALL, SMALL, SMALL.model_copy(update={"seed": 1}))
    ]
    np.testing.assert_array_equal(labels[0], labels[1])
    assert (labels[0] != labels[2]).any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_autocast_of_a_host_changes_nothing(precision):
    config = SMALL.model_copy(update={"epochs": 3, "precision": precision})
    usual = respond(fit([Example(halves())], config), halves())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(respond(fit([Example(halves())], config), halves()), usual)


@pytest.mark.parametrize("snap", [True, False])
def test_sp_labels_are_constant_within_superpixels_when_snapped(snap):
    config = SMALL.model_copy(update={"method": "sp", "nu": 0.0, "snap": snap, "epochs": 2})
    example = Example(np.random.default_rng(3).random((16, 20, 3), dtype=np.float32), squares())
    labels = label(fit([example], config), example, config)
    kinds = [np.unique(labels[example.superpixels == i]).size for i in range(20)]
    assert (max(kinds) == 1) == snap


@pytest.mark.parametrize("marked", ["none", "some", "all"])
def test_scribbled_pixels_keep_their_class(marked):
    scribbles = np.full((16, 20), -1, np.int32)
    if marked != "none":
        scribbles[4:6, 2:8], scribbles[4:6, 12:18] = 5, 2
    if marked == "all":
        scribbles[:, :10], scribbles[:, 10:] = 5, 2
    steps = []
    config = SMALL.model_copy(update={"epochs": 60})
    example = Example(halves(), scribbles=scribbles)
    network = fit([example], config, steps.append)
    labels = label(network, example, config)
    assert np.isfinite([step.loss for step in steps]).all()
    np.testing.assert_array_equal(labels[scribbles >= 0], scribbles[scribbles >= 0])
    if marked == "some":  # labels that the network has learned from them
        own = label(network, Example(halves()), config)
        assert (own[:, 10:] == 2).mean() > 0.8
        assert (own[:, :10] == 5).mean() > 0.8


def test_scribbles_end_it_at_their_number_of_classes():
    scribbles = np.full((16, 20), -1, np.int32)
    scribbles[2, 2:8], scribbles[2, 12:18] = 0, 1
    config = SMALL.model_copy(update={"epochs": 200, "min_classes": 5, "nu": 5.0})
    steps = []
    fit([Example(halves(), scribbles=scribbles)], config, steps.append)
    assert len(steps) < 200
    assert steps[-1].n_labels <= 2


def test_the_network_learns_initial_labels_first():
    initial = np.where(squares() % 5 >= 2, 6, 3).astype(np.int32)
    initial[:, 10:], initial[:, :10] = 6, 3
    config = SMALL.model_copy(update={"epochs": 40, "initial_steps": 40})
    labels = label(fit([Example(halves(), initial=initial)], config), Example(halves()), config)
    assert (labels == initial).mean() > 0.9


def test_images_of_a_network_share_its_classes():
    config = SMALL.model_copy(update={"epochs": 60, "nu": 2.0, "batch_size": 2})
    examples = [Example(halves(1)), Example(halves(2, 12, 30)), Example(halves(3, 24, 14))]
    steps = []
    network = fit(examples, config, steps.append)
    assert len(steps) == 120  # two batches an epoch
    seen, unseen = (label(network, Example(halves(s, h, w)), config) for s, h, w in ((1, 16, 20), (9, 18, 26)))
    assert np.bincount(seen[:, :10].ravel()).argmax() == np.bincount(unseen[:, :13].ravel()).argmax()
    assert np.bincount(seen[:, 10:].ravel()).argmax() == np.bincount(unseen[:, 13:].ravel()).argmax()


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(channels):
    network = fit([Example(halves(channels=channels))], SMALL.model_copy(update={"epochs": 1}))
    assert respond(network, halves(channels=channels)).shape == (1, 8, 16, 20)
    with pytest.raises(InputError, match="images like those it was fitted to"):
        respond(network, halves(channels=channels + 1))


def test_wrong_examples_are_refused():
    with pytest.raises(InputError, match="give at least one"):
        fit([], SMALL)
    with pytest.raises(InputError, match="give images of one kind"):
        fit([Example(halves()), Example(halves(channels=1))], SMALL)
    with pytest.raises(InputError, match="give each image's label map"):
        fit([Example(halves())], SMALL.model_copy(update={"method": "sp"}))
    with pytest.raises(InputError, match="set n_classes=9"):
        fit([Example(halves(), scribbles=np.full((16, 20), 8, np.int32))], SMALL)
    with pytest.raises(InputError, match="give a map of this image"):
        Example(halves(), squares(4, 4))


@pytest.mark.parametrize("seed", range(3))
def test_votes_are_those_counted_one_superpixel_at_a_time(seed):
    rng = np.random.default_rng(seed)
    labels, superpixels = rng.integers(0, 5, (20, 30)), rng.integers(0, 40, (20, 30))
    voted = majority_vote(labels, superpixels, 5)
    for i in np.unique(superpixels):
        counts = Counter(labels[superpixels == i].tolist())
        expected = min(label for label, count in counts.items() if count == max(counts.values()))
        assert set(voted[superpixels == i].tolist()) == {expected}


def test_superpixels_of_one_pixel_change_nothing():
    labels = np.arange(6).reshape(2, 3) % 4
    np.testing.assert_array_equal(majority_vote(labels, np.arange(6).reshape(2, 3), 4), labels)
