import numpy as np
import pytest

from supercuts.core.errors import InputError
from supercuts.export.features import features
from supercuts.export.georeference import PIXELS, Georeference
from supercuts.hierarchy.cuts import Granularity


def signed_area(ring):
    x, y = np.array(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def test_properties_are_those_of_the_node(small):
    layers = dict(features(small, PIXELS, None, every_node=False))
    assert list(layers) == ["scene", "object", "part", "superpixels"]
    first = layers["object"][0]
    assert first.properties == {
        "layer": "object",
        "region": 0,
        "node": 3,
        "parent": 4,
        "level": "object",
        "area_px": 3,
        "altitude": 0.25,
    }
    assert first.coordinates == [[[[0, 0], [2, 0], [3, 0], [3, 1], [2, 1], [0, 1], [0, 0]]]]


@pytest.mark.parametrize("place", [PIXELS, Georeference((2, 0, 7, 0, -2, 9))])
def test_outer_rings_run_against_the_clock(ragged, place):
    for _, layer in features(ragged, place, None, every_node=True):
        for feature in layer:
            for outer, *holes in feature.coordinates:
                assert signed_area(outer) > 0
                assert all(signed_area(hole) < 0 for hole in holes)


def test_every_node_is_one_layer(small):
    ((name, layer),) = features(small, PIXELS, None, every_node=True)
    assert (name, [feature.properties["area_px"] for feature in layer]) == ("nodes", [2, 1, 3, 3, 6])
    with pytest.raises(InputError, match="every_node writes the whole tree: leave out regions"):
        list(features(small, PIXELS, Granularity(regions=2), every_node=True))
