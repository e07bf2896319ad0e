import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from supercuts.export.partitions import partitions
from supercuts.export.svg import mean_colors
from supercuts.hierarchy.cuts import Granularity


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
