"""`supercuts train`: a training run described by a YAML file.

In   CONFIG.yaml, key=value overrides
Out  the run's folder, made by training/ssn.py
Not  no training loop, no defaults: they are in training/config.py
"""

from pathlib import Path
from typing import Annotated

import typer

from supercuts.core.checks import check_installed
from supercuts.core.errors import ConfigError, InputError


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to train, on what, for how long.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="Replace values: max_steps=2000 data.workers=4.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on from the run's last checkpoint; --no-resume refuses if there is one.")
    ] = True,
) -> None:
    """Train a network; a run that was interrupted goes on where it stopped when the command is given again."""
    check_config_exists(config)
    from supercuts.core.config import load_config
    from supercuts.training.config import TrainConfig

    settings = load_config(config, TrainConfig, overrides or [])
    if not resume:
        check_fresh(settings.out)
    check_installed(("lightning", "tensorboard"), extra="train")
    from supercuts.training import ssn

    weights = ssn.train(settings)
    typer.echo(f"{weights}: trained weights; load them with supercuts.load({str(weights)!r})")


def check_fresh(run: Path) -> None:
    """Refuse a run folder that holds checkpoints: nothing of a user's run is ever deleted here."""
    if found := sorted(path.name for path in (run / "checkpoints").glob("*.ckpt")):
        raise InputError(
            f"--no-resume: {run / 'checkpoints'} already holds {', '.join(found)}. Give out=ANOTHER_FOLDER for a new "
            "run, or leave out --no-resume to go on with this one."
        )


def check_config_exists(config: Path) -> None:
    """Refuse a configuration that is not there, and name those that are."""
    if not config.is_file():
        names = sorted(str(path) for pattern in ("*.yaml", "*.yml") for path in config.parent.glob(pattern))
        holds = f"{config.parent} holds {', '.join(names) or 'no configuration'}"
        raise ConfigError(
            f"{config}: no such file; {holds}. Give one as the first argument: CONFIG.yaml [key=value ...]"
        )
