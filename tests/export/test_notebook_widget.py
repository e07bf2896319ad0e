import json
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest

from supercuts.core.errors import InputError, MissingDependencyError
from supercuts.export import html_viewer

pytest.importorskip("anywidget")
CHROMIUM = shutil.which("chromium")

# a stand-in for the model of a widget, with the methods that anywidget gives it
MODEL = """
class Model {
  constructor(values) { [this.values, this.saved, this.listeners] = [values, 0, []]; }
  get(name) { return this.values[name]; }
  set(name, value) {
    this.values[name] = value;
    for (const [event, listener] of this.listeners) if (event === `change:${name}`) listener();
  }
  save_changes() { this.saved += 1; }
  on(event, listener) { this.listeners.push([event, listener]); }
  off(event, listener) { this.listeners = this.listeners.filter((one) => one[1] !== listener); }
}
"""


@pytest.fixture
def h(voronoi):
    return voronoi(4, n_leaves=80, shape=(90, 120), ties=False)


@pytest.fixture
def widget(h):
    return h.widget()


@pytest.fixture
def opened(widget):
    """Render the widget in Chromium with its values; return the page, whose `model` is the widget's model."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.set_content("<div id=el></div>")
        names = ("_page", "height", "selection", "strokes", "names", "cut")
        values = json.dumps({name: getattr(widget, name) for name in names})
        source = (html_viewer._SOURCES / "widget.mjs").read_text()
        page.evaluate(
            f"""async () => {{
              {MODEL}
              const url = URL.createObjectURL(new Blob([{json.dumps(source)}], {{ type: "text/javascript" }}));
              const {{ default: widget }} = await import(url);
              window.model = new Model({values});
              window.leave = widget.render({{ model, el: document.getElementById("el") }});
              while (!document.querySelector("iframe").contentWindow.supercuts?.labelled)
                await new Promise((resolve) => setTimeout(resolve, 30));
            }}"""
        )
        yield page
        browser.close()
        assert faults == []


def wait(page, condition):
    page.wait_for_function(condition, timeout=20_000)


def test_what_is_done_in_the_viewer_reaches_the_model(opened, widget, h):
    wait(opened, "Object.keys(model.get('cut')).length > 0")
    assert opened.evaluate("model.get('cut')") == {"level": "object"}
    frame = opened.frame_locator("iframe")
    box = frame.locator("#overlay").bounding_box()
    opened.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait(opened, "model.get('selection').length === 1")
    widget.selection = opened.evaluate("model.get('selection')")
    assert widget.mask()[45, 60]
    np.testing.assert_array_equal(widget.mask(), h.select(point=(45, 60), level="object"))
    frame.locator("[data-level=part]").click()
    wait(opened, "model.get('cut').level === 'part'")
    widget.cut = opened.evaluate("model.get('cut')")
    np.testing.assert_array_equal(widget.labels(), h.cut(level="part"))
    saved = opened.evaluate("model.saved")
    opened.mouse.move(box["x"] + 30, box["y"] + 30)
    opened.wait_for_timeout(200)
    assert opened.evaluate("model.saved") == saved, "the pointer alone sends nothing"


def test_what_python_sets_appears_in_the_viewer(opened, h):
    viewer = "document.querySelector('iframe').contentWindow.supercuts"
    opened.evaluate("model.set('cut', { regions: 7 })")
    wait(opened, f"{viewer}.cut.nodes.length === 7")
    labels = np.reshape(opened.evaluate(f"Array.from({viewer}.labelMap())"), h.shape)
    np.testing.assert_array_equal(labels, h.cut(regions=7))
    opened.evaluate("model.set('strokes', [{ label: 1, points: [[5, 5], [20, 30]] }])")
    wait(opened, f"{viewer}.session.strokes.length === 1")
    opened.evaluate("leave()")
    opened.evaluate("model.set('strokes', [])")
    assert opened.evaluate(f"{viewer}.session.strokes.length") == 1, "a closed view follows no longer"


def test_strokes_segment_as_in_python(widget, h):
    widget.strokes = [{"label": 1, "points": [[5, 5], [20, 30]]}, {"label": 2, "points": [[80, 100]]},
                      {"label": 1, "points": [[40, 10]]}]  # fmt: skip
    expected = h.segment_scribbles({1: [[(5, 5), (20, 30)], [(40, 10)]], 2: [(80, 100)]})
    np.testing.assert_array_equal(widget.scribbled(), expected)


def test_masks_and_labels_before_anything_is_done(widget, h):
    assert not widget.mask().any()
    np.testing.assert_array_equal(widget.labels(), h.labels)
    widget.selection = [{"node": h.root, "label": 1}, {"node": 3, "label": 2}]
    assert widget.mask().all()
    np.testing.assert_array_equal(widget.mask(2), h.labels == 3)
    widget.cut = {"granularity": 0.5}
    np.testing.assert_array_equal(widget.labels(), h.cut(granularity=0.5))
    widget.cut = {"level": "superpixels"}
    np.testing.assert_array_equal(widget.labels(), h.labels)


def test_values_that_do_not_fit_are_refused(widget):
    for cut in ({"regions": 0}, {"regions": 2, "level": "part"}, {"min_area": 3}, {"level": "leaf"}):
        with pytest.raises(InputError):
            widget.cut = cut
    for selection in ([{"node": 10_000, "label": 1}], [{"node": 1}]):
        with pytest.raises(InputError):
            widget.selection = selection


def test_without_anywidget_the_extra_is_named(h, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"supercuts\[notebook\]"):
        h.widget()


def test_show_is_inline_in_a_notebook_and_returns_nothing(h, monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=None))
    monkeypatch.setattr(display, "display", lambda data, raw: shown.append(data))
    assert h.show() is None
    assert shown == [{"text/html": h._repr_html_(), "text/plain": repr(h)}]
    assert shown[0]["text/html"].startswith("<iframe")


def test_a_notebook_runs(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cells = [
        "import numpy as np, supercuts\nh = supercuts.segment(np.zeros((32, 48, 3), np.uint8), superpixels=12)",
        "h.show()",
        "w = h.widget()\nw.cut = {'regions': 3}\nw",
        "h.plot(level='object');",
        "print(w.labels().max())",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    (shown,) = outputs[1]
    assert shown.output_type == "display_data"
    assert shown.data["text/html"].startswith("<iframe")
    assert "application/vnd.jupyter.widget-view+json" in outputs[2][0].data
    assert any("image/png" in output.get("data", {}) for output in outputs[3])
    assert outputs[4][0].text == "2\n"


@pytest.mark.slow
def test_the_widget_works_in_jupyterlab(h, tmp_path):
    """Selecting in the viewer inside JupyterLab, in a browser, changes the values that the kernel reads."""
    pytest.importorskip("jupyterlab")
    pytest.importorskip("ipykernel")
    nbformat, sync_api = pytest.importorskip("nbformat"), pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    h.save(tmp_path / "h.npz")
    cells = [
        "import supercuts\nw = supercuts.read('h.npz').widget()\nw",
        "print(w.cut, [one['label'] for one in w.selection], w.mask().sum())",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "widget.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--IdentityProvider.token=test", f"--ServerApp.root_dir={tmp_path}"]
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.port={port}", *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1300, "height": 900})
            page.set_default_timeout(120_000)
            for _ in range(240):
                with suppress(sync_api.Error):
                    page.goto(f"http://127.0.0.1:{port}/lab/tree/widget.ipynb?token=test")
                    break
                page.wait_for_timeout(500)
            page.get_by_text("| Idle").first.wait_for()  # before, cells are not run
            page.click(".jp-Notebook .jp-CodeCell >> nth=0 >> .cm-content")
            page.keyboard.press("Shift+Enter")
            frame = page.frame_locator(".jp-OutputArea iframe[srcdoc]")
            frame.locator("[data-level=object][aria-pressed=true]").wait_for()
            frame.locator("#overlay").click()  # in its middle
            frame.get_by_text("1 selected").wait_for()
            page.click(".jp-Notebook .jp-CodeCell >> nth=1 >> .cm-content")
            page.keyboard.press("Shift+Enter")
            n = h.select(point=(45, 60), level="object").sum()
            page.get_by_text(f"{{'level': 'object'}} [1] {n}").wait_for()
            browser.close()
    finally:
        server.terminate()
        server.wait(60)
