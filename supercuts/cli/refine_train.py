"""`supercuts refine-train`: train W-Net, the classifier approach or the autoencoder approach.

In   CONFIG.yaml, key=value overrides
Out  the run's folder, made by training/learned_refiners.py
Not  no training loop, no defaults: they are in training/learned_refiners.py
"""

from pathlib import Path
from typing import Annotated

import typer

from supercuts.cli.train import check_config_exists, check_fresh
from supercuts.core.checks import check_installed


def refine_train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to train, on what, for how long.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="Replace values: epochs=2 data.limit=100.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on from the run's last checkpoint; --no-resume refuses if there is one.")
    ] = True,
) -> None:
    """Train a network that segments without annotations of regions; a run that was interrupted goes on."""
    check_config_exists(config)
    check_installed(("lightning", "tensorboard"), extra="train")
    from supercuts.core.config import load_config
    from supercuts.training.learned_refiners import LearnedTrainConfig, train

    settings = load_config(config, LearnedTrainConfig, overrides or [])
    if not resume:
        check_fresh(settings.out)
    weights = train(settings)
    if settings.pictures:
        typer.echo(f"{weights.parent / 'segmentations'}: {settings.pictures} images, segmented")
    typer.echo(f"{weights}: trained weights; use them with supercuts refine-apply {weights} IMAGE -o OUT")
