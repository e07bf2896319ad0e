import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.hierarchy.tree import Hierarchy
from supercuts.objects.result import Objects, Parts
from supercuts.objects.shared_parts import PartDescriptors, describe_parts, paint_shared, share_parts


def described(features):
    features = np.array(features, np.float64).reshape(-1, 1)
    return PartDescriptors(features, np.zeros((len(features), 3)), np.zeros((len(features), 3)))


def test_parts_that_are_alike_share_a_number_in_all_images():
    numbers = share_parts([described([0.0, 5.0]), described([5.1, 0.1, 0.2])], 2)
    assert [one.tolist() for one in numbers] == [[1, 2], [2, 1, 1]]  # 1 is the most frequent


def test_groups_weigh_the_same_whatever_their_units():
    place = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1.0]])
    noise = np.random.default_rng(0).normal(0, 1, (4, 200))
    color = np.zeros((4, 3))
    for unit in (1.0, 1e4):
        (numbers,) = share_parts([PartDescriptors(noise * 0 + unit * (place[:, :1] + 0.01 * noise), color, place)], 2)
        assert numbers[0] == numbers[1] != numbers[2] == numbers[3]


def test_fewer_kinds_than_asked_for():
    (numbers,) = share_parts([described([1.0, 1.0, 3.0])], 5)
    assert numbers.tolist() == [1, 1, 2]


def test_descriptors_are_means_places_and_shares():
    labels = np.array([[0, 0, 1, 1], [2, 2, 1, 1]], np.int32)
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 255
    h = Hierarchy(
        labels,
        np.array([3, 3, 3, 3], np.int32),
        np.array([0, 0, 0, 0.5], np.float32),
        np.array([[1.0], [2.0], [3.0]], np.float32),
        image,
    )
    parts = Parts(np.array([[0, 1, 2, 2], [0, 1, 2, 2]], np.int32), np.zeros(2, np.int32))
    mask = parts.labels > 0
    objects = Objects(mask[None], np.ones(1, np.float32), mask.astype(np.float32))
    found = describe_parts(h, objects, parts)
    np.testing.assert_allclose(found.features, [[2.0], [2.0]])
    np.testing.assert_allclose(found.color[:, 0], [0, 100], atol=0.1)
    np.testing.assert_allclose(found.place, [[0.25, 0, 1 / 3], [0.25, 0.5, 2 / 3]])
    assert paint_shared(parts, np.array([2, 1], np.int32)).tolist() == [[0, 2, 1, 1]] * 2


def test_no_image_and_no_parts_are_refused():
    with pytest.raises(InputError, match="at least one image"):
        share_parts([], 2)
    with pytest.raises(InputError, match="at least one kind"):
        share_parts([described([1.0])], 0)
