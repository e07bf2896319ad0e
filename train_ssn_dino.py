"""Train SSN on DINO features: `supercuts train` with configs/ssn_dino_bsds500.yaml unless another file is given.

In   [CONFIG.yaml] [key=value ...]
Out  the run's folder, as the configuration says
Not  no training code: supercuts/training/ssn.py

    python train_ssn_dino.py
    python train_ssn_dino.py max_steps=2000 out=runs/short
"""

import sys
from pathlib import Path

import typer

from supercuts.cli.common import Command
from supercuts.cli.train import train

CONFIG = Path(__file__).resolve().parent / "configs" / "ssn_dino_bsds500.yaml"


def is_config(argument: str) -> bool:
    """Return whether an argument is a path, not an option or a key=value override."""
    return not argument.startswith("-") and "=" not in argument


if __name__ == "__main__":  # worker processes import this file
    arguments = sys.argv[1:]
    if not any(map(is_config, arguments)):
        arguments = [str(CONFIG), *arguments]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=Command)(train)
    app(arguments)
