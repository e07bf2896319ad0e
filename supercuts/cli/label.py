"""`supercuts label`: segment photographs as people might, so that a network can be trained on them.

In   image files, folders and globs; a calibrated model
Out  OUT/images/NAME.png and OUT/labels/NAME/*.png, which data.extra=[OUT] of `supercuts train` takes
Not  no training; the work is in training/self_training.py
"""

from pathlib import Path
from typing import Annotated

import typer

from supercuts.cli.common import FAILED, Views, print_error, progress, working
from supercuts.core.errors import SuperCutsError


def label(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files, folders of images, globs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to; what is in it is kept.")],
    model: Annotated[str, typer.Option(help="compact, or a calibrated .safetensors file.")] = "compact",
    views: Views = "many",
    longest: Annotated[int, typer.Option(min=32, metavar="PX", help="Shrink images whose longer side is above.")] = 481,
) -> None:
    """Segment photographs that nobody has segmented, as several people might, to train a network on them.

    Started again, it goes on with the images that are missing.
    """
    from supercuts.cli.segment import find_images, name_outputs
    from supercuts.pipeline import load
    from supercuts.training.self_training import segment_for_training

    names = name_outputs(find_images(images))
    with working(f"loading model {model}"):
        network = load(model, views=views)
    errors, n_made = [], 0
    with progress() as bar:
        for path, name in bar.track(names.items(), description="segmenting"):
            try:
                n_made += segment_for_training(path, out, name, network, longest)
            except (SuperCutsError, OSError) as error:
                errors.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    typer.echo(f"{out}: {n_made} images segmented, {len(names) - n_made - len(errors)} were there already")
    for message in errors:
        print_error(message)
    if errors:
        print_error(f"{len(errors)} of {len(names)} images failed")
        raise typer.Exit(FAILED)
