import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as draw_arrays

from supercuts.evaluate.superpixels import SuperpixelFigures
from supercuts.metrics.superpixel import n_fragments

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
POINT = SuperpixelFigures(*[0.5] * 11)


@pytest.fixture(scope="module")
def scripts():
    """Return the modules of the benchmark: scripts find each other by their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield {name: importlib.import_module(name) for name in ("peers", "peer_methods", "peer_plot")}


def test_stray_components_join_across_their_longest_border(scripts):
    labels = np.array([[0, 0, 1, 1], [0, 2, 1, 0], [2, 2, 1, 1]])  # the last 0 touches 1 on three sides
    expected = np.array([[0, 0, 1, 1], [0, 2, 1, 1], [2, 2, 1, 1]])
    np.testing.assert_array_equal(scripts["peer_methods"].connect(labels), expected)


@given(draw_arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)))
def test_connected_labels_keep_their_largest_components(labels):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        connect = importlib.import_module("peer_methods").connect
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    joined = connect(labels)
    assert n_fragments(joined) == 0
    assert np.unique(joined).tolist() == list(range(labels.max() + 1))
    if n_fragments(labels) == 0:
        np.testing.assert_array_equal(joined, labels)


def test_scores_are_interpolated_over_the_logarithm_of_the_count(scripts):
    curve = [replace(POINT, n_superpixels=400.0, asa=0.9), replace(POINT, n_superpixels=100.0, asa=0.8)]
    at_count = scripts["peers"].at_count
    assert at_count(curve, 200)[0] == pytest.approx(0.85)
    assert at_count(curve, 100)[0] == pytest.approx(0.8)
    assert at_count(curve, 401) is None
    assert at_count([], 100) is None


def test_every_peer_that_is_installed_segments(scripts):
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    for name in scripts["peers"].available(None):
        peer = scripts["peer_methods"].PEERS[name]
        labels = scripts["peer_methods"].segment(peer, image, peer.settings[0])
        assert labels.shape == (48, 64), name
        assert np.unique(labels).tolist() == list(range(labels.max() + 1)), name
        assert not peer.connect or n_fragments(labels) == 0, name


def test_ours_is_compared_with_a_peer_on_the_same_images(scripts):
    ours = [[replace(POINT, n_superpixels=float(n), asa=0.9 + i / 100) for n in (100, 400)] for i in range(3)]
    peer = [[replace(POINT, n_superpixels=float(n), asa=0.8 + i / 100) for n in (100, 400)] for i in range(3)]
    row, header = scripts["peers"].row("peer", {"SuperCuts": ours, "peer": peer}, 200), scripts["peers"].HEADER
    cells = dict(zip(header, row, strict=True))
    assert cells["images"] == "3 of 3"
    assert cells["ASA"] == "0.8100"
    assert cells["SuperCuts minus it, ASA"] == "+0.1000 (+0.1000 to +0.1000)"
    few = scripts["peers"].row("peer", {"SuperCuts": ours, "peer": peer}, 1000)
    assert few[1] == "0 of 3"
    assert set(few[2:]) == {"-"}


def test_plot_leaves_out_methods_with_stray_components(scripts, tmp_path):
    scores = {"asa": 0.9, "undersegmentation_error": 0.1, "boundary_recall": 0.8, "compactness": 0.3}
    points = [{"n_superpixels": n, **scores} for n in (100.0, 1000.0)]
    curves = {"SuperCuts": points, "OpenCV LSC": points, "OpenCV LSC, as it comes": points}
    path = tmp_path / "peers.svg"
    scripts["peer_plot"].draw_curves(path, curves, "SuperCuts")
    drawn = path.read_text()
    assert "OpenCV LSC" in drawn
    assert "as it comes" not in drawn
