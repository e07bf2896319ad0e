"""What `supercuts objects` and `supercuts parts` share: their inputs, the loop over images, panels and documents.

In   image files, folders, globs and hierarchies (.npz); a function that finds and writes what one of them holds
Out  Reports; panels as pictures; JSON documents
Not  no discovery; an image that fails does not stop the others
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import supercuts
from supercuts.cli.common import FAILED, print_error, print_json, progress, read_hierarchy
from supercuts.cli.segment import find_images, name_outputs
from supercuts.core.errors import InputError, SuperCutsError
from supercuts.core.files import atomic_path

if TYPE_CHECKING:
    import numpy as np

Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE", help="Image files, folders, globs, or hierarchies (.npz).")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder to write to; created if needed.")]
ModelName = Annotated[str, typer.Option("--model", help="compact, or a .safetensors file of weights.")]
Superpixels = Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the hierarchies that are made.")]
Seed = Annotated[int, typer.Option(min=0, help="Of methods that start at random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]

_TILE_PX = 480  # long side of a panel's pictures
_FOUND = (88, 222, 255)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one image: its document, or why there is none."""

    image: str
    name: str
    document: dict[str, Any] | None = None
    error: str | None = None


def prepare(images: list[Path], out: Path, suffixes: Iterable[str]) -> dict[Path, str]:
    """Return each input's output name and create the folder; refuse one in which an output would replace an input."""
    names = name_outputs(find_images(images))
    targets = {out.resolve() / f"{name}{suffix}" for name in names.values() for suffix in suffixes}
    for path in names:
        if path.parent.resolve() / path.name in targets:
            raise InputError(f"{path} would be overwritten by an output of that name. Give another folder to --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be created ({error.strerror}). Give a folder that may be.") from error
    return names


def hierarchy_of(model: "supercuts.Model", path: Path, superpixels: int | None) -> "supercuts.Hierarchy":
    """Return the hierarchy of an image, or the one that a file holds."""
    if path.suffix.lower() == ".npz":
        return read_hierarchy(path)
    return model.segment(path, superpixels=superpixels)


def for_each(
    names: Mapping[Path, str],
    work: Callable[[Path, str, Callable[..., None]], dict[str, Any]],
    what: str,
) -> list[Report]:
    """Call work(path, name, step) for each image behind a progress bar; step(done, all, note) shows steps within."""
    reports = []
    with progress() as bar:
        task = bar.add_task(what, total=len(names))
        steps = bar.add_task("steps", visible=False)

        def step(done: int, n: int, note: str = "steps") -> None:
            bar.update(steps, completed=done, total=n, description=note, visible=True)

        for path, name in names.items():
            bar.update(task, description=path.name)
            try:
                document = work(path, name, step)
                reports.append(Report(str(path), name, document))
            except (SuperCutsError, OSError) as error:  # the other images may still succeed
                message = str(error)
                said = message if str(path) in message else f"{path}: {message}"
                reports.append(Report(str(path), name, error=said))
            bar.update(steps, visible=False)
            bar.advance(task)
    return reports


def finish(
    reports: list[Report], out: Path, columns: Mapping[str, Callable[[dict[str, Any]], str]], as_json: bool
) -> None:
    """Print what was found; name every image that failed and leave with exit code 1 if one did."""
    if as_json:
        documents = [report.document or {"image": report.image, "error": report.error} for report in reports]
        print_json({"images": documents})
    elif any(report.document for report in reports):
        table = Table("image", caption=Text(f"written to {out}"), caption_justify="left")
        for title in columns:
            table.add_column(title, justify="right", no_wrap=True)
        for report in reports:
            if report.document is not None:
                table.add_row(Text(report.name), *(cell(report.document) for cell in columns.values()))
        Console().print(table)
    errors = [report.error for report in reports if report.error is not None]
    for error in errors:
        print_error(error)
    if errors:
        print_error(f"{len(errors)} of {len(reports)} images failed")
        raise typer.Exit(FAILED)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")


def photo_of(h: "supercuts.Hierarchy") -> "np.ndarray":
    """Return the image that pictures are drawn on."""
    if h.image is None:
        raise InputError("the hierarchy holds no image to draw on. Segment the image itself.")
    return h.image


def read_photo(path: Path) -> "np.ndarray":
    """Return the same from the file again."""
    from supercuts.images.bands import preview, read_channels

    return photo_of(read_hierarchy(path)) if path.suffix.lower() == ".npz" else preview(read_channels(path))


def panel(photo: "np.ndarray", tiles: "Mapping[str, np.ndarray]", boxes: "np.ndarray") -> "np.ndarray":
    """Return the photo and beside it one picture per tile: a label map (H, W) int32, or a map in 0..1 (H, W) float32.

    boxes (K, 4), y0 x0 y1 x1, are drawn into the first label map.
    """
    import numpy as np
    from PIL import Image

    from supercuts.evaluate.sheet import draw_regions
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
