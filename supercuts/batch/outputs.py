"""The files that one image becomes: its hierarchy, pictures of its levels, formats of other programs.

In   a hierarchy, the file it was made from, which files are wanted
Out  the files in a folder, and what each is to be called beside the hierarchy
Not  no segmentation; nothing is put in its final place
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supercuts.core.checks import check_choice

if TYPE_CHECKING:
    from supercuts.hierarchy.tree import Hierarchy

REGIONS = {"part": 24, "object": 8, "scene": 3}  # finest first; the counts serve models without calibrated levels
VIEWS = ("superpixels", *REGIONS)
FORMATS = {  # what is added to an image's name; the hierarchy itself is always written
    "html": ".html",
    "ucm": "_ucm.mat",
    "labels": "_labels.tif",
    "masks": "_masks",
    "coco": "_coco.json",
    "sam": "_sam.json",
    "geojson": ".geojson",
    "gpkg": ".gpkg",
    "geotiff": "_geotiff.tif",
    "svg": ".svg",
    "networkx-rag": "_rag.graphml",
    "networkx-tree": "_tree.graphml",
    "pyg": "_pyg.pt",
    "pyg-levels": "_pyg-levels.pt",
    "linkage": "_linkage.npy",
    "ome-zarr": "_ome.zarr",
}
HIERARCHY = ".npz"


def suffixes(formats: Iterable[str], overlays: bool) -> list[str]:
    """Return what is added to the name of an image to name its outputs, the hierarchy last."""
    formats = list(formats)
    for name in formats:
        check_choice("--format", name, FORMATS)
    pictures = [f"_{view}.png" for view in (*VIEWS, "overview")] if overlays else []
    return [*pictures, *(FORMATS[name] for name in formats), HIERARCHY]


def cuts_of(h: "Hierarchy") -> dict[str, Any]:
    """Return the label map of each view, finest first."""
    levels = {
        level: h.cut(level=level) if level in h.levels else h.cut(regions=min(count, h.n_leaves))
        for level, count in REGIONS.items()
    }
    return {"superpixels": h.labels, **levels}


def write_outputs(
    folder: Path,
    name: str,
    path: Path,
    h: "Hierarchy",
    formats: Iterable[str],
    cuts: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write the hierarchy of the image at `path` into an empty folder; return the files by their suffix, it last.

    cuts: also pictures of these (cuts_of).
    """
    written: dict[str, Path] = {}
    if cuts is not None:
        written |= _write_pictures(folder, name, path, h, cuts)
    for format in formats:
        suffix = FORMATS[format]
        # some writers put the file's stem into the file: it is the image's name, whatever the suffix
        target = folder / format / f"{name}{Path('x' + suffix).suffix}"
        h.export(target, format=format, like=path if format == "geotiff" else None)
        written[suffix] = target
    written[HIERARCHY] = folder / f"{name}{HIERARCHY}"
    h.save(written[HIERARCHY])
    return written


def _write_pictures(folder: Path, name: str, path: Path, h: "Hierarchy", cuts: Mapping[str, Any]) -> dict[str, Path]:
    from supercuts.export._overlays import overlay, overview
    from supercuts.images.io import read_image, write_png

    photo = read_image(path) if h.image is None else h.image
    pictures = {f"_{view}.png": overlay(photo, labels, view) for view, labels in cuts.items()}
    pictures["_overview.png"] = overview(photo, cuts, h.ucm(), path.name)
    written = {suffix: folder / f"{name}{suffix}" for suffix in pictures}
    for suffix, picture in pictures.items():
        write_png(written[suffix], picture)
    return written
