"""`supercuts onnx`: a network as an ONNX file, for other programs or for engine="onnx".

In   a model of torch
Out  one .onnx file, for images of any size
Not  no export (networks/onnx_export.py), no superpixels in the file
"""

from pathlib import Path
from typing import Annotated

import typer

from supercuts.cli.common import check_suffix, working


def onnx(
    model: Annotated[str, typer.Argument(help="compact, or a .safetensors file of `supercuts train`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .onnx file to write.")],
    graph: Annotated[
        bool,
        typer.Option("--graph", help='Without weights, for load(MODEL, engine="onnx"), which finds it beside MODEL.'),
    ] = False,
) -> None:
    """Write the network as an ONNX file: images to boundaries and embeddings, any size, any batch."""
    check_suffix("--out", out, ".onnx")
    from supercuts.networks.files import load_network
    from supercuts.networks.network import weights_path
    from supercuts.networks.onnx_export import export_onnx

    network, _ = load_network(weights_path(model))
    with working(f"writing {out}"):
        export_onnx(out, network, graph_only=graph)
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
