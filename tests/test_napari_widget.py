"""The widget on a viewer without a window, driven as by a user; skips without napari and Qt.

Where napari is installed it is a plugin of pytest and warns while it is loaded: pytest -W ignore::DeprecationWarning.
"""

import os
import threading
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import yaml

from supercuts import napari_widget
from supercuts.core.errors import ImageError
from supercuts.export.npz import read
from supercuts.napari_widget import make_widget, picture, stable_labels

ROOT = Path(__file__).resolve().parents[1]
# warnings between the libraries of user interfaces
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def app(monkeypatch):
    if "DISPLAY" not in os.environ:
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("napari")
    widgets = pytest.importorskip("qtpy.QtWidgets")
    return widgets.QApplication.instance() or widgets.QApplication([])


@pytest.fixture
def viewer(app):
    from napari.components import ViewerModel

    return ViewerModel()


def wait(app, condition):
    end = time.monotonic() + 60
    while not condition():
        app.processEvents()
        time.sleep(0.01)
        assert time.monotonic() < end


@pytest.fixture
def photo():
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 10:40], pixels[15:25, 15:25] = (200, 60, 30), (30, 220, 60)
    return pixels


def press(button):
    button.changed.emit(True)


def same_regions(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return pairs.shape[1] == np.unique(a).size == np.unique(b).size


def test_the_layer_follows_slider_and_buttons(app, viewer, photo, monkeypatch, tmp_path):
    threads = []

    def segment(*arguments):
        threads.append(threading.current_thread())
        h = segment_layer(*arguments)
        h.save(tmp_path / "h.npz")
        return h

    segment_layer = napari_widget.segment_layer
    monkeypatch.setattr(napari_widget, "segment_layer", segment)
    image = viewer.add_image(photo, name="cup", scale=(2, 3), translate=(5, 6))
    widget = make_widget(viewer)
    widget["image"].choices = [image]
    widget["superpixels"].value = 50
    assert not any(button.enabled for button in widget["levels"])
    press(widget["segment"])
    assert not widget["segment"].enabled
    wait(app, lambda: widget["segment"].enabled and "cup regions" in viewer.layers)
    assert threads[0] is not threading.main_thread()
    h, layer = read(tmp_path / "h.npz"), viewer.layers["cup regions"]
    assert (list(layer.scale), list(layer.translate)) == ([2, 3], [5, 6])
    assert same_regions(layer.data, h.cut(level="object"))
    for granularity in (0, 0.2, 0.55, 1):
        widget["granularity"].value = granularity
        expected = h.cut(granularity=granularity)
        assert same_regions(layer.data, expected)
        assert widget["count"].value == f"{expected.max() + 1} of 50 superpixels"
    for level in ("scene", "part"):
        press(widget["levels"][level])
        assert same_regions(layer.data, h.cut(level=level))
        shown = widget["granularity"].value
        assert np.exp(shown * np.log(50)) == pytest.approx(h.cut(level=level).max() + 1, rel=0.01)
    press(widget["levels"]["superpixels"])
    assert same_regions(layer.data, h.labels)
    assert widget["granularity"].value == 1
    press(widget["segment"])  # again: the layer is replaced, not doubled
    wait(app, lambda: widget["segment"].enabled and viewer.layers["cup regions"] is not layer)
    assert [layer.name for layer in viewer.layers] == ["cup", "cup regions"]
    viewer.layers.remove("cup regions")
    widget["granularity"].value = 0.3  # nothing to cut any more


def test_failures_are_shown(app, viewer, photo, monkeypatch):
    notifications = pytest.importorskip("napari.utils.notifications")
    said = []
    monkeypatch.setattr(notifications, "show_error", said.append)
    widget = make_widget(viewer)
    press(widget["segment"])
    widget["image"].choices = [viewer.add_image(np.zeros((4, 5, 6)), name="stack")]
    press(widget["segment"])
    assert said[0] == "there is no image layer: open an image first."
    assert "layer 'stack' has 3 dimensions, expected 2: choose one plane" in said[1]
    widget["image"].choices = [viewer.add_image(photo)]
    widget["model"].value = "none.safetensors"
    press(widget["segment"])
    wait(app, lambda: widget["segment"].enabled)
    assert "none.safetensors: no such file. Give a .safetensors file" in said[2]


def test_values_are_stretched_between_the_contrast_limits(viewer, photo):
    values = np.array([[100, 200, 300, 400]], np.int32)
    layer = viewer.add_image(values, contrast_limits=(200, 400))
    np.testing.assert_array_equal(picture(layer), [[0, 0, 0.5, 1]])
    np.testing.assert_array_equal(picture(viewer.add_image(photo)), photo)
    pyramid = viewer.add_image([photo, photo[::2, ::2]], multiscale=True)
    np.testing.assert_array_equal(picture(pyramid), photo)
    with pytest.raises(ImageError, match="no image layer"):
        picture(None)


def test_a_split_leaves_one_part_its_name():
    h = napari_widget.segment_layer(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8), "compact", 12)
    for regions in range(1, 12):
        coarse, fine = stable_labels(h, regions=regions), stable_labels(h, regions=regions + 1)
        assert set(np.unique(coarse)) < set(np.unique(fine))
        assert same_regions(fine, h.cut(regions=regions + 1))
        assert coarse.min() == 1


def test_the_manifest_names_the_widget():
    document = yaml.safe_load((ROOT / "supercuts/napari.yaml").read_text())
    (command,) = document["contributions"]["commands"]
    assert document["contributions"]["widgets"][0]["command"] == command["id"]
    assert EntryPoint("x", command["python_name"], "y").load() is make_widget
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(ROOT / "supercuts/napari.yaml")
    manifest.validate_imports()
