"""`supercuts train`, `calibrate` and `onnx`: train a network, calibrate it, export it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from supercuts.cli.common import check_suffix, one_line, print_lines, print_note, progress, working
from supercuts.core.checks import check_installed
from supercuts.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from supercuts.networks.network import Calibration
    from supercuts.training.calibrate import Level


ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Network, data and training.")]
Resume = Annotated[bool, typer.Option(help="Resume from the run's last checkpoint; --no-resume fails if there is one.")]


def train(
    config: ConfigFile,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="Replace values: max_steps=2000 data.workers=4.")
    ] = None,
    resume: Resume = True,
) -> None:
    """Train a network; running the command again resumes an interrupted run."""
    check_config_exists(config)
    from supercuts.core.config import load_config
    from supercuts.training.training_config import TrainConfig

    settings = load_config(config, TrainConfig, overrides or [])
    if not resume:
        check_fresh(settings.out)
    check_installed(("lightning", "tensorboard"), extra="train")
    from supercuts.training import ssn

    weights = ssn.train_ssn(settings)
    print_lines(f"{weights}: trained weights; load them with supercuts.load({str(weights)!r})")


def check_fresh(run: Path) -> None:
    """Raise InputError if a run folder holds checkpoints; a user's run is never deleted."""
    if checkpoints := sorted(path.name for path in (run / "checkpoints").glob("*.ckpt")):
        raise InputError(
            f"--no-resume: {run / 'checkpoints'} already holds {', '.join(checkpoints)}. Give out=ANOTHER_FOLDER for a "
            "new run, or leave out --no-resume to resume this one."
        )


def check_config_exists(config: Path) -> None:
    """Raise ConfigError, listing the existing configurations, if this one does not exist."""
    if not config.is_file():
        names = sorted(str(path) for pattern in ("*.yaml", "*.yml") for path in config.parent.glob(pattern))
        holds = f"{config.parent} holds {', '.join(names) or 'no configuration'}"
        raise ConfigError(
            f"{config}: no such file; {holds}. Give one as the first argument: CONFIG.yaml [key=value ...]"
        )


def onnx(
    model: Annotated[str, typer.Argument(help="compact, or a .safetensors file of `supercuts train`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .onnx file to write.")],
    graph: Annotated[
        bool,
        typer.Option("--graph", help='A graph without weights, which load(MODEL, engine="onnx") reads next to MODEL.'),
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
    print_lines(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def calibrate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.safetensors", help="Written by `supercuts train`; is rewritten.")
    ],
    data: Annotated[str | None, typer.Option(help="Folder with BSDS500; else $SUPERCUTS_DATA, else ./data.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Your own images and labels, instead of BSDS500.")] = None,
    split: Annotated[
        Literal["train", "val", "train+val"], typer.Option(help="Split that the network was not trained on.")
    ] = "val",
    leaves: Annotated[int, typer.Option(min=2, help="Number of superpixels of the hierarchies to learn from.")] = 600,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N images.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random start.")] = 0,
    gnn: Annotated[bool, typer.Option("--gnn", help="Also learn the graph neural network of --merging gnn.")] = False,
    like: Annotated[
        Path | None, typer.Option(help="Copy the calibration of this model, for a network trained on all data.")
    ] = None,
) -> None:
    """Learn how regions merge and what is an object, and calibrate scene, object and part, into the model's file.

    A network that has seen an image is too sure of its boundaries there, so give images it was not trained on.
    """
    check_suffix("MODEL", model, ".safetensors")
    from supercuts.networks.files import load_network, write_calibration

    if like is not None:
        write_calibration(model, _calibration_of(like, model))
        print_lines(f"{model}: calibrated like {like}")
        return
    from supercuts.training.calibrate import CalibrationConfig, learn_calibration
    from supercuts.training.samples import make_dataset
    from supercuts.training.training_config import DataConfig

    samples = make_dataset(DataConfig(root=None if data is None else Path(data), folder=folder), split)[:limit]
    source = f"{folder or 'BSDS500'} {split}, {len(samples)} images, {leaves} superpixels, seed {seed}"
    config = CalibrationConfig(leaves=leaves, gnn=gnn, seed=seed)
    with progress() as bar:
        calibration, chosen = learn_calibration(
            load_network(model)[0], samples, config, lambda items, text: bar.track(items, description=text), working
        )
    write_calibration(model, replace(calibration, source=source))
    _print_levels(chosen, source)
    if len(samples) < 20:
        print_note(f"{len(samples)} images are few to learn from: the affinity may not hold on others.")
    print_lines(f"{model}: affinity,{' graph neural network,' if gnn else ''} figure and ground and levels written")


def _calibration_of(like: Path, model: Path) -> "Calibration":
    from supercuts.networks.files import load_network
    from supercuts.networks.network import read_calibration

    network, of_other, calibration = load_network(model)[0], load_network(like)[0], read_calibration(like)
    if not calibration.arrays or of_other.config != network.config:
        lacks = "is a network of another kind" if calibration.arrays else "has not been calibrated"
        raise InputError(f"--like {like}: {lacks}. Give a calibrated model of the same configuration.")
    return calibration


def _print_levels(levels: dict[str, "Level"], caption: str) -> None:
    table = Table(caption=Text(one_line(caption)), caption_justify="left")
    for title in ("level", "altitude", "Rand index", "covering", "regions (median)", "annotator's regions (median)"):
        table.add_column(title, justify="right" if table.columns else "left")
    for name, level in levels.items():
        agreement = f"{level.rand_index:.4f}", f"{level.covering:.4f}"
        table.add_row(name, f"{level.altitude:.2f}", *agreement, f"{level.regions:.0f}", f"{level.truth_regions:.0f}")
    Console().print(table)
