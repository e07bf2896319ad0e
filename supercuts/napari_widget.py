"""Widget of the napari plugin: segment an image layer, then choose a granularity with a slider."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int32, Shaped

from supercuts.core.errors import ImageError
from supercuts.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from magicgui.widgets import Container
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

_LEVELS = ("scene", "object", "part", "superpixels")


def make_widget(viewer: "Viewer | None" = None) -> "Container":
    """Return the controls for a viewer, by default the current one; napari calls this function through napari.yaml."""
    import napari
    from magicgui import widgets

    image = widgets.create_widget(annotation="napari.layers.Image", name="image")
    model = widgets.LineEdit(value="compact", name="model", tooltip="compact, or a .safetensors file of weights")
    superpixels = widgets.SpinBox(value=600, min=1, max=1_000_000, name="superpixels")
    segment = widgets.PushButton(text="Segment", name="segment")
    granularity = widgets.FloatSlider(min=0, max=1, step=0.001, value=0.5, name="granularity", readout=False)
    buttons = [widgets.PushButton(text=level.capitalize(), name=level) for level in _LEVELS]
    levels = widgets.Container(widgets=buttons, layout="horizontal", labels=False, name="levels", label="")
    count = widgets.Label(value="", name="count", label="")
    cutter = _Cutter(viewer or napari.current_viewer(), granularity, levels, count)
    segment.changed.connect(lambda: cutter.start(image.value, model.value, superpixels.value, segment))
    granularity.changed.connect(lambda value: cutter.show(granularity=value))
    for button in buttons:
        options = {"granularity": 1.0} if button.name == "superpixels" else {"level": button.name}
        button.changed.connect(lambda _, options=options: cutter.show(**options))
    cutter.enable()
    return widgets.Container(widgets=[image, model, superpixels, segment, granularity, levels, count])


def picture(layer: "Image | None") -> Shaped[np.ndarray, "height width *channels"]:
    """Return the displayed image of a 2D layer: RGB unchanged, other values scaled to 0..1 by its contrast limits."""
    if layer is None:
        raise ImageError("there is no image layer: open an image first.")
    if layer.ndim != 2:
        raise ImageError(
            f"layer {layer.name!r} has {layer.ndim} dimensions, expected 2: choose one plane, for example by Convert "
            "to > Split Stack in the layer's menu."
        )
    pixels = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    if layer.rgb:
        return pixels
    low, high = layer.contrast_limits
    return ((pixels - np.float32(low)) / np.float32(high - low)).clip(0, 1).astype(np.float32)


def stable_labels(h: Hierarchy, **options: Any) -> Int32[np.ndarray, "height width"]:
    """Return a cut with each region labelled by its lowest leaf plus 1: if it splits, one part keeps its colour.

    0 is napari's background.
    """
    labels = h.cut(**options)
    region = np.empty(h.n_leaves, np.int32)
    region[h._labels] = labels
    lowest = np.unique(region, return_index=True)[1].astype(np.int32)
    named: np.ndarray = lowest[labels] + np.int32(1)
    return named


def segment_layer(pixels: np.ndarray, model: str, superpixels: int) -> Hierarchy:
    """Return the hierarchy of an image."""
    import supercuts  # the pipeline takes seconds to import

    return supercuts.load(model).segment(pixels, superpixels=superpixels)


class _Cutter:
    """The latest hierarchy, its layer, and the controls that follow them."""

    def __init__(self, viewer: "Viewer", granularity: Any, levels: "Container", count: Any) -> None:
        self.viewer, self.granularity, self.levels, self.count = viewer, granularity, levels, count
        self.h: Hierarchy | None = None
        self.layer: Labels | None = None

    def start(self, image: "Image | None", model: str, superpixels: int, button: Any) -> None:
        """Segment in a worker, so that the user interface stays usable; napari shows an error if that fails."""
        from napari.qt.threading import create_worker
        from napari.utils.notifications import show_error

        try:
            pixels = picture(image)
        except ImageError as error:
            show_error(str(error))
            return
        assert image is not None  # picture() above raises for None
        place = {"scale": image.scale, "translate": image.translate, "affine": image.affine}
        name = f"{image.name} regions"
        button.enabled = False
        create_worker(
            segment_layer,
            pixels,
            model,
            superpixels,
            _connect={
                "returned": lambda h: self.take(h, name, place),
                "errored": lambda error: show_error(str(error) or type(error).__name__),
                "finished": lambda: setattr(button, "enabled", True),
            },
        )

    def take(self, h: Hierarchy, name: str, place: dict[str, Any]) -> None:
        """Show a new hierarchy in its own layer."""
        self.h = h
        if self.layer is not None and self.layer in self.viewer.layers and self.layer.name == name:
            self.viewer.layers.remove(self.layer)  # the image was segmented again
        self.layer = self.viewer.add_labels(np.zeros(h.shape, np.int32), name=name, opacity=0.5, **place)
        self.enable()
        self.show(**({"level": "object"} if "object" in h.levels else {"granularity": self.granularity.value}))

    def show(self, **options: Any) -> None:
        """Cut again, and update the slider and the count."""
        if self.h is None or self.layer is None or self.layer not in self.viewer.layers:
            return
        labels = stable_labels(self.h, **options)
        n_regions = np.unique(labels).size
        self.layer.data = labels
        self.count.value = f"{n_regions} of {self.h.n_leaves} superpixels"
        if "granularity" not in options or options["granularity"] == 1:
            with self.granularity.changed.blocked():
                self.granularity.value = math.log(n_regions) / math.log(max(self.h.n_leaves, 2))

    def enable(self) -> None:
        """Enable only the buttons of levels that the hierarchy has."""
        for button in self.levels:
            button.enabled = self.h is not None and button.name in (*self.h.levels, "superpixels")
