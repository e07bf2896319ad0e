import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.export.rasters import PIXELS, partitions
from supercuts.export.vectors import features, mean_colors, outlines
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference


def flat(labels):
    """Return a hierarchy of one level above the leaves."""
    labels = np.array(labels, np.int32)
    n = int(labels.max()) + 1
    parents = np.full(n + 1, n, np.int32)
    altitudes = np.append(np.zeros(n, np.float32), np.float32(0.5))
    return Hierarchy(labels, parents, altitudes, np.zeros((n, 0), np.float32))


def rings_of(h, node):
    (outline,) = outlines(h, np.array([node], np.int32))
    return [[ring.tolist() for ring in polygon] for polygon in outline.polygons]


def sides_of(h, nodes):
    sides = []
    for outline in outlines(h, nodes):
        for ring in (ring.tolist() for polygon in outline.polygons for ring in polygon):
            sides += [(tuple(a), tuple(b)) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)]
    return sides


def test_a_hole_is_a_ring_against_the_clock():
    h = flat([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert rings_of(h, 0) == [[[[0, 0], [3, 0], [3, 3], [0, 3]], [[1, 2], [2, 2], [2, 1], [1, 1]]]]
    assert rings_of(h, 1) == [[[[1, 1], [2, 1], [2, 2], [1, 2]]]]
    assert rings_of(h, 2) == [[[[0, 0], [3, 0], [3, 3], [0, 3]]]]


def test_a_straight_border_has_a_point_where_others_meet_it():
    h = flat([[0, 0], [1, 2]])
    assert rings_of(h, 0) == [[[[0, 0], [2, 0], [2, 1], [1, 1], [0, 1]]]]


def test_pieces_that_touch_at_a_corner_are_two_polygons():
    assert [len(rings_of(flat([[0, 1], [1, 0]]), node)) for node in (0, 1)] == [2, 2]


def test_a_ring_that_closes_at_a_corner_is_valid_with_a_hole():
    shapely = pytest.importorskip("shapely")
    h = flat([[0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    (polygon,) = rings_of(h, 0)
    shape = shapely.Polygon(polygon[0], polygon[1:])
    assert (len(polygon), shape.is_valid, shape.area) == (2, True, 7.0)


def test_every_node_of_a_ragged_tree_is_its_pixels(ragged):
    shapely = pytest.importorskip("shapely")
    rows, columns = np.indices(ragged.shape)
    centres = shapely.points(columns.ravel() + 0.5, rows.ravel() + 0.5)
    nodes = np.arange(ragged.n_nodes, dtype=np.int32)
    for outline in outlines(ragged, nodes):
        shape = shapely.MultiPolygon([(rings[0], rings[1:]) for rings in outline.polygons])
        assert shape.is_valid, shapely.is_valid_reason(shape)
        mask = np.isin(ragged.labels, ragged.leaves_of(outline.node))
        np.testing.assert_array_equal(shapely.contains(shape, centres).reshape(ragged.shape), mask)
        assert shape.area == mask.sum()


def test_neighbours_share_every_point_of_their_border(ragged):
    """Each side between two kept points is walked once in each direction, or lies on the frame."""
    height, width = ragged.shape
    sides = sides_of(ragged, ragged.cut_nodes(level="part"))
    assert len(set(sides)) == len(sides)
    for a, b in set(sides) - {(b, a) for a, b in sides}:
        assert (a[0] == b[0] and a[0] in (0, width)) or (a[1] == b[1] and a[1] in (0, height))


def test_a_coarser_level_has_points_of_the_superpixels_only(ragged):
    finest = set(sides_of(ragged, np.arange(ragged.n_leaves, dtype=np.int32)))
    assert set(sides_of(ragged, ragged.cut_nodes(level="object"))) <= finest


def test_an_unknown_node_is_refused():
    with pytest.raises(InputError, match=r"node=9 is outside 0\.\.3"):
        list(outlines(flat([[0, 1, 2]]), np.array([9], np.int32)))


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


def test_a_renderer_draws_each_region_in_its_mean_colour(ragged, tmp_path):
    resvg_py = pytest.importorskip("resvg_py")
    ragged.export(tmp_path / "a.svg", "svg", regions=8)
    drawn = np.array(Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(tmp_path / "a.svg"))))))
    labels = ragged.cut(regions=8)
    for region in range(labels.max() + 1):
        mean = ragged.image[labels == region].mean(axis=0)
        np.testing.assert_allclose(
            drawn[labels == region, :3], np.broadcast_to(mean, (*drawn[labels == region, :3].shape,)), atol=0.51
        )
    assert (drawn[..., 3] == 255).all()


def test_levels_are_groups_whose_paths_name_their_nodes(ragged, tmp_path):
    ragged.export(tmp_path / "a.svg", "svg")
    root = ET.parse(tmp_path / "a.svg").getroot()
    assert root.get("viewBox") == "0 0 26 19"
    groups = {group.get("id"): [int(path.get("data-node")) for path in group] for group in root}
    assert list(groups) == ["scene", "object", "part", "superpixels"]
    assert groups["part"] == ragged.cut_nodes(level="part").tolist()


def test_colours_are_means_or_greys(small):
    (part,) = partitions(small, Granularity(regions=2))
    np.testing.assert_array_equal(mean_colors(small, part), [[3, 4, 5], [12, 13, 14]])
    bare = type(small)(small.labels, small.parents, small.altitudes, small.embeddings)
    colors = mean_colors(bare, part)
    assert (colors == colors[:, :1]).all()
    assert colors[0, 0] != colors[1, 0]
