"""The page as a file, and the viewer's modules under node beside the hierarchy's own answers.

test_html_viewer_page.py drives the page in a browser.
"""

import html
import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from supercuts.export import html_viewer
from supercuts.hierarchy.selection import draw_strokes
from supercuts.hierarchy.tree import Hierarchy

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


@needs_node
def test_cuts_keep_to_edits(voronoi, tmp_path):
    h = voronoi(3)
    locked = next(node for node in h.cut_nodes(regions=6).tolist() if node >= h.n_leaves)
    edited = h.lock(locked)
    n_frozen = edited.edits.limits.n_frozen
    edited = edited.split(next(n for n in edited.cut_nodes(regions=6).tolist() if n >= h.n_leaves + n_frozen))
    limits = edited.edits.limits
    plain = Hierarchy(edited.labels, edited.parents, edited.altitudes, edited.embeddings)  # the reader takes no edits
    cuts = [{"granularity": g} for g in (0, 0.2, 0.6, 1)] + [{"altitude": a} for a in (0, 0.1, 0.5, 1)]
    given = {"nForced": limits.n_forced, "nFrozen": limits.n_frozen}
    assert all(given.values())
    for how, labels in zip(cuts, ask(plain, tmp_path, limits=given, cuts=cuts)["cuts"], strict=True):
        np.testing.assert_array_equal(np.reshape(labels, h.shape), edited.cut(**how), err_msg=str(how))


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
def test_the_reader_refuses_what_it_does_not_know(small, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"no zip" * 10)
    done = subprocess.run(
        [shutil.which("node"), QUERIES], input=json.dumps({"path": str(path)}), capture_output=True, text=True
    )
    assert "not a whole .npz (zip) file" in done.stderr
    small.lock(3).save(path)
    done = subprocess.run(
        [shutil.which("node"), QUERIES], input=json.dumps({"path": str(path)}), capture_output=True, text=True
    )
    assert "format_version 2, this reader knows 1: it holds edits" in done.stderr


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
