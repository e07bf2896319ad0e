"""`supercuts export`: a hierarchy in another program's format.

In   FILE.npz, the name of a format, how to cut, where the image lies on Earth
Out  the file or folder that the format's writer makes
Not  no writer: export/registry.py knows which serves the format
"""

from pathlib import Path
from typing import Annotated

import typer

from supercuts.cli.common import FAILED, print_error, read_hierarchy, working

_FORMATS = (
    "npz; ucm (.mat, .npy); labels (.png, .tif); masks (folder); coco, sam (.json); geojson, gpkg, geotiff, svg; "
    "networkx-rag, networkx-tree (.graphml, .json); pyg, pyg-levels (.pt); linkage (.npy); ome-zarr (folder); "
    "html (the viewer)."
)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="A hierarchy written by `supercuts segment`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; for masks and ome-zarr a new folder.")],
    format: Annotated[str, typer.Option(help=_FORMATS)],
    regions: Annotated[int | None, typer.Option(help="Only the cut into exactly this many regions.")] = None,
    level: Annotated[str | None, typer.Option(help="Only this level: scene, object or part.")] = None,
    altitude: Annotated[float | None, typer.Option(help="Only the cut at this altitude, 0..1.")] = None,
    granularity: Annotated[float | None, typer.Option(help="Only the cut at this granularity, 0..1.")] = None,
    like: Annotated[Path | None, typer.Option(help="The GeoTIFF that was segmented: map coordinates.")] = None,
    every_node: Annotated[bool, typer.Option("--every-node", help="Polygons of all nodes of the tree.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --out.")] = False,
) -> None:
    """Write a hierarchy in another format."""
    from supercuts.core.checks import check_choice
    from supercuts.export.registry import FORMATS

    check_choice("--format", format, FORMATS)
    with working(f"writing {out}"):
        h = read_hierarchy(file)
        try:
            h.export(
                out,
                format,
                regions=regions,
                level=level,
                altitude=altitude,
                granularity=granularity,
                like=like,
                every_node=every_node,
                force=force,
            )
        except OSError as error:  # a full disk, a folder that may not be written to
            print_error(
                f"{out} cannot be written ({error.strerror or error}). Give a path with space that you may use."
            )
            raise typer.Exit(FAILED) from error
    typer.echo(f"{out}: {format} of {file}")
