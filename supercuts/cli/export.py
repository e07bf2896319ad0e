"""`supercuts export`: a hierarchy in another program's format.

In   FILE.npz, the name of a format
Out  the file or folder that the format's writer makes
Not  no writer: export/registry.py knows which serves the format
"""

from pathlib import Path
from typing import Annotated

import typer

from supercuts.cli.common import read_hierarchy, working


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="A hierarchy written by `supercuts segment`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; for masks a new folder.")],
    format: Annotated[
        str, typer.Option(help="ucm (.mat or .npy), npz, masks (one PNG per region and level) or html (the viewer).")
    ],
) -> None:
    """Write a hierarchy in another format."""
    from supercuts.core.checks import check_choice
    from supercuts.export.registry import WRITERS

    check_choice("--format", format, WRITERS)
    with working(f"writing {out}"):
        read_hierarchy(file).export(out, format=format)
    typer.echo(f"{out}: {format} of {file}")
