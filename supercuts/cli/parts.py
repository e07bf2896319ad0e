"""`supercuts parts`: the parts of the objects in images, the same numbers in all of them if wanted.

In   images or hierarchies, a model and a method
Out  OUT/<name>_parts.png (16-bit labels, 0 no object), OUT/<name>_parts_panel.png, OUT/<name>_parts.json
Not  no discovery (objects/), no segmentation
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import supercuts
from supercuts.cli import _discovery as discovery
from supercuts.cli.common import print_note, working
from supercuts.cli.objects import describe, labels_of

if TYPE_CHECKING:
    import numpy as np

    from supercuts.objects.result import Objects, Parts
    from supercuts.objects.shared_parts import PartDescriptors

_SUFFIXES = ("_parts.png", "_parts_panel.png", "_parts.json")
_KINDS = 8  # of parts in a folder, unless given


def parts(
    images: discovery.Images,
    out: discovery.Out,
    model: discovery.ModelName = "compact",
    k: Annotated[
        int | None, typer.Option("-k", "--parts", min=1, metavar="K", help="Parts of each object; else as it divides.")
    ] = None,
    method: Annotated[str, typer.Option(help="tree, spectral or deepcut.")] = "tree",
    n: Annotated[int, typer.Option("-n", "--objects", min=1, metavar="N", help="At most so many objects.")] = 1,
    shared: Annotated[
        bool, typer.Option("--shared", help="The same number and colour means the same part in all images.")
    ] = False,
    kinds: Annotated[int, typer.Option(min=1, metavar="N", help="Of parts, with --shared.")] = _KINDS,
    superpixels: discovery.Superpixels = None,
    seed: discovery.Seed = 0,
    as_json: discovery.AsJson = False,
) -> None:
    """Divide the objects in images into parts, which lie inside the objects."""
    names = discovery.prepare(images, out, _SUFFIXES)
    with working(f"loading model {model}"):
        finder = supercuts.load(model)
    _check_method(method)
    descriptors: dict[str, PartDescriptors] = {}

    def find(path: Path, name: str, step: Callable[[int, int], None]) -> dict[str, Any]:
        h = discovery.hierarchy_of(finder, path, superpixels)
        objects = finder.objects(h, n, seed=seed)
        found = finder.parts(h, k, method, seed=seed, progress=step, objects=objects)
        if shared:
            from supercuts.objects.shared_parts import describe_parts

            descriptors[name] = describe_parts(h, objects, found, finder.leaf_features(h))
        return write_parts(out, path, name, h, objects, found)

    reports = discovery.for_each(names, find, "parts")
    if shared and descriptors:
        _share(out, descriptors, reports, kinds, seed)
    columns = {
        "parts": lambda document: str(len(document["parts"])),
        "objects": lambda document: str(len(document["objects"])),
    }
    discovery.finish(reports, out, columns, as_json)


def _check_method(method: str) -> None:
    from supercuts.core.checks import check_choice
    from supercuts.objects.parts import METHODS

    check_choice("--method", method, METHODS)


def write_parts(
    out: Path, path: Path, name: str, h: "supercuts.Hierarchy", objects: "Objects", found: "Parts"
) -> dict[str, Any]:
    """Write the labels, the panel and the document of one image; return the document."""
    import numpy as np

    from supercuts.images.io import write_labels_png, write_png

    files = [out / f"{name}{suffix}" for suffix in _SUFFIXES]
    tiles = {"objects": labels_of(objects), "parts": found.labels}
    height, width = h.shape
    areas = np.bincount(found.labels.ravel(), minlength=found.object_of.size + 1)[1:]
    document = {
        "image": str(path),
        "height": height,
        "width": width,
        "objects": describe(objects, int(h.areas()[-1])),
        "parts": [
            {"label": i + 1, "object": int(of) + 1, "area": int(area)}
            for i, (of, area) in enumerate(zip(found.object_of, areas, strict=True))
        ],
        "files": [str(file) for file in files],
    }
    write_labels_png(files[0], found.labels)
    write_png(files[1], discovery.panel(discovery.photo_of(h), tiles, objects.boxes_yxyx))
    discovery.write_json(files[2], document)
    return document


def _share(
    out: Path, descriptors: "dict[str, PartDescriptors]", reports: list[discovery.Report], kinds: int, seed: int
) -> None:
    """Give the parts of all images their shared numbers, in the labels, the panels and the documents."""
    from supercuts.objects.shared_parts import share_parts

    with working("clustering parts"):
        numbers = dict(zip(descriptors, share_parts(list(descriptors.values()), kinds, seed), strict=True))
    if (n_parts := sum(one.size for one in numbers.values())) < kinds:
        print_note(f"{n_parts} parts in all are fewer than {kinds} kinds: each is a kind of its own.")
    for report in reports:
        if report.document is not None:
            _renumber(out, report.name, report.document, numbers[report.name])


def _renumber(out: Path, name: str, document: dict[str, Any], numbers: "np.ndarray") -> None:
    import numpy as np
    from PIL import Image

    from supercuts.images.io import write_labels_png, write_png

    files = [out / f"{name}{suffix}" for suffix in _SUFFIXES]
    with Image.open(files[0]) as image:
        labels = np.array(image, dtype=np.int32)
    for part, number in zip(document["parts"], numbers, strict=True):
        part["shared"] = int(number)
    of = np.array([0, *(part["object"] for part in document["parts"])], np.int32)
    painted = np.concatenate([[0], numbers]).astype(np.int32)[labels]
    boxes = np.array([one["box_yxyx"] for one in document["objects"]])
    photo = discovery.read_photo(Path(document["image"]))
    write_png(files[1], discovery.panel(photo, {"objects": of[labels], "parts": painted}, boxes))
    write_labels_png(files[0], painted)
    discovery.write_json(files[2], document)
