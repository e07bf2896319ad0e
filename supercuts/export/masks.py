"""Write one PNG mask per region of the scene, object and part cuts.

In   a hierarchy with calibrated levels, the path of a new or empty folder
Out  <folder>/<level>/<region>.png (0 and 255) and <folder>/index.json, one entry per mask
Not  no leaves, no colours
"""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.core.files import atomic_folder
from supercuts.hierarchy.regions import RegionTable
from supercuts.hierarchy.tree import Hierarchy


def write(path: str | os.PathLike[str], hierarchy: Hierarchy, *, force: bool = False) -> None:
    """Write the masks to a folder that appears whole or not at all; force replaces an older folder of masks."""
    if not hierarchy.levels:
        raise InputError(
            f"{Path(path)}: masks are written per level and this hierarchy has none: segment with a model that carries "
            'levels, or export with format="ucm".'
        )
    with atomic_folder(path, "index.json", force) as folder:
        _write_folder(folder, hierarchy)


def _write_folder(folder: Path, hierarchy: Hierarchy) -> None:
    table = hierarchy.region_table()
    entries: list[dict[str, object]] = []
    for level in hierarchy.levels:
        (folder / level).mkdir(parents=True)
        entries += _write_level(folder, level, hierarchy, table)
    index = {"format_version": 1, "shape": list(hierarchy.shape), "levels": hierarchy.levels, "masks": entries}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _write_level(folder: Path, level: str, hierarchy: Hierarchy, table: RegionTable) -> list[dict[str, object]]:
    labels = hierarchy.cut(level=level)
    entries: list[dict[str, object]] = []
    for region, node in enumerate(hierarchy.cut_nodes(level=level).tolist()):
        name = f"{level}/{region:04d}.png"
        mask = (labels == region).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / name, compress_level=1)  # nearly as small for masks, much faster
        entries.append(
            {
                "file": name,
                "level": level,
                "region": region,
                "node": node,
                "area": int(table.area[node]),
                "bbox_yxyx": table.bbox_yxyx[node].tolist(),
                "centroid_yx": table.centroid_yx[node].tolist(),
                "altitude": float(table.altitude[node]),
            }
        )
    return entries
