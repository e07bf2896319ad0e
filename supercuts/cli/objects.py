"""`supercuts objects` and `supercuts parts`: the objects of images, and their parts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import supercuts
from supercuts.cli.common import (
    FAILED,
    Superpixels,
    explain,
    one_line,
    print_error,
    print_json,
    print_note,
    progress,
    read_hierarchy,
    set_stop_note,
    working,
)
from supercuts.cli.segment import check_out, find_images, name_outputs
from supercuts.core.errors import InputError, SuperCutsError
from supercuts.core.files import atomic_paths, write_json

if TYPE_CHECKING:
    import numpy as np

    from supercuts.objects.parts import PartDescriptors
    from supercuts.objects.result import Objects, Parts


Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE", help="Image files, folders, globs, or hierarchies (.npz).")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder to write to; created if needed.")]
ModelName = Annotated[str, typer.Option("--model", help="compact, or a .safetensors file of weights.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of methods that start at random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]

_TILE_PX = 480  # long side of a panel's pictures
_FOUND = (88, 222, 255)


@dataclass(frozen=True, slots=True)
class ObjectsReport:
    """The result of one image: its document, or the error that prevented it."""

    image: str
    name: str
    document: dict[str, Any] | None = None
    error: str | None = None


def prepare_objects(images: list[Path], out: Path, suffixes: Iterable[str]) -> dict[Path, str]:
    """Return each input's output name and create the folder; raise InputError if an output would replace an input."""
    suffixes = list(suffixes)
    names = name_outputs(find_images(images, out), suffixes, images)
    check_out(out, names, suffixes)
    return names


def hierarchy_of(model: "supercuts.Model | None", path: Path, superpixels: int | None) -> "supercuts.Hierarchy":
    """Return the hierarchy of an image, or the one stored in a .npz file; without a model no input exists."""
    from supercuts.images.formats.stored import check_is_file

    if path.suffix.lower() == ".npz":
        return read_hierarchy(path)
    check_is_file(str(path))
    assert model is not None
    return model.segment(path, superpixels=superpixels)


def for_each(
    names: Mapping[Path, str],
    work: Callable[[Path, str, Callable[..., None]], dict[str, Any]],
    description: str,
    remedy: str = "run the command again on the others",
) -> list[ObjectsReport]:
    """Call work(path, name, step) for each image, with a progress bar; step(done, all, note) shows steps within one.

    remedy: the remedy after an interruption.
    """
    reports: list[ObjectsReport] = []
    with progress() as bar:
        task = bar.add_task(description, total=len(names))
        steps = bar.add_task("steps", visible=False)

        def step(done: int, n: int, note: str = "steps") -> None:
            bar.update(steps, completed=done, total=n, description=note, visible=True)

        for path, name in names.items():
            set_stop_note(f"{len(reports)} of {len(names)} images are done; {remedy}")
            bar.update(task, description=path.name)
            try:
                document = work(path, name, step)
                reports.append(ObjectsReport(str(path), name, document))
            except (SuperCutsError, OSError) as error:  # the other images may still succeed
                reports.append(ObjectsReport(str(path), name, error=explain(error, path)))
            bar.update(steps, visible=False)
            bar.advance(task)
    return reports


def finish_objects(
    reports: list[ObjectsReport], out: Path, columns: Mapping[str, Callable[[dict[str, Any]], str]], as_json: bool
) -> None:
    """Print the results and every image that failed; exit with code 1 if one did."""
    if as_json:
        documents = [report.document or {"image": report.image, "error": report.error} for report in reports]
        print_json({"images": documents})
    elif any(report.document for report in reports):
        table = Table("image", caption=Text(one_line(f"written to {out}")), caption_justify="left")
        for title in columns:
            table.add_column(title, justify="right", no_wrap=True)
        for report in reports:
            if report.document is not None:
                table.add_row(Text(one_line(report.name)), *(cell(report.document) for cell in columns.values()))
        Console().print(table)
    errors = [report.error for report in reports if report.error is not None]
    for error in errors:
        print_error(error)
    if errors:
        print_error(f"{len(errors)} of {len(reports)} images failed")
        raise typer.Exit(FAILED)


def photo_of(h: "supercuts.Hierarchy") -> "np.ndarray":
    """Return the image of the hierarchy, for drawing on."""
    if h._image is None:
        raise InputError("the hierarchy holds no image to draw on. Segment the image itself.")
    return h._image


def read_photo(path: Path) -> "np.ndarray":
    """Return the image for drawing on, read again from the file."""
    from supercuts.images.convert import preview
    from supercuts.images.io import read_channels

    return photo_of(read_hierarchy(path)) if path.suffix.lower() == ".npz" else preview(read_channels(path))


def panel(photo: "np.ndarray", tiles: "Mapping[str, np.ndarray]", boxes: "np.ndarray") -> "np.ndarray":
    """Return the photo next to one picture per tile: a label map (H, W) int32, or a map in 0..1 (H, W) float32.

    boxes (K, 4), y0 x0 y1 x1, are drawn into the first label map.
    """
    import numpy as np
    from PIL import Image

    from supercuts.evaluate.plot import draw_regions
    from supercuts.images.draw import contact_sheet

    height, width = photo.shape[:2]
    factor = min(1.0, _TILE_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.array(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))
    scale = np.array([size[1] / height, size[0] / width])
    pictures = [small]
    for tile in tiles.values():
        if tile.dtype == np.float32:
            grey = np.array(Image.fromarray(np.rint(tile * 255).astype(np.uint8)).resize(size))
            pictures.append(np.repeat(grey[..., None], 3, axis=2))
        else:
            pictures.append(draw_regions(small, tile, _FOUND, boxes, scale))
            boxes = boxes[:0]
    return contact_sheet(pictures, ["image", *tiles], columns=len(pictures))


_SUFFIXES = ("_objects.png", "_objects_panel.png", "_objects.json")


def objects(
    images: Images,
    out: Out,
    model: ModelName = "compact",
    n: Annotated[int, typer.Option("-n", "--objects", min=1, metavar="N", help="At most this many objects.")] = 1,
    method: Annotated[
        str | None, typer.Option(help="tree (the default), tokencut, deep_spectral, lost, deepcut or deepcut_cc.")
    ] = None,
    superpixels: Superpixels = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Find the objects in images: masks, boxes and a panel for each, all that stands out as one object unless -n."""
    names = prepare_objects(images, out, _SUFFIXES)
    _check_method(method)
    with working(f"loading model {model}"):
        finder: Any = supercuts.load(model) if any(map(Path.exists, names)) else None

    def find(path: Path, name: str, step: Callable[[int, int], None]) -> dict[str, Any]:
        h = hierarchy_of(finder, path, superpixels)
        return write_objects(out, path, name, h, finder.objects(h, n, method, seed, step))

    reports = for_each(names, find, "objects")
    columns = {
        "objects": lambda document: str(len(document["objects"])),
        "best box (y0 x0 y1 x1)": lambda document: " ".join(map(str, document["objects"][0]["box_yxyx"])),
        "area": lambda document: f"{100 * document['objects'][0]['share']:.1f} %",
        "score": lambda document: f"{document['objects'][0]['score']:.2f}",
    }
    finish_objects(reports, out, columns, as_json)


def _check_method(method: str | None) -> None:
    from supercuts.core.checks import check_choice
    from supercuts.objects.discover import METHODS

    if method is not None:
        check_choice("--method", method, METHODS)


def write_objects(out: Path, path: Path, name: str, h: "supercuts.Hierarchy", objects: "Objects") -> dict[str, Any]:
    """Write the labels, the panel and the document of one image; return the document."""
    from supercuts.images.io import write_labels_png, write_png

    labels = labels_of(objects)
    files = [out / f"{name}{suffix}" for suffix in _SUFFIXES]
    picture = panel(photo_of(h), {"objects": labels, "saliency": objects.saliency}, objects.boxes_yxyx)
    height, width = h.shape
    document = {
        "image": str(path),
        "height": height,
        "width": width,
        "objects": describe(objects, int(h.areas()[-1])),
        "files": [str(file) for file in files],
    }
    with atomic_paths(files) as staged:
        write_labels_png(staged[0], labels, palette=True)
        write_png(staged[1], picture)
        write_json(staged[2], document)
    return document


def labels_of(objects: "Objects") -> "np.ndarray":
    """Return (H, W) int32: 0 outside all objects, 1.. for the objects, best first."""
    import numpy as np

    n = len(objects.masks)
    labels: np.ndarray = np.arange(1, n + 1, dtype=np.int32) @ objects.masks.reshape(n, -1)
    return labels.reshape(objects.saliency.shape)


def describe(objects: "Objects", n_pixels: int) -> list[dict[str, Any]]:
    """Return the entry of each object in a document; n_pixels is the number of valid pixels of the image."""
    return [
        {
            "label": i + 1,
            "score": round(float(score), 4),
            "box_yxyx": box.tolist(),
            "area": int(mask.sum()),
            "share": round(int(mask.sum()) / n_pixels, 4),
        }
        for i, (mask, score, box) in enumerate(zip(objects.masks, objects.scores, objects.boxes_yxyx, strict=True))
    ]


_PART_SUFFIXES = ("_parts.png", "_parts_panel.png", "_parts.json")
_KINDS = 8  # default number of kinds of parts in a folder


def parts(
    images: Images,
    out: Out,
    model: ModelName = "compact",
    k: Annotated[
        int | None,
        typer.Option("-k", "--parts", min=1, metavar="K", help="Parts per object; default: as each divides."),
    ] = None,
    method: Annotated[str, typer.Option(help="tree, spectral or deepcut.")] = "tree",
    n: Annotated[int, typer.Option("-n", "--objects", min=1, metavar="N", help="At most this many objects.")] = 1,
    shared: Annotated[
        bool, typer.Option("--shared", help="Match parts across images: the same number and colour mean the same part.")
    ] = False,
    kinds: Annotated[int, typer.Option(min=1, metavar="N", help="Number of kinds of parts, with --shared.")] = _KINDS,
    superpixels: Superpixels = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Divide the objects in images into parts, which lie inside the objects."""
    names = prepare_objects(images, out, _PART_SUFFIXES)
    _check_part_method(method)
    with working(f"loading model {model}"):
        finder: Any = supercuts.load(model) if any(map(Path.exists, names)) else None
    descriptors: dict[str, PartDescriptors] = {}

    def find(path: Path, name: str, step: Callable[[int, int], None]) -> dict[str, Any]:
        h = hierarchy_of(finder, path, superpixels)
        objects = finder.objects(h, n, seed=seed)
        objects_parts = finder.parts(h, k, method, seed=seed, progress=step, objects=objects)
        if shared:
            from supercuts.objects.parts import describe_parts

            descriptors[name] = describe_parts(h, objects, objects_parts, finder.leaf_features(h))
        return write_parts(out, path, name, h, objects, objects_parts)

    reports = for_each(names, find, "parts")
    if shared and descriptors:
        _share(out, descriptors, reports, kinds, seed)
    columns = {
        "parts": lambda document: str(len(document["parts"])),
        "objects": lambda document: str(len(document["objects"])),
    }
    finish_objects(reports, out, columns, as_json)


def _check_part_method(method: str) -> None:
    from supercuts.core.checks import check_choice
    from supercuts.objects.parts import METHODS

    check_choice("--method", method, METHODS)


def write_parts(
    out: Path, path: Path, name: str, h: "supercuts.Hierarchy", objects: "Objects", parts: "Parts"
) -> dict[str, Any]:
    """Write the labels, the panel and the document of one image; return the document."""
    import numpy as np

    from supercuts.images.io import write_labels_png, write_png

    files = [out / f"{name}{suffix}" for suffix in _PART_SUFFIXES]
    tiles = {"objects": labels_of(objects), "parts": parts.labels}
    height, width = h.shape
    areas = np.bincount(parts.labels.ravel(), minlength=parts.object_of.size + 1)[1:]
    document = {
        "image": str(path),
        "height": height,
        "width": width,
        "objects": describe(objects, int(h.areas()[-1])),
        "parts": [
            {"label": i + 1, "object": int(object_number) + 1, "area": int(area)}
            for i, (object_number, area) in enumerate(zip(parts.object_of, areas, strict=True))
        ],
        "files": [str(file) for file in files],
    }
    with atomic_paths(files) as staged:
        write_labels_png(staged[0], parts.labels, palette=True)
        write_png(staged[1], panel(photo_of(h), tiles, objects.boxes_yxyx))
        write_json(staged[2], document)
    return document


def _share(
    out: Path, descriptors: "dict[str, PartDescriptors]", reports: list[ObjectsReport], kinds: int, seed: int
) -> None:
    """Write the shared numbers of the parts of all images into the labels, the panels and the documents."""
    from supercuts.objects.parts import share_parts

    with working("clustering parts"):
        numbers = dict(zip(descriptors, share_parts(list(descriptors.values()), kinds, seed), strict=True))
    if (n_parts := sum(part_numbers.size for part_numbers in numbers.values())) < kinds:
        print_note(f"{n_parts} parts in all are fewer than {kinds} kinds: each becomes a kind of its own.")
    for report in reports:
        if report.document is not None:
            _renumber(out, report.name, report.document, numbers[report.name])


def _renumber(out: Path, name: str, document: dict[str, Any], numbers: "np.ndarray") -> None:
    import numpy as np
    from PIL import Image

    from supercuts.images.io import write_labels_png, write_png

    files = [out / f"{name}{suffix}" for suffix in _PART_SUFFIXES]
    with Image.open(files[0]) as image:
        labels = np.array(image, dtype=np.int32)
    for part, number in zip(document["parts"], numbers, strict=True):
        part["shared"] = int(number)
    object_of = np.array([0, *(part["object"] for part in document["parts"])], np.int32)
    painted = np.concatenate([[0], numbers]).astype(np.int32)[labels]
    boxes = np.array([entry["box_yxyx"] for entry in document["objects"]])
    photo = read_photo(Path(document["image"]))
    with atomic_paths(files) as staged:
        write_labels_png(staged[0], painted, palette=True)
        write_png(staged[1], panel(photo, {"objects": object_of[labels], "parts": painted}, boxes))
        write_json(staged[2], document)
