import json
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercuts.core.errors import InputError
from supercuts.export import npz
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images import draw


def arrays_of(h):
    names = ("labels", "parents", "altitudes", "embeddings")
    return {name: getattr(h, name).copy() for name in names} | {"image": h.image, "levels": h.levels}


def below(h, node):
    """Return the leaves under a node by walking up from each leaf: independent of the kernels."""
    actual = []
    for leaf in range(h.n_leaves):
        at = leaf
        while at != node and h.parents[at] != at:
            at = h.parents[at]
        if at == node:
            actual.append(leaf)
    return actual


def test_properties_and_repr(hand):
    assert (hand.shape, hand.n_leaves, hand.n_nodes, hand.root) == ((2, 4), 5, 9, 8)
    assert repr(hand) == "Hierarchy(2x4, 5 leaves, levels scene 0.75, object 0.50, part 0.25)"
    without = Hierarchy(**arrays_of(hand) | {"levels": {}})
    assert repr(without) == "Hierarchy(2x4, 5 leaves, no levels)"


def test_levels_are_kept_coarsest_first_as_floats(as_installed, hand):
    h = Hierarchy(**arrays_of(hand) | {"levels": {"part": np.float32(0.25), "scene": 1}})
    assert list(h.levels.items()) == [("scene", 1.0), ("part", 0.25)]
    assert all(type(altitude) is float for altitude in h.levels.values())


def test_one_leaf_is_a_tree():
    h = Hierarchy(
        np.zeros((2, 3), np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros((1, 0), np.float32)
    )
    assert h.cut(regions=1).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert h.cut(granularity=1).max() == h.cut(altitude=0).max() == 0
    assert h.ucm().shape == (5, 7)
    assert not h.ucm().any()
    assert h.children(0).size == h.ancestors(0).size == 0
    assert h.select(point=(1, 2)).all()


def test_walking_the_hand_worked_tree(hand):
    assert hand.children(7).tolist() == [2, 6]
    assert hand.children(8).tolist() == [5, 7]
    assert hand.children(0).tolist() == []
    assert (hand.parent(3), hand.parent(8)) == (6, 8)
    assert hand.ancestors(3).tolist() == [6, 7, 8]
    assert hand.ancestors(8).tolist() == []
    assert hand.leaves_of(7).tolist() == [2, 3, 4]
    assert hand.leaves_of(1).tolist() == [1]
    assert hand.areas().tolist() == [2, 2, 2, 1, 1, 4, 2, 4, 8]


def test_region_table_of_the_hand_worked_tree(hand):
    table = hand.region_table()
    assert table.bbox_yxyx[[4, 5, 7, 8]].tolist() == [[1, 3, 2, 4], [0, 0, 1, 4], [1, 0, 2, 4], [0, 0, 2, 4]]
    assert table.centroid_yx[[1, 7, 8]].tolist() == [[0, 2.5], [1, 1.5], [0.5, 1.5]]
    # scene, cut at .75, is the root; object, cut at .5, is 5 and 7; part, cut at .25, is 5 (already object), 2 and 6
    assert table.level.tolist() == ["", "", "part", "", "", "object", "part", "object", "scene"]
    columns = json.loads(json.dumps(table.to_dict()))
    assert columns["area"] == [2, 2, 2, 1, 1, 4, 2, 4, 8]
    assert columns["parent"] == hand.parents.tolist()
    assert set(columns) == {"node", "parent", "area", "bbox_yxyx", "centroid_yx", "altitude", "level"}


@given(data=st.data())
def test_region_table_matches_masks(hierarchies, data):
    h = data.draw(hierarchies)
    table = h.region_table()
    for node in range(h.n_nodes):
        leaves = below(h, node)
        assert h.leaves_of(node).tolist() == leaves
        assert h.children(node).tolist() == [c for c in range(h.n_nodes - 1) if h.parents[c] == node]
        ys, xs = np.nonzero(np.isin(h.labels, leaves))
        assert table.area[node] == h.areas()[node] == ys.size
        assert table.bbox_yxyx[node].tolist() == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
        np.testing.assert_allclose(table.centroid_yx[node], [ys.mean(), xs.mean()])
        named = [name for name in ("scene", "object", "part") if name in h.levels and node in h.cut_nodes(level=name)]
        assert table.level[node] == (named[0] if named else "")


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("parents", 8, 7, r"node 8 .*the last node is the root and must be its own parent"),
        ("parents", 6, 5, r"node 6 .*must be higher than its child's"),
        ("parents", 3, 9, r"node 3 .*must be higher than its child's and below 9"),
        ("parents", 3, -1, r"node 3 .*must be higher than its child's"),
        ("parents", 2, 4, r"node 2 .*must be an inner node, 5 or higher"),
        ("parents", 3, 8, r"node 6 .*at least two children.*leaves first, root last"),
        ("altitudes", 2, 0.1, r"node 2 .*a leaf's altitude must be 0"),
        ("altitudes", 6, 0.6, r"node 6 .*must not exceed its parent's, 0.5.*rise to the root"),
        ("altitudes", 6, np.nan, r"node 6 .*must lie in 0..1"),
        ("altitudes", 8, np.nan, r"node 8 .*must lie in 0..1"),
        ("altitudes", 8, 1.5, r"node 8 .*must lie in 0..1"),
        ("altitudes", 6, -0.5, r"node 3 .*must not exceed its parent's, -0.5"),
        ("labels", (0, 0), 7, r"labels hold 7, outside the leaves 0..4.*relabel_consecutive"),
        ("labels", (0, 0), -2, r"labels hold -2, outside"),
        ("labels", (1, 2), 4, r"leaf 3 has no pixel.*relabel_consecutive"),
    ],
)
def test_refuses_arrays_that_are_not_a_tree(hand, field, index, value, message):
    arrays = arrays_of(hand)
    arrays[field][index] = value
    with pytest.raises(InputError, match=message):
        Hierarchy(**arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((2, 4), np.int64)}, r"labels is int64 \(2, 4\).*np.asarray\(labels, dtype=np.int32\)"),
        ({"parents": np.zeros((9, 1), np.int32)}, r"parents is int32 \(9, 1\); expected .* with 1 axes"),
        ({"parents": [0]}, r"parents is list"),
        ({"embeddings": np.zeros((4, 2), np.float32)}, r"4 embeddings, 9 parents and 9 altitudes do not make a tree"),
        ({"altitudes": np.zeros(8, np.float32)}, r"8 altitudes do not make a tree"),
        ({"embeddings": np.zeros((0, 2), np.float32)}, r"0 embeddings"),
        ({"image": np.zeros((4, 2, 3), np.uint8)}, r"image \(4, 2, 3\) does not fit labels \(2, 4\)"),
        ({"image": np.zeros((2, 4, 3), np.float32)}, r"image is float32"),
        ({"levels": {"detail": 0.5}}, r"'detail' is unknown. Choose one of: scene, object, part"),
        ({"levels": {"part": float("nan")}}, r"levels\['part'\]=nan is outside 0..1. .*recalibrate"),
    ],
)
def test_refuses_arrays_that_do_not_fit(as_installed, hand, change, message):
    with pytest.raises(InputError, match=message):
        Hierarchy(**arrays_of(hand) | change)


@pytest.mark.parametrize("node", [-1, 9])
@pytest.mark.parametrize("method", ["children", "parent", "ancestors", "leaves_of"])
def test_refuses_a_node_the_tree_lacks(hand, method, node):
    with pytest.raises(InputError, match=rf"node={node} is outside 0..8. .*root is the last"):
        getattr(hand, method)(node)


ARRAYS = ("labels", "parents", "altitudes", "embeddings", "image")


@pytest.fixture
def photo(hand):
    return replace(hand, image=np.arange(24, dtype=np.uint8).reshape(2, 4, 3))


def answers(h):
    """Return what the methods that run kernels return, as lists."""
    edited = h.merge(0, 2).lock(3)
    queries = [
        *(h.cut(regions=3, min_area=2), h.cut_nodes(level="object"), h.cut(regions=3, focus=(0, 0)), h.ucm()),
        *(h.select(point=(0, 0), grow=1), h.select(box=(0, 1, 2, 3), max_nodes=2), h.ancestors(3), h.areas()),
        *(h.select(points={1: [(0, 0)], 2: [(1, 3)]}), h.segment_scribbles({1: [(0, 0)], 2: [(1, 3)]}), h.children(8)),
        *(edited.cut(regions=3), edited.undo().undo().cut(regions=3), h.overlay(level="object"), h.overlay()),
    ]
    return [query.tolist() for query in queries] + [h.region_table().to_dict()]


def scribble_over(*arrays):
    """Fill arrays with values that would take a kernel, which does not check bounds, out of its arrays."""
    for array in arrays:
        array[...] = {"i": 2**30, "u": 255, "f": np.nan}[array.dtype.kind]


@pytest.mark.parametrize("way", [lambda h: h, lambda h: pickle.loads(pickle.dumps(h)), lambda h: h.merge(0, 2).undo()])
def test_nothing_written_into_an_array_reaches_the_hierarchy(photo, way):
    expected, given = answers(photo), arrays_of(photo)
    base = np.zeros((4, 4), np.int32)
    base[:2] = given["labels"]
    ours, views = Hierarchy(**given), Hierarchy(**given | {"labels": base[:2]})
    locked = base[:2]
    locked.flags.writeable = False  # a read-only view of an array that its owner can still write into
    view = Hierarchy(**given | {"labels": locked})
    for h in map(way, (ours, views, view)):
        scribble_over(*(getattr(h, name) for name in ARRAYS))
        scribble_over(h.cut(regions=2), h.cut_nodes(regions=2), h.areas(), h.region_table().parent, h.overlay())
        assert answers(h) == expected
    scribble_over(base, *(given[name] for name in ARRAYS))
    for h in map(way, (ours, views, view)):
        assert answers(h) == expected


def test_arrays_of_a_hierarchy_belong_to_who_reads_them(photo):
    for name in ARRAYS:
        first, second = getattr(photo, name), getattr(photo, name)
        assert first.flags.writeable
        assert first.flags.c_contiguous
        assert not np.shares_memory(first, second)
        with pytest.raises(AttributeError, match=name):
            setattr(photo, name, first)


def test_the_package_itself_copies_no_array_of_a_hierarchy(photo, tmp_path, monkeypatch):
    def refuse(self, h, kind=None):
        raise AssertionError("an array was copied")

    monkeypatch.setattr(Hierarchy.labels.__class__, "__get__", refuse)
    with pytest.raises(AssertionError, match="copied"):
        _ = photo.labels
    answers(photo)
    photo.lock(5).save(tmp_path / "h.npz")
    h = npz.read(tmp_path / "h.npz")
    for path in ("a.geojson", "a_coco.json", "a.html", "a.svg", "a_labels.png"):
        h.export(tmp_path / path)
    assert {path.name for path in tmp_path.iterdir()} > {"a.geojson", "a_coco.json", "a.html"}


def test_other_memory_orders_and_pickling_are_taken(hand):
    arrays = arrays_of(hand)
    h = Hierarchy(**arrays | {"labels": np.asfortranarray(arrays["labels"])})
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(h)).ucm(), hand.ucm())
    assert h.labels.flags.c_contiguous


def test_a_pickled_hierarchy_is_validated(hand):
    class Forged:
        def __reduce__(self):
            return Hierarchy, tuple((arrays_of(hand) | {"labels": np.full((2, 4), 2**30, np.int32)}).values())

    with pytest.raises(InputError, match="outside the leaves"):
        pickle.loads(pickle.dumps(Forged()))


@given(data=st.data())
def test_save_and_read_give_equal_arrays(hierarchies, tmp_path_factory, data):
    h = data.draw(hierarchies)
    path = tmp_path_factory.mktemp("saved") / "h.npz"
    h.save(path)
    back = npz.read(path)
    for name in ("labels", "parents", "altitudes", "embeddings", "image"):
        ours, theirs = getattr(h, name), getattr(back, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(theirs, ours, strict=True)
    assert list(back.levels.items()) == list(h.levels.items())


def test_export_lists_the_formats(hand, tmp_path):
    with pytest.raises(InputError, match=r"format='bmp' is unknown. Choose one of: npz, ucm, labels"):
        hand.export(tmp_path / "h.bmp", "bmp")


@pytest.mark.slow
def test_speed_on_a_photograph_sized_tree():
    rng = np.random.default_rng(0)
    labels = (np.arange(321)[:, None] // 17 * 25 + np.arange(481) // 20).astype(np.int32)
    n_leaves = int(labels.max()) + 1
    parents, top = np.arange(2 * n_leaves - 1, dtype=np.int32), list(range(n_leaves))
    for node in range(n_leaves, 2 * n_leaves - 1):
        for _ in range(2):
            parents[top.pop(rng.integers(len(top)))] = node
        top.append(node)
    altitudes = np.concatenate([np.zeros(n_leaves), np.linspace(0, 1, n_leaves - 1)]).astype(np.float32)
    arrays = (labels, parents, altitudes, np.zeros((n_leaves, 20), np.float32))
    h = Hierarchy(*arrays)
    limits = {"init": (lambda: Hierarchy(*arrays), 1), "cut": (lambda: h.cut(regions=50), 3), "ucm": (h.ucm, 15)}
    for name, (run, limit_ms) in limits.items():
        times = []
        for _ in range(20):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        assert min(times) * 1e3 < limit_ms, name


def test_importing_the_tree_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, supercuts.hierarchy.tree, supercuts.export.npz; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env=dict(os.environ), check=False).returncode == 0


def test_region_table_goes_into_pandas_as_it_is(hand):
    pandas = pytest.importorskip("pandas")
    table = hand.region_table()
    frame = pandas.DataFrame(table)
    assert frame.shape == (hand.n_nodes, 11)
    assert frame["bbox-2"].tolist() == table.bbox_yxyx[:, 2].tolist()
    assert repr(table).startswith("RegionTable(9 nodes: node, parent, area, bbox-0, ")
    assert table["area"] is table.area


def test_region_table_has_the_names_and_values_of_scikit_image(hand):
    measure = pytest.importorskip("skimage.measure")
    table = hand.region_table()
    expected = measure.regionprops_table(hand.labels + 1, properties=("area", "bbox", "centroid"))
    for name, values in expected.items():
        np.testing.assert_allclose(table[name][: hand.n_leaves], values)


def test_arrays_become_tensors_without_a_warning(hand, photo):
    torch = pytest.importorskip("torch")
    for name in ARRAYS:
        for h in (photo, photo.lock(5)):
            assert torch.from_numpy(getattr(h, name)).tolist() == getattr(h, name).tolist()  # warnings are errors
    own = [hand.cut(regions=3), hand.cut_nodes(regions=3), hand.select(point=(0, 0)), hand.ucm(), hand.areas()]
    for array in (*own, hand.children(8), hand.ancestors(3), *list(hand.region_table().values())[:-1]):
        torch.from_numpy(np.ascontiguousarray(array))


def test_save_replaces_a_file_only_if_told_to(hand, tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"a\.npz exists: choose another path, or replace it with overwrite=True"):
        hand.save(path)
    assert path.read_text() == "mine"
    hand.save(path, overwrite=True)
    assert path.read_bytes()[:2] == b"PK"


def test_overlay_draws_boundaries_as_the_command_line_does(hand):
    h = replace(hand, image=np.full((*hand.shape, 3), 90, np.uint8))
    labels = h.cut(level="object")
    np.testing.assert_array_equal(h.overlay(level="object"), draw.overlay(h.image, labels, "object"))
    np.testing.assert_array_equal(h.overlay(labels), draw.draw_boundaries(h.image, labels, width=2))
    np.testing.assert_array_equal(h.overlay(width=1), draw.overlay(h.image, h.labels, "superpixels"))
    black = h.overlay(regions=2, color=(0, 0, 0), width=1)
    np.testing.assert_array_equal(black, draw.draw_boundaries(h.image, h.cut(regions=2), (0, 0, 0)))
    with pytest.raises(InputError, match="labels= and regions= are two label maps"):
        h.overlay(labels, regions=2)
    with pytest.raises(InputError, match="holds no image to draw on"):
        replace(h, image=None).overlay()


def test_plot_draws_the_overlay_into_axes(hand):
    plt = pytest.importorskip("matplotlib.pyplot")
    h = replace(hand, image=np.full((*hand.shape, 3), 90, np.uint8))
    _, ax = plt.subplots()
    assert h.plot(ax, level="object") is ax
    np.testing.assert_array_equal(ax.images[0].get_array(), h.overlay(level="object"))
    assert h.plot(regions=2) is not ax
    plt.close("all")
