"""The files that one image becomes: its hierarchy, pictures of its levels, formats of other programs.

In   a hierarchy, the file it was made from, which files are wanted
Out  the files in a folder, and what each is to be called beside the hierarchy
Not  no segmentation; nothing is put in its final place
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supercuts.core.checks import check_choice
from supercuts.export.registry import FORMATS

if TYPE_CHECKING:
    from supercuts.hierarchy.tree import Hierarchy

REGIONS = {"part": 24, "object": 8, "scene": 3}  # finest first; the counts serve models without calibrated levels
VIEWS = ("superpixels", *REGIONS)
ALSO = tuple(name for name in FORMATS if name != "npz")  # formats beside the hierarchy itself
HIERARCHY = FORMATS["npz"].suffix  # always written, and last
_LARGE_PIXELS = 4_000_000  # the contours of larger images, 16 bytes a pixel, are drawn of a sample


def suffixes(formats: Iterable[str], overlays: bool) -> list[str]:
    """Return what is added to the name of an image to name its outputs, the hierarchy last."""
    formats = list(formats)
    for name in formats:
        check_choice("--format", name, ALSO)
    pictures = [f"_{view}.png" for view in (*VIEWS, "overview")] if overlays else []
    return [*pictures, *(FORMATS[name].suffix for name in formats), HIERARCHY]


def keyword_of(h: "Hierarchy", level: str) -> dict[str, Any]:
    """Return how to cut at a level; of a model without calibrated levels by number."""
    return {"level": level} if level in h.levels else {"regions": min(REGIONS[level], h.n_leaves)}


def write_outputs(
    folder: Path,
    name: str,
    path: Path,
    h: "Hierarchy",
    formats: Iterable[str],
    overlays: bool = False,
) -> dict[str, Path]:
    """Write the hierarchy of the image at `path` into an empty folder; return the files by their suffix, it last.

    overlays: also pictures of its superpixels and levels.
    """
    written: dict[str, Path] = {}
    if overlays:
        written |= _write_pictures(folder, name, path, h)
    for format in formats:
        suffix = FORMATS[format].suffix
        # some writers put the file's stem into the file: it is the image's name, whatever the suffix
        target = folder / format / f"{name}{Path('x' + suffix).suffix}"
        h.export(target, format=format, like=path if format == "geotiff" else None)
        written[suffix] = target
    written[HIERARCHY] = folder / f"{name}{HIERARCHY}"
    h.save(written[HIERARCHY])
    return written


def _write_pictures(folder: Path, name: str, path: Path, h: "Hierarchy") -> dict[str, Path]:
    from supercuts.export._overlays import overlay, overview, sampled
    from supercuts.hierarchy.saliency import contour_map
    from supercuts.images.io import read_image, write_png

    photo = read_image(path) if h.image is None else h.image
    cuts, written = {}, {f"_{view}.png": folder / f"{name}_{view}.png" for view in (*VIEWS, "overview")}
    for view in VIEWS:  # one label map at a time: of large images each takes as much memory as the hierarchy
        labels = h.labels if view == "superpixels" else h.cut(**keyword_of(h, view))
        write_png(written[f"_{view}.png"], overlay(photo, labels, view))
        cuts[view] = sampled(labels)
    is_large = h.labels.size > _LARGE_PIXELS
    contours = contour_map(cuts["superpixels"], h.parents, h.altitudes) if is_large else h.ucm()
    counts = {"superpixels": h.n_leaves, **{level: int(h.cut_nodes(**keyword_of(h, level)).size) for level in REGIONS}}
    write_png(written["_overview.png"], overview(photo, cuts, contours, path.name, counts))
    return written
