"""The page as a file, and the viewer's modules under node compared with the hierarchy's own answers.

test_html_viewer_page.py drives the page in a browser.
"""

import base64
import html
import json
import re
import shutil
import subprocess
import zlib
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import supercuts
from supercuts.core.errors import FileFormatError, InputError
from supercuts.export import html_viewer
from supercuts.hierarchy.selection import draw_strokes
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.georeference import Georeference

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
QUERIES = Path(__file__).with_name("viewer_queries.mjs")


def ask(h, folder, **queries):
    path = folder / "asked.npz"
    h.save(path)
    done = subprocess.run(
        [shutil.which("node"), QUERIES],
        input=json.dumps({"path": str(path), **queries}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
@pytest.mark.parametrize("arity", [2, 4])
def test_the_reader_gives_the_label_maps_of_python(voronoi, tmp_path, arity):
    h = voronoi(arity=arity)
    exact = [{"altitude": float(a)} for a in h.altitudes[-20::4]]  # on the altitude itself, where float32 decides
    cuts = [
        *({"regions": n} for n in (1, 2, 3, 7, 12, 31, 59, 60)),
        *({"granularity": g} for g in (0, 0.13, 0.5, 0.77, 1)),
        *({"altitude": a} for a in (0, 0.1, 1 / 3, 0.123, 1)),
        *exact,
        *({"level": name} for name in h.levels),
    ]
    assert len(cuts) >= 20
    answer = ask(h, tmp_path, cuts=cuts)
    for how, labels, nodes in zip(cuts, answer["cuts"], answer["nodes"], strict=True):
        np.testing.assert_array_equal(np.reshape(labels, h.shape), h.cut(**how), err_msg=str(how))
        np.testing.assert_array_equal(nodes, h.cut_nodes(**how))
    np.testing.assert_array_equal(answer["areas"], h.areas())
    np.testing.assert_array_equal(np.reshape(answer["image"], h.image.shape), h.image)


def test_a_session_locks_the_selected_regions(voronoi, tmp_path):
    h = voronoi(3, ties=False)
    first, second, third = h.cut_nodes(regions=6).tolist()[:3]
    selection = [{"node": first, "label": 1}, {"node": third, "label": 2}]
    image = {"digest": html_viewer._digest(h), "name": "photo"}
    session = {"format": "supercuts-session", "version": 1, "image": image, "selection": selection}
    path = tmp_path / "session.json"
    path.write_text(json.dumps(session))
    edited = h.apply_session(path)
    edited.save(tmp_path / "edited.npz")
    masks = [np.isin(h.labels, h.leaves_of(node)) for node in (first, third)]
    for cut in ({"altitude": 0.0}, {"altitude": 1.0}, {"regions": 20}):
        labels = supercuts.read(tmp_path / "edited.npz").cut(**cut)
        for mask in masks:
            (region,) = np.unique(labels[mask])
            np.testing.assert_array_equal(labels == region, mask)
    assert edited.undo().undo().edits is None
    path.write_text(json.dumps({**session, "selection": []}))
    assert h.apply_session(path) is h
    with pytest.raises(InputError, match="was saved from photo, not from this hierarchy"):
        h.merge(first, second).apply_session(path)
    for text in ("{", "[]", '{"image": {}}'):
        path.write_text(text)
        with pytest.raises(FileFormatError, match="is not a session of the viewer"):
            h.apply_session(path)
    path.write_text(json.dumps({**session, "selection": [{"node": h.n_nodes, "label": 1}]}))
    with pytest.raises(InputError):
        h.apply_session(path)


def edit(h, n_edits, seed):
    """Return the hierarchy after some edits at random; those that contradict an earlier one are left out."""
    rng = np.random.default_rng(seed)
    while h.edits is None or len(h.edits.steps) < n_edits:
        kind, nodes = rng.choice(["merge", "split", "lock"]), rng.integers(h.n_nodes, size=2).tolist()
        with suppress(InputError):
            h = h.merge(*nodes) if kind == "merge" else getattr(h, kind)(nodes[0])
    return h


@needs_node
@pytest.mark.parametrize("seed", range(4))
def test_cuts_keep_to_edits(voronoi, tmp_path, seed):
    h = voronoi(3)
    locked = next(node for node in h.cut_nodes(regions=6).tolist() if node >= h.n_leaves)
    edited = h.lock(locked)
    n_frozen = edited.edits.limits.n_frozen
    edited = edited.split(next(n for n in edited.cut_nodes(regions=6).tolist() if n >= h.n_leaves + n_frozen))
    edited = edit(edited, 2 + 2 * seed, seed)
    assert edited.edits.limits.n_forced > 0 < edited.edits.limits.n_frozen
    cuts = [
        *({"granularity": g} for g in np.linspace(0, 1, 9).tolist()),
        *({"altitude": a} for a in (0, 0.05, 0.1, 0.2, 1 / 3, 0.5, 0.7, 1)),
        *({"level": name} for name in h.levels),
    ]
    assert len(cuts) >= 20
    answer = ask(edited, tmp_path, cuts=cuts)
    for how, labels, nodes in zip(cuts, answer["cuts"], answer["nodes"], strict=True):
        np.testing.assert_array_equal(np.reshape(labels, h.shape), edited.cut(**how), err_msg=str(how))
        np.testing.assert_array_equal(nodes, edited.cut_nodes(**how))


@needs_node
@pytest.mark.parametrize("seed", range(4))
def test_pixels_in_no_leaf_stay_out_of_every_answer(voronoi, leave_pixels_out, tmp_path, seed):
    h = edit(leave_pixels_out(voronoi(seed, arity=2 + seed), seed), seed, seed) if seed else leave_pixels_out(voronoi())
    is_out = h.labels < 0
    assert 200 < is_out.sum() < 1500
    cuts = [
        *({"granularity": g} for g in np.linspace(0, 1, 9).tolist()),
        *({"altitude": a} for a in (0, 0.05, 0.1, 0.2, 1 / 3, 0.5, 1)),
        *({"level": name} for name in h.levels),
    ]
    rng = np.random.default_rng(seed)
    places = [tuple(at) for where in (~is_out, is_out) for at in rng.permutation(np.argwhere(where))[:7].tolist()]
    strokes = {label: [places[i::4]] for i, label in enumerate((1, 2, 5, 7))}
    strokes[9] = [[places[-1]]]  # a label that lies on no leaf
    asked = [{"label": label, "points": stroke} for label, of_label in strokes.items() for stroke in of_label]
    answer = ask(h, tmp_path, cuts=cuts, strokes=asked)
    for how, labels, nodes in zip(cuts, answer["cuts"], answer["nodes"], strict=True):
        np.testing.assert_array_equal(np.reshape(labels, h.shape), h.cut(**how), err_msg=str(how))
        np.testing.assert_array_equal(nodes, h.cut_nodes(**how))
        np.testing.assert_array_equal(np.reshape(labels, h.shape) < 0, is_out)
    np.testing.assert_array_equal(answer["areas"], h.areas())
    np.testing.assert_array_equal(np.reshape(answer["scribbles"]["spread"], h.shape), h.segment_scribbles(strokes))


@needs_node
def test_scribbles_off_all_leaves_do_not_spread(voronoi, leave_pixels_out, tmp_path):
    h = leave_pixels_out(voronoi())
    point = np.argwhere(h.labels < 0)[0].tolist()
    assert ask(h, tmp_path, strokes=[{"label": 1, "points": [point]}])["scribbles"]["spread"] is None


def test_mean_colours_leave_pixels_in_no_leaf_out(voronoi, leave_pixels_out):
    h = leave_pixels_out(voronoi())
    payload = html_viewer._payload(h, "")
    assert payload["labels_kind"] == "int32"
    means = np.frombuffer(zlib.decompress(base64.b64decode(payload["mean_colors"])), np.uint8).reshape(-1, 3)
    expected = [h.image[h.labels == leaf].mean(axis=0) for leaf in range(h.n_leaves)]
    assert np.abs(means - np.array(expected)).max() <= 0.5
    labels = np.frombuffer(zlib.decompress(base64.b64decode(payload["labels"])), np.int32)
    np.testing.assert_array_equal(labels.reshape(h.shape), h.labels)


@needs_node
def test_other_members_of_a_file_are_ignored(voronoi, tmp_path):
    h = replace(voronoi(3), georeference=Georeference((2, 0, 100, 0, -2, 50), "EPSG:4326"))
    answer = ask(h, tmp_path, cuts=[{"regions": 7}])
    np.testing.assert_array_equal(np.reshape(answer["cuts"][0], h.shape), h.cut(regions=7))


@needs_node
@pytest.mark.parametrize("seed", range(3))
def test_scribbles_spread_as_in_python(voronoi, tmp_path, seed):
    h = voronoi(seed, arity=3)
    rng = np.random.default_rng(seed)
    strokes = {
        label: [[(int(rng.integers(40)), int(rng.integers(50))) for _ in range(length)] for length in (1, 3)]
        for label in (1, 2, 7)
    }
    asked = [{"label": label, "points": stroke} for label, of_label in strokes.items() for stroke in of_label]
    answer = ask(h, tmp_path, strokes=asked)["scribbles"]
    np.testing.assert_array_equal(np.reshape(answer["drawn"], h.shape), draw_strokes(h.shape, strokes))
    np.testing.assert_array_equal(np.reshape(answer["spread"], h.shape), h.segment_scribbles(strokes))


@needs_node
def test_climbing_follows_the_tree(voronoi, tmp_path):
    h = voronoi(1)
    points = [[20, 30, 10, steps] for steps in (-100, -1, 0, 1, 2, 100)]
    for (y, x, regions, steps), node in zip(points, ask(h, tmp_path, points=points)["near"], strict=True):
        mask = h.select(point=(y, x), regions=regions, grow=max(steps, 0), shrink=max(-steps, 0))
        np.testing.assert_array_equal(np.isin(h.labels, h.leaves_of(node)), mask)


@needs_node
def test_clicks_undo_and_redo(small, tmp_path):
    # 3 = {0, 1}, 4 = root
    clicks = [
        [0, False],
        [2, True],
        [3, True],
        "undo",
        "redo",
        [0, True],
        [4, True],
        [4, True],
        "undo",
        [1, False],
        "redo",
    ]
    assert ask(small, tmp_path, clicks=clicks)["selections"] == [
        [0], [0, 2], [2, 3], [0, 2], [2, 3], [2], [4], [], [4], [1], [1]
    ]  # fmt: skip


@needs_node
def test_polygons_and_runs_cover_exactly_the_mask(voronoi, tmp_path):
    h = voronoi(2)
    ring = np.zeros(h.shape, bool)
    ring[5:30, 5:40], ring[10:20, 10:20], ring[12:15, 12:15], ring[20:22, 20:22] = True, False, True, False
    noise = np.random.default_rng(0).random(h.shape) < 0.5  # pixels that touch at corners
    masks = [ring, noise, np.ones(h.shape, bool)]
    answer = ask(h, tmp_path, masks=[mask.ravel().astype(int).tolist() for mask in masks])
    for mask, polygons, coco in zip(masks, answer["polygons"], answer["coco"], strict=True):
        canvas = np.zeros(h.shape, int)
        y, x = np.mgrid[: h.shape[0], : h.shape[1]] + 0.5
        for rings in polygons:
            inside = [crossings(ring, y, x) for ring in rings]
            canvas += inside[0] & ~np.any(inside[1:], axis=0) if rings[1:] else inside[0]
        np.testing.assert_array_equal(canvas, mask)
        annotation = coco["annotations"][0]
        runs = annotation["segmentation"]["counts"]
        decoded = np.repeat(np.arange(len(runs)) % 2, runs).reshape(h.shape[::-1]).T
        np.testing.assert_array_equal(decoded, mask)
        ys, xs = np.nonzero(mask)
        x0, y0 = int(xs.min()), int(ys.min())
        assert annotation["bbox"] == [x0, y0, int(xs.max()) + 1 - x0, int(ys.max()) + 1 - y0]
        assert annotation["area"] == mask.sum()


def crossings(ring, y, x):
    """Even-odd rule at pixel centres."""
    inside = np.zeros(y.shape, bool)
    for (ax, ay), (bx, by) in pairwise(ring):
        if ax == bx:
            inside ^= (y > min(ay, by)) & (y < max(ay, by)) & (x < ax)
    return inside


@needs_node
def test_the_reader_refuses_unknown_versions(small, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"no zip" * 10)
    done = subprocess.run(
        [shutil.which("node"), QUERIES], input=json.dumps({"path": str(path)}), capture_output=True, text=True
    )
    assert "not a whole .npz (zip) file" in done.stderr
    small.save(path, overwrite=True)
    with np.load(path) as arrays:
        newer = {**arrays, "format_version": np.array(3)}
    np.savez(path, **newer)
    done = subprocess.run(
        [shutil.which("node"), QUERIES], input=json.dumps({"path": str(path)}), capture_output=True, text=True
    )
    assert "format_version 3, this reader supports 1 and 2: it is newer" in done.stderr


def test_the_page_is_one_file_without_links(small, tmp_path):
    small.export(tmp_path / "page.html", format="html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|https?://|\bfetch\(|XMLHttpRequest""", text)
    assert not re.search(r"^(import|export) ", text, flags=re.MULTILINE)
    assert "<title>page</title>" in text
    assert "connect-src" not in text
    assert "default-src 'none'" in text


def test_names_cannot_leave_their_place(small):
    name = "</script><b>$&amp;'\"`${1}"
    text = html_viewer.page(small, name)
    assert text.count("</script>") == 2
    assert f"<title>{html.escape(name)}</title>" in text
    payload = re.search(r'<script id="payload" type="application/json">(.*?)</script>', text).group(1)
    assert json.loads(payload)["name"] == name


def test_notebooks_get_a_frame(small):
    frame = small._repr_html_()
    inner = re.fullmatch(r'<iframe srcdoc="([^"]*)" [^<>]*></iframe>', frame).group(1)
    assert html.unescape(inner) == html_viewer.page(small)


@pytest.mark.parametrize("has_image", [True, False])
@pytest.mark.parametrize("shape", [(1400, 1500), (1, 5_000_000), (2500, 2500), (6000, 6000)])
def test_notebooks_get_a_preview_of_large_hierarchies(shape, has_image):
    rng = np.random.default_rng(0)
    labels = np.minimum(np.arange(shape[1]) * 9 // shape[1], 8).astype(np.int32) + np.zeros((shape[0], 1), np.int32)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8) if has_image else None
    h = Hierarchy(
        labels, np.array([9] * 9 + [9], np.int32), np.r_[np.zeros(9), 1].astype("f4"), np.zeros((9, 0), "f4"), image
    )
    shown = h._repr_html_()
    assert len(shown.encode()) < 2_000_000
    is_framed = shape == (1400, 1500) and not has_image
    assert shown.startswith("<iframe" if is_framed else "<figure>")
    assert is_framed or f"{shape[1]}x{shape[0]} pixels" in shown


def test_notebooks_explain_why_nothing_is_shown(small, monkeypatch):
    monkeypatch.setattr(html_viewer, "page", lambda _: 1 / 0)
    assert small._repr_html_().endswith("superpixels, which cannot be shown (division by zero).</p>")


def test_show_opens_a_page_that_stays(small, monkeypatch):
    opened = []
    monkeypatch.setattr(html_viewer.webbrowser, "open", opened.append)
    path = small.show()
    assert opened == [path.as_uri()]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    shutil.rmtree(path.parent)


def test_a_page_of_two_megapixels_is_small_besides_its_picture(voronoi):
    h = voronoi(n_leaves=2000, shape=(1155, 1733))
    without = Hierarchy(h.labels, h.parents, h.altitudes, h.embeddings)
    assert len(html_viewer.page(without)) < 1.5e6
