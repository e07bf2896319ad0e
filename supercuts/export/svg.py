"""Write the regions as a drawing.

In   a hierarchy, a path ending in .svg
Out  one group a cut, coarsest first, of one path a region in its mean colour; the picture's pixel is the unit
Not  no embedded photo, no smoothing of outlines
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from supercuts.core.checks import check_choice
from supercuts.core.files import atomic_path
from supercuts.export.outlines import Polygon, outlines
from supercuts.export.partitions import Partition, partitions
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.tree import Hierarchy


def write(path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None) -> None:
    """Write one cut; without one every level and the superpixels, each a group whose id is its name."""
    check_choice("suffix of a drawing", Path(path).suffix.lower(), (".svg",))
    height, width = hierarchy.shape
    # crispEdges: antialiasing would show seams between regions that touch
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'fill-rule="evenodd" shape-rendering="crispEdges">'
    ]
    for part in partitions(hierarchy, how):
        lines += _group(hierarchy, part)
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")


def _group(hierarchy: Hierarchy, part: Partition) -> list[str]:
    colors = np.rint(mean_colors(hierarchy, part)).astype(int).tolist()
    lines = [f'<g id="{part.name}">']
    for region, outline in enumerate(outlines(hierarchy, part.nodes)):
        fill = "#{:02x}{:02x}{:02x}".format(*colors[region])
        # the id of a node may stand in several groups: ids of a document are unique, data- attributes are not
        lines.append(
            f'<path data-node="{outline.node}" data-region="{region}" fill="{fill}" d="{_path(outline.polygons)}"/>'
        )
    return [*lines, "</g>"]


def mean_colors(hierarchy: Hierarchy, part: Partition) -> Float64[np.ndarray, "regions 3"]:
    """Return the mean RGB of each region, of a hierarchy without an image greys that tell regions apart."""
    n_regions = part.nodes.size
    if hierarchy.image is None:
        greys = 64 + 37 * np.arange(n_regions) % 160
        return np.repeat(greys[:, None], 3, axis=1).astype(np.float64)
    is_valid = part.labels >= 0
    flat, pixels = part.labels[is_valid], hierarchy.image[is_valid]
    sums = [np.bincount(flat, pixels[:, channel], minlength=n_regions) for channel in range(3)]
    means: np.ndarray = np.stack(sums, axis=1) / np.bincount(flat, minlength=n_regions)[:, None]
    return means


def _path(polygons: list[Polygon]) -> str:
    rings = [ring for polygon in polygons for ring in polygon]
    return "".join("M" + "L".join(f"{x} {y}" for x, y in ring.tolist()) + "Z" for ring in rings)
