"""Exports of hierarchies with masked pixels, read back by other programs.

Every file has the regions of the hierarchy, no region at masked pixels, and areas that add up to the valid pixels.
"""

import contextlib
import io
import json
import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from scipy.cluster import hierarchy as scipy_hierarchy

from supercuts.export.sam import masks
from supercuts.images.georeference import Georeference
from supercuts.merging.gnn import Data, HeteroData

LEVELS = ["scene", "object", "part", "superpixels"]


def labels_of(h, name):
    return h.labels if name == "superpixels" else h.cut(level=name)


def area_of(h):
    return int((h.labels >= 0).sum())


def neighbours(labels):
    """Return the pairs of regions that touch, pixel pair by pixel pair, of a label map with -1."""
    sides = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    pairs = np.concatenate([np.stack([first.ravel(), second.ravel()], axis=1) for first, second in sides])
    pairs = pairs[(pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])]
    actual, counts = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    return [tuple(pair) for pair in actual.tolist()], counts


def check_polygons(frame, labels):
    """Check that polygons in pixels are the regions, leave out pixels of label -1, and do not overlap."""
    shapely = pytest.importorskip("shapely")
    assert frame.geometry.is_valid.all()
    n_valid = (labels >= 0).sum()
    assert shapely.area(frame.geometry.values).sum() == n_valid == shapely.union_all(frame.geometry.values).area
    rows, columns = np.indices(labels.shape)
    points = shapely.points(columns.ravel() + 0.5, rows.ravel() + 0.5)
    painted = np.full(labels.size, -1)
    for region, shape in zip(frame["region"], frame.geometry, strict=True):
        painted[shapely.contains(shape, points)] = region
    np.testing.assert_array_equal(painted.reshape(labels.shape), labels)


def test_the_hierarchy_is_as_these_tests_need_it(holed):
    assert 100 < area_of(holed) < holed.labels.size - 100
    assert len(holed.levels) == 3
    assert 1 < holed.cut_nodes(level="object").size < holed.n_leaves


def test_ome_zarr(holed, tmp_path):
    pytest.importorskip("ome_zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the packages it imports
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        holed.export(tmp_path / "a.zarr", "ome-zarr")
        nodes = list(Reader(parse_url(tmp_path / "a.zarr"))())
    actual = {node.zarr.basename(): np.asarray(node.data[0]) for node in nodes if node.data}
    for level in LEVELS:
        np.testing.assert_array_equal(actual[level], labels_of(holed, level) + 1)  # 0 is background
        assert np.bincount(actual[level].ravel())[1:].sum() == area_of(holed)


def test_geojson(holed, tmp_path):
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    holed.export(tmp_path / "a.geojson", "geojson")
    frame = geopandas.read_file(tmp_path / "a.geojson")
    for level in LEVELS:
        layer = frame[frame["layer"] == level]
        check_polygons(layer, labels_of(holed, level))
        assert layer["area_px"].sum() == area_of(holed)
    holed.export(tmp_path / "b.geojson", "geojson", every_node=True)
    every = geopandas.read_file(tmp_path / "b.geojson")
    np.testing.assert_array_equal(shapely.area(every.geometry.values), holed.areas())


def test_geopackage(holed, tmp_path):
    geopandas = pytest.importorskip("geopandas")
    pytest.importorskip("pyogrio")
    holed.export(tmp_path / "a.gpkg", "gpkg")
    for level in LEVELS:
        layer = geopandas.read_file(tmp_path / "a.gpkg", layer=level)
        check_polygons(layer, labels_of(holed, level))
        assert layer["area_px"].sum() == area_of(holed)


def test_geotiff(holed, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    placed = replace(holed, georeference=Georeference((0.3, 0.02, 500_000.1, 0.01, -0.3, 5_400_000.7), "EPSG:32632"))
    placed.export(tmp_path / "a.tif", "geotiff")
    with rasterio.open(tmp_path / "a.tif") as file:
        for band, level in enumerate(LEVELS, start=1):
            values = file.read(band, masked=True)
            expected = labels_of(holed, level)
            np.testing.assert_array_equal(np.where(values.mask, -1, values.data.astype(int)), expected)
            np.testing.assert_array_equal(values.mask, holed.labels < 0)
            np.testing.assert_array_equal(file.read_masks(band) > 0, holed.labels >= 0)
        np.testing.assert_array_equal(file.dataset_mask() > 0, holed.labels >= 0)


def test_coco(holed, tmp_path):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    holed.export(tmp_path / "a.json", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "a.json"))
    for node, annotation in enumerate(coco.loadAnns(coco.getAnnIds(imgIds=[1]))):
        mask = coco.annToMask(annotation)
        np.testing.assert_array_equal(mask, np.isin(holed.labels, holed.leaves_of(node)))
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert annotation["area"] == mask.sum()
    assert annotation["area"] == area_of(holed)  # the root's


@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_masks_as_of_a_generator(holed, mode):
    coco = None if mode == "binary_mask" else pytest.importorskip("pycocotools.mask")
    listed = masks(holed, LEVELS, output_mode=mode)
    for entry in listed:
        if mode == "uncompressed_rle":
            entry["segmentation"] = coco.decode(coco.frPyObjects(entry["segmentation"], *holed.shape)) > 0
        elif mode == "coco_rle":
            entry["segmentation"] = coco.decode(entry["segmentation"]) > 0
    for level in LEVELS:
        chosen, labels = [entry for entry in listed if entry["level"] == level], labels_of(holed, level)
        assert sum(item["area"] for item in chosen) == area_of(holed)
        for region, entry in enumerate(chosen):
            np.testing.assert_array_equal(entry["segmentation"], labels == region)
            ((x, y),) = entry["point_coords"]
            assert entry["segmentation"][y, x]
            if entry["parent"] is not None:
                assert listed[entry["parent"]]["segmentation"][entry["segmentation"]].all()


def test_sam_with_least_area(holed):
    listed = masks(holed, ["object", "superpixels"], min_mask_region_area=20)
    for level in ("object", "superpixels"):
        chosen = [entry["segmentation"] for entry in listed if entry["level"] == level]
        np.testing.assert_array_equal(np.sum(chosen, axis=0), holed.labels >= 0)


def test_pytorch_geometric(holed, tmp_path):
    holed.export(tmp_path / "a.pt", "pyg", level="part")
    data = Data.from_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    data.validate()
    labels = holed.cut(level="part")
    pairs, lengths = neighbours(labels)
    n_edges = len(pairs)
    assert [tuple(pair) for pair in data.edge_index[:, :n_edges].T.tolist()] == pairs
    np.testing.assert_array_equal(data.edge_attr[:n_edges, 0], lengths)
    np.testing.assert_array_equal(data.node, holed.cut_nodes(level="part"))
    areas = np.bincount(labels[labels >= 0])
    np.testing.assert_allclose(data.x[:, -1] * area_of(holed), areas, rtol=1e-5)
    table = holed.region_table()
    np.testing.assert_allclose(data.pos, table.centroid_yx[data.node], rtol=1e-5)


def test_graph_features_do_not_see_the_pixels_in_no_leaf(holed, tmp_path):
    noise = np.random.default_rng(9).integers(0, 256, holed.image.shape, dtype=np.uint8)
    second = replace(holed, image=np.where(holed.labels[..., None] < 0, noise, holed.image))
    for name, h in (("a.pt", holed), ("b.pt", second)):
        h.export(tmp_path / name, "pyg")
    first, two = (Data.from_dict(torch.load(tmp_path / name, weights_only=True)) for name in ("a.pt", "b.pt"))
    torch.testing.assert_close(first.x, two.x, rtol=0, atol=0)
    torch.testing.assert_close(first.edge_attr, two.edge_attr, rtol=0, atol=0)


def test_levels_of_pytorch_geometric(holed, tmp_path):
    holed.export(tmp_path / "a.pt", "pyg-levels")
    data = HeteroData.from_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    data.validate()
    is_in = holed.labels >= 0
    for coarse, fine in pairwise(LEVELS):
        child, parent = data[fine, "in", coarse].edge_index
        assert child.tolist() == list(range(data[fine].num_nodes))
        np.testing.assert_array_equal(parent.numpy()[labels_of(holed, fine)[is_in]], labels_of(holed, coarse)[is_in])
    for level in LEVELS:
        pairs, _ = neighbours(labels_of(holed, level))
        touches = data[level, "touches", level].edge_index
        assert sorted(tuple(pair) for pair in touches.T.tolist() if pair[0] < pair[1]) == pairs


def test_folder_of_masks(holed, tmp_path):
    holed.export(tmp_path / "out", "masks")
    index = json.loads((tmp_path / "out/index.json").read_text())
    for level in LEVELS[:3]:
        painted = np.full(holed.shape, -1)
        entries = [entry for entry in index["masks"] if entry["level"] == level]
        for entry in entries:
            with Image.open(tmp_path / "out" / entry["file"]) as image:
                mask = np.array(image)
            assert entry["area"] == (mask == 255).sum()
            assert (painted[mask == 255] == -1).all()
            painted[mask == 255] = entry["region"]
        np.testing.assert_array_equal(painted, holed.cut(level=level))
        assert sum(entry["area"] for entry in entries) == area_of(holed)


def test_svg(holed, tmp_path):
    resvg_py = pytest.importorskip("resvg_py")
    holed.export(tmp_path / "a.svg", "svg", regions=8)
    drawn = np.array(Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(tmp_path / "a.svg"))))))
    labels = holed.cut(regions=8)
    np.testing.assert_array_equal(drawn[..., 3], np.where(labels >= 0, 255, 0))
    for region in range(8):
        mean = holed.image[labels == region].mean(axis=0)
        assert np.abs(drawn[labels == region, :3] - mean).max() <= 0.51


def test_svg_without_a_renderer(holed, tmp_path):
    holed.export(tmp_path / "a.svg", "svg", regions=8)
    root = ET.parse(tmp_path / "a.svg").getroot()
    rings = [ring for path in root[0] for ring in path.get("d").strip("MZ").split("ZM")]
    corners = [np.array([point.split() for point in ring.split("L")], float) for ring in rings]
    # outer rings count positive, those of holes negative
    areas = [np.sum(c[:, 0] * np.roll(c[:, 1], -1) - c[:, 1] * np.roll(c[:, 0], -1)) / 2 for c in corners]
    assert sum(areas) == area_of(holed)


@pytest.mark.parametrize("suffix", [".graphml", ".json"])
def test_networkx(holed, tmp_path, suffix):
    def read(path):
        if suffix == ".graphml":
            return nx.read_graphml(path, node_type=int)
        return nx.node_link_graph(json.loads(path.read_text()), edges="edges")

    for name, how in (("rag", {"level": "object"}), ("tree", {})):
        holed.export(tmp_path / f"{name}{suffix}", f"networkx-{name}", **how)
    graph, tree = read(tmp_path / f"rag{suffix}"), read(tmp_path / f"tree{suffix}")
    labels = holed.cut(level="object")
    assert sorted(tuple(sorted(edge)) for edge in graph.edges) == neighbours(labels)[0]
    assert [graph.nodes[node]["area"] for node in sorted(graph)] == np.bincount(labels[labels >= 0]).tolist()
    assert nx.is_arborescence(tree)
    assert [tree.nodes[node]["area"] for node in range(holed.n_nodes)] == holed.areas().tolist()
    assert tree.nodes[holed.root]["area"] == area_of(holed)


def test_linkage(holed, tmp_path):
    holed.export(tmp_path / "a.npy", "linkage")
    matrix = np.load(tmp_path / "a.npy")
    assert scipy_hierarchy.is_valid_linkage(matrix, throw=True)
    is_in = holed.labels >= 0
    for altitude in np.unique(holed.altitudes):
        clusters = scipy_hierarchy.fcluster(matrix, altitude, "distance")[holed.labels[is_in]]
        cut = holed.cut(altitude=float(altitude))[is_in]
        assert len(set(zip(clusters.tolist(), cut.tolist(), strict=True))) == np.unique(cut).size
        assert np.unique(clusters).size == np.unique(cut).size


def test_ucm(holed, tmp_path):
    holed.export(tmp_path / "a.mat", "ucm")
    ucm = scipy.io.loadmat(tmp_path / "a.mat")["ucm2"]
    is_in = holed.labels >= 0
    across, along = ucm[1::2, 2:-1:2], ucm[2:-1:2, 1::2]
    for contour, first, second in ((across, is_in[:, :-1], is_in[:, 1:]), (along, is_in[:-1], is_in[1:])):
        assert (contour[first != second] == 1).all()
        assert not contour[~first & ~second].any()
    labels = holed.cut(level="object")
    threshold = np.float32(max(holed.levels[name] for name in ("object", "part")))
    for contour, first, second in ((across, labels[:, :-1], labels[:, 1:]), (along, labels[:-1], labels[1:])):
        both = (first >= 0) & (second >= 0)
        np.testing.assert_array_equal((contour > threshold)[both], (first != second)[both])
