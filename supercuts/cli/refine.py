"""`supercuts refine`: labels by networks fitted to an image (fit) or to a data set (train, apply)."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supercuts.cli import objects as discovery
from supercuts.cli.common import Command, Group, Overwrite, print_lines, print_note, progress, working
from supercuts.cli.objects import AsJson, Images, Out, finish_objects, for_each, prepare_objects
from supercuts.cli.segment import find_images
from supercuts.cli.train import ConfigFile, Resume, check_config_exists, check_fresh
from supercuts.core.checks import check_installed
from supercuts.core.errors import InputError
from supercuts.core.files import check_replaceable

if TYPE_CHECKING:
    import numpy as np

    from supercuts.hierarchy.tree import Hierarchy
    from supercuts.refine.fit import Step
    from supercuts.refine.refine_config import RefineConfig
    from supercuts.refine.refiner import KanezakiCNN
    from supercuts.refine.runs import Run, Tree


_PNG_SUFFIX = "_scribble.png"


class _FitUnlessNamed(Group):
    """A group whose command is `fit` unless another one is named, so that `supercuts refine IMAGE` works."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Any: as in common.Command
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["fit", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    cls=_FitUnlessNamed,
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog="Example: supercuts refine photo.jpg -o refined --config configs/refine_sp.yaml epochs=4 --show 2",
)


@app.callback()
def refine() -> None:
    """Label images by networks fitted to them (fit, the command unless another is named), or to a data set."""


@app.command(
    cls=Command,
    epilog="Example: supercuts refine fit photo.jpg -o fitted --config configs/refine_sp.yaml epochs=4 --show 2",
)
def fit(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE|key=value", help="Images, folders, globs; settings to override.")
    ],
    out: discovery.Out,
    method: Annotated[str | None, typer.Option(help="sp (superpixels) or st (continuity), as published.")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="CONFIG.yaml", help="Settings; default: as published for --method, if given.")
    ] = None,
    scribbles: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG|FOLDER",
            help="Grey PNG of classes, 255 for none; for several images a folder of NAME_scribble.png.",
        ),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Fit one network to these images, then label IMAGE... with it."),
    ] = None,
    show: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Draw every N-th step: PNGs while it runs, then a GIF.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    overwrite: Overwrite = False,
    as_json: discovery.AsJson = False,
) -> None:
    """Label images by networks fitted to them; running the command again skips finished images."""
    overrides = [text for text in images if "=" in text and not Path(text).exists()]
    paths = [Path(text) for text in images if text not in overrides]
    if not paths:
        raise InputError("no IMAGE given: name image files, folders or globs before key=value settings.")
    settings = read_settings(config, method, overrides, is_ours=scribbles is None and train is None)
    from supercuts.refine import runs

    suffixes = runs.SHARED_SUFFIXES if train else runs.SUFFIXES
    names = discovery.prepare_objects(paths, out, suffixes)
    # in a folder of this command, what is finished is kept, and the rest is its own
    _check_outputs(out, names, suffixes, overwrite or (out / "config.yaml").is_file())
    marks = find_scribbles(scribbles, names)
    examples = [] if train is None else find_images([train])
    tree = _tree(settings) if any(map(Path.exists, [*names, *examples])) else None
    run = runs.Run(out, settings, tree, show, device, overwrite)
    runs.start(run)
    network, failures = (None, []) if train is None else _train(run, examples)

    def work(path: Path, name: str, step: Callable[..., None]) -> dict[str, Any]:
        if network is not None:
            return runs.label_file(run, network, path, name, marks.get(path))
        return runs.refine_file(run, path, name, marks.get(path), lambda done: step(done.number + 1, *_note(done)))

    remedy = "run the same command to resume"
    reports = [*discovery.for_each(names, work, "refining", remedy), *failures]
    resumed = sum(bool(report.document and report.document.get("resumed")) for report in reports)
    if resumed:
        print_note(f"{resumed} of {len(reports)} images were already finished and are left unchanged")
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "size": lambda document: f"{document['width']}x{document['height']}",
        "labels": lambda document: str(document["labels"]),
        "steps": lambda document: str(document.get("steps", "-")),
        "loss": lambda document: f"{document['loss']:.4f}" if "loss" in document else "-",
        "seconds": lambda document: f"{document['seconds']:.1f}" if "seconds" in document else "-",
    }
    discovery.finish_objects(reports, out, columns, as_json)


def _check_outputs(out: Path, names: dict[Path, str], suffixes: Iterable[str], overwrite: bool) -> None:
    """Raise InputError if an output exists and is not to be replaced."""
    for suffix in suffixes:
        for name in names.values():
            check_replaceable(out / f"{name}{suffix}", overwrite)


def read_settings(config: Path | None, method: str | None, overrides: list[str], is_ours: bool) -> "RefineConfig":
    """Return the settings of a file, else those published for a method, else ours, with the overrides applied.

    is_ours: our settings fit the task. They number connected pieces, which fits neither scribbles nor several images.
    """
    import json

    from supercuts.core.config import load_config
    from supercuts.refine.refine_config import OURS, RefineConfig

    first = [f"method={method}"] if method else []
    if config is None and method is None and is_ours:
        first = [f"{key}={json.dumps(value)}" for key, value in OURS.model_dump(exclude_unset=True).items()]
    return load_config(config, RefineConfig, [*first, *overrides])


def find_scribbles(scribbles: Path | None, names: dict[Path, str]) -> dict[Path, Path]:
    """Return the file of scribbles of each image that has one."""
    if scribbles is None:
        return {}
    if scribbles.is_dir():
        files = {path: scribbles / f"{path.stem}{_PNG_SUFFIX}" for path in names}
        present = {path: file for path, file in files.items() if file.is_file()}
        if not present:
            raise InputError(
                f"{scribbles} holds no scribbles for these images: name them like {next(iter(files.values())).name}."
            )
        return present
    if len(names) != 1:
        raise InputError(f"{scribbles} is one file for {len(names)} images: give a folder of NAME{_PNG_SUFFIX}.")
    return dict.fromkeys(names, scribbles)


def _tree(settings: "RefineConfig") -> "Tree | None":
    """Return a function that computes our hierarchy; None if the settings use neither its superpixels nor a cut."""
    if not settings.initial_regions and (settings.method != "sp" or settings.partition.method != "ssn"):
        return None
    import supercuts

    model = supercuts.load(settings.partition.model)

    def tree(image: "np.ndarray", count: int) -> "Hierarchy":
        return model.segment(image, superpixels=count)

    return tree


def _train(run: "Run", paths: list[Path]) -> tuple["KanezakiCNN", list[discovery.ObjectsReport]]:
    """Return the network fitted to all images, and a report for each image that could not be read."""
    from supercuts.refine.runs import train_file

    with progress() as bar:
        task = bar.add_task("fitting", total=None)

        def watch(step: "Step") -> None:
            n, note = _note(step)
            bar.update(task, completed=step.number + 1, total=n, description=note)

        network, failures = train_file(run, paths, watch)
    return network, [
        discovery.ObjectsReport(path, Path(path).stem, error=error if path in error else f"{path}: {error}")
        for path, error in failures.items()
    ]


def _note(step: "Step") -> tuple[int, str]:
    return step.of, f"loss {step.loss:.4f}, {step.n_labels} labels"


@app.command(
    cls=Command,
    epilog="Example: supercuts refine train configs/wnet_small.yaml "
    "data.dataset=folder data.root=photos out=runs/wnet epochs=2",
)
def train(
    config: ConfigFile,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="Replace values: epochs=2 data.limit=100.")
    ] = None,
    resume: Resume = True,
) -> None:
    """Train a network that segments without annotations of regions; run again, it resumes."""
    check_config_exists(config)
    check_installed(("lightning", "tensorboard"), extra="train")
    from supercuts.core.config import load_config
    from supercuts.training.learned_refiners import LearnedTrainConfig
    from supercuts.training.learned_refiners import train_refiner as run_training

    settings = load_config(config, LearnedTrainConfig, overrides or [])
    if not resume:
        check_fresh(settings.out)
    weights = run_training(settings)
    if settings.pictures:
        print_lines(f"{weights.parent / 'segmentations'}: {settings.pictures} images, segmented")
    print_lines(f"{weights}: trained weights; use them with supercuts refine apply {weights} IMAGE -o OUT")


_SUFFIXES = (".npz", "_labels.png", "_colors.png")


@app.command(
    cls=Command, epilog="Example: supercuts refine apply runs/wnet/model.safetensors photos/ -o applied --regions 12"
)
def apply(
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="Written by `supercuts refine train`.")],
    images: Images,
    out: Out,
    regions: Annotated[
        int | None, typer.Option(min=1, help="Write this many regions of the tree; default: the network's classes.")
    ] = None,
    superpixels: Annotated[int, typer.Option(min=1, metavar="N", help="Number of leaves of the tree.")] = 600,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Segment images by a trained W-Net, classifier or autoencoder: a hierarchy, labels and colours for each."""
    names = prepare_objects(images, out, _SUFFIXES)
    _check_outputs(out, names, _SUFFIXES, overwrite)
    with working(f"loading {model}"):
        from supercuts.images.io import read_image
        from supercuts.pipeline import segment_by_maps
        from supercuts.selftaught.learned import class_probabilities, load_learned, pixel_maps, write_classes

        network: Any = load_learned(model) if any(map(Path.exists, names)) else None

    def work(path: Path, name: str, _: Callable[[int, int], None]) -> dict[str, Any]:
        image = read_image(path)
        probabilities = class_probabilities(image, network)
        h = segment_by_maps(image, pixel_maps(image, probabilities), superpixels)
        labels = probabilities.argmax(0).astype("int32") if regions is None else h.cut(regions=regions)
        write_classes(out / name, labels, h)
        outputs = [str(out / f"{name}{suffix}") for suffix in _SUFFIXES]
        return {"image": str(path), "outputs": outputs, "labels": len(set(labels.flat)), "superpixels": h.n_leaves}

    reports = for_each(names, work, "segmenting")
    columns = {"labels": lambda d: str(d["labels"]), "superpixels": lambda d: str(d["superpixels"])}
    finish_objects(reports, out, columns, as_json)


class _Renamed(Command):
    """A command under its former name; using it prints a note."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        print_note(f"`supercuts {self.name}` is now `supercuts {str(self.name).replace('-', ' ')}`: use that name.")
        return super().invoke(ctx)


def add_old_names(to: typer.Typer) -> None:
    """Add the commands under the names they had before they became a group, hidden from the help."""
    to.command("refine-train", cls=_Renamed, hidden=True)(train)
    to.command("refine-apply", cls=_Renamed, hidden=True)(apply)
