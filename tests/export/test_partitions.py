import numpy as np

from supercuts.export.partitions import partitions
from supercuts.hierarchy.cuts import Granularity


def test_without_a_cut_every_level_and_the_superpixels(ragged):
    parts = partitions(ragged)
    assert [part.name for part in parts] == ["scene", "object", "part", "superpixels"]
    for part in parts[:3]:
        np.testing.assert_array_equal(part.labels, ragged.cut(level=part.name))
        np.testing.assert_array_equal(part.nodes, ragged.cut_nodes(level=part.name))
    np.testing.assert_array_equal(parts[3].labels, ragged.labels)


def test_a_cut_is_the_only_one(ragged):
    (part,) = partitions(ragged, Granularity(regions=7))
    assert part.name == "cut"
    np.testing.assert_array_equal(part.labels, ragged.cut(regions=7))
    np.testing.assert_array_equal(part.region_of_leaf(ragged)[ragged.labels], part.labels)
    assert partitions(ragged, Granularity(level="object"))[0].name == "object"
