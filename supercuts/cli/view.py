"""`supercuts view`: the interactive viewer of a hierarchy or of an image.

In   FILE.npz, or an image, which is segmented first
Out  one HTML page, opened in the browser
Not  no drawing: export/html_viewer.py makes the page
"""

from pathlib import Path
from typing import Annotated

import typer

import supercuts
from supercuts.cli.common import check_suffix, read_hierarchy, working
from supercuts.core.errors import InputError


def view(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz|IMAGE", help="A hierarchy, or an image to segment.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The .html page to write; without it, a temporary one.")
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    model: Annotated[str, typer.Option(help="For an image: compact, or a .safetensors file of weights.")] = "compact",
    superpixels: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="For an image: exactly this many superpixels.")
    ] = None,
) -> None:
    """Look at a hierarchy in the browser: any granularity, selections, scribbles."""
    if out is not None:
        check_suffix("--out", out, ".html")
    elif not is_opened:
        raise InputError("--no-open without --out would make a page that nobody sees. Give --out FILE.html.")
    from supercuts.export import html_viewer

    with working(f"making the viewer of {file}"):
        if file.suffix.lower() == ".npz":
            h = read_hierarchy(file)
        else:
            h = supercuts.load(model).segment(file, superpixels=superpixels)
        page = out or html_viewer.temporary_path(file.stem)
        html_viewer.write_html(page, h)
    if is_opened:
        html_viewer.open_in_browser(page)
    typer.echo(f"{page}: viewer of {file}")
