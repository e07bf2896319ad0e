"""`supercuts objects`: the objects of images as masks and boxes.

In   images or hierarchies, a model and a method
Out  OUT/<name>_objects.png (16-bit labels, 0 no object), OUT/<name>_objects_panel.png, OUT/<name>_objects.json
Not  no discovery (objects/), no segmentation
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import supercuts
from supercuts.cli import _discovery as discovery
from supercuts.cli.common import working

if TYPE_CHECKING:
    import numpy as np

    from supercuts.objects.result import Objects

_SUFFIXES = ("_objects.png", "_objects_panel.png", "_objects.json")


def objects(
    images: discovery.Images,
    out: discovery.Out,
    model: discovery.ModelName = "compact",
    n: Annotated[int, typer.Option("-n", "--objects", min=1, metavar="N", help="At most so many.")] = 1,
    method: Annotated[
        str | None,
        typer.Option(help="tree (the default), tokencut, deep_spectral, lost, deepcut or deepcut_cc."),
    ] = None,
    superpixels: discovery.Superpixels = None,
    seed: discovery.Seed = 0,
    as_json: discovery.AsJson = False,
) -> None:
    """Find the objects in images: masks, boxes and a panel for each, all that stands out as one object unless -n."""
    names = discovery.prepare(images, out, _SUFFIXES)
    with working(f"loading model {model}"):
        finder = supercuts.load(model)
    _check_method(method)

    def find(path: Path, name: str, step: Callable[[int, int], None]) -> dict[str, Any]:
        h = discovery.hierarchy_of(finder, path, superpixels)
        return write_objects(out, path, name, h, finder.objects(h, n, method, seed, step))

    reports = discovery.for_each(names, find, "objects")
    columns = {
        "objects": lambda document: str(len(document["objects"])),
        "best box (y0 x0 y1 x1)": lambda document: " ".join(map(str, document["objects"][0]["box_yxyx"])),
        "area": lambda document: f"{100 * document['objects'][0]['share']:.1f} %",
        "score": lambda document: f"{document['objects'][0]['score']:.2f}",
    }
    discovery.finish(reports, out, columns, as_json)


def _check_method(method: str | None) -> None:
    from supercuts.core.checks import check_choice
    from supercuts.objects.discover import METHODS

    if method is not None:
        check_choice("--method", method, METHODS)


def write_objects(out: Path, path: Path, name: str, h: "supercuts.Hierarchy", found: "Objects") -> dict[str, Any]:
    """Write the labels, the panel and the document of one image; return the document."""
    from supercuts.images.io import write_labels_png, write_png

    labels = labels_of(found)
    files = [out / f"{name}{suffix}" for suffix in _SUFFIXES]
    picture = discovery.panel(discovery.photo_of(h), {"objects": labels, "saliency": found.saliency}, found.boxes_yxyx)
    height, width = h.shape
    document = {
        "image": str(path),
        "height": height,
        "width": width,
        "objects": describe(found, int(h.areas()[-1])),
        "files": [str(file) for file in files],
    }
    write_labels_png(files[0], labels)
    write_png(files[1], picture)
    discovery.write_json(files[2], document)
    return document


def labels_of(found: "Objects") -> "np.ndarray":
    """Return (H, W) int32: 0 where there is no object, 1.. the objects, best first."""
    import numpy as np

    labels: np.ndarray = np.arange(1, len(found.masks) + 1, dtype=np.int32) @ found.masks.reshape(len(found.masks), -1)
    return labels.reshape(found.saliency.shape)


def describe(found: "Objects", n_pixels: int) -> list[dict[str, Any]]:
    """Return what a document says of each object of an image of so many pixels, without those that a mask left out."""
    return [
        {
            "label": i + 1,
            "score": round(float(score), 4),
            "box_yxyx": box.tolist(),
            "area": int(mask.sum()),
            "share": round(int(mask.sum()) / n_pixels, 4),
        }
        for i, (mask, score, box) in enumerate(zip(found.masks, found.scores, found.boxes_yxyx, strict=True))
    ]
