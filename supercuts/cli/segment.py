"""`supercuts segment`: images in, hierarchies and pictures of their levels out."""

import glob
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import supercuts
from supercuts.batch.outputs import HIERARCHY, REGIONS, suffixes, write_outputs
from supercuts.batch.sources import find_in_place, fitting, leave_out_outputs
from supercuts.cli.common import (
    FAILED,
    Axes,
    Bands,
    Merging,
    Page,
    Stretch,
    Superpixels,
    Views,
    check_reading,
    explain,
    make_folder,
    one_line,
    parse_bands,
    print_error,
    print_json,
    print_note,
    progress,
    set_shown_name,
    set_stop_note,
    working,
)
from supercuts.core.errors import ImageError, InputError, SuperCutsError
from supercuts.core.files import IMAGES, is_own_picture, name_target, scratch_folder, warn_of_own

_MOST_DRAWN = 8_000_000  # pixels; the pictures of larger images take tens of megabytes
_NO_LEVELS = (
    "no scene, object and part: they are calibrated for images of three bands. To have them, segment three bands alone "
    "(rio stack FILE --bidx 4,3,2 -o THREE.tif), or train and calibrate a network on all bands."
)

_STDIN = Path("-")
_FEW = 10  # images in which a faster engine does not make up for the seconds that it takes to start


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """Result of one image; if it failed, only image, name and error are set, else error is None."""

    image: str
    name: str
    outputs: list[str] | None = None
    superpixels: int | None = None
    regions: dict[str, int] | None = None  # number of regions per level; None without calibrated levels
    seconds: float | None = None
    height: int | None = None
    width: int | None = None
    priors: dict[str, list[Any]] | None = None  # columns of PriorReport
    error: str | None = None


def segment(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="Image files, folders of images, globs; or - for standard input."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder to write to; created if needed. With -: standard output."),
    ] = None,
    model: Annotated[str, typer.Option(help="compact, or a .safetensors file of weights.")] = "compact",
    superpixels: Superpixels = None,
    merging: Merging = None,
    views: Views = None,
    refiner: Annotated[Literal["sp", "st"] | None, typer.Option(help="Redraw regions by a network; slow.")] = None,
    overlays: Annotated[
        bool | None,
        typer.Option(help="Also write pictures of the superpixels and levels; default: up to 8 megapixels."),
    ] = None,
    viewer: Annotated[
        bool | None,
        typer.Option(help="Also write the interactive viewer, one HTML page (unless the image is too large)."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(min=0, metavar="PX", help="Side of the network's tiles in pixels; 0: the whole image at once."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Mask image, nonzero where pixels are valid.")
    ] = None,
    priors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Masks of another tool to keep as regions: COCO's or SAM's .json, or a label map."
        ),
    ] = None,
    bands: Bands = None,
    axes: Axes = None,
    page: Page = None,
    stretch: Stretch = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out images whose .npz is already in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Segment images into hierarchies of superpixels, and draw their superpixels, parts, objects and scene."""
    check_reading(axes, stretch)
    reading = {
        "tile": tile,
        "mask": mask,
        "priors": priors,
        "bands": parse_bands(bands),
        "axes": axes,
        "page": page,
        "stretch": stretch,
        "refiner": refiner,
    }
    options: dict[str, Any] = {name: value for name, value in reading.items() if value is not None}
    options["superpixels"] = superpixels
    if images == [_STDIN]:
        if (out, overlays, viewer, resume) != (None, None, None, False):
            raise InputError("- is written to standard output: leave out --out, --overlays, --viewer and --resume.")
        with working("segmenting standard input"), _spool_stdin() as path:
            quick = supercuts.load(model, merging=merging, views=views, engine="quick")
            _write_stdout(quick.segment(path, **options), as_json)
        return
    if out is None:
        raise InputError("--out is missing. Give the folder to write to, or - for one image from standard input.")
    formats = () if viewer is False else ("html",)
    names = name_outputs(find_images(images, out), suffixes(formats, overlays is not False), images)
    _check_single(names, mask, priors)
    check_out(out, names, suffixes(formats, overlays is not False))
    _note_other_names(names)
    with working(f"loading model {model}"):
        how: dict[str, Any] = {"merging": merging, "views": views, "engine": "quick" if len(names) <= _FEW else "auto"}
        # without any file the reports name the missing ones, for which no model is needed
        network = supercuts.load(model, **how) if any(map(Path.exists, names)) else None
    left = _unfinished(names, out) if resume else names
    with_hint = (model, merging or "agglomerative", refiner) == ("compact", "agglomerative", None)
    segment_one = partial(_segment_one, network, options, out, formats, viewer, overlays, with_hint)
    reports = _segment_all(left, len(names), out, segment_one)
    if as_json:
        print_json({"model": model, "images": [_as_document(report) for report in reports]})
    else:
        _print_table(reports, out)
    _print_failures(reports)


def _check_single(names: Mapping[Path, str], mask: Path | None, priors: Path | None) -> None:
    if mask is not None and len(names) != 1:
        raise InputError(f"--mask is for one image, but {len(names)} are given. Segment them one by one.")
    if priors is not None and len(names) != 1 and priors.suffix.lower() != ".json":
        raise InputError(f"--priors {priors} is for one image, but {len(names)} are given. Give a COCO file of all.")


@contextmanager
def _spool_stdin() -> Iterator[Path]:
    """Yield the path of a temporary file that holds the bytes of standard input; readers need to seek."""
    stream = sys.stdin.buffer
    if stream.isatty():
        raise InputError("standard input is a terminal. Send an image: supercuts segment - --json < photo.jpg.")
    with scratch_folder(Path(tempfile.gettempdir())) as folder:
        path = folder / "stdin"
        set_shown_name(path, "standard input")
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        if not path.stat().st_size:
            raise ImageError("standard input is empty. Send an image: supercuts segment - --json < photo.jpg.")
        yield path


def _write_stdout(h: "supercuts.Hierarchy", as_json: bool) -> None:
    """Write the hierarchy to standard output, as JSON or else as the bytes of an .npz."""
    h = h._with(source_name=None)
    if as_json:
        typer.echo(json.dumps(_describe(h)))
        return
    if sys.stdout.isatty():
        raise InputError("an .npz is not printed to a terminal. Give --json, or send it to a file with > FILE.npz.")
    with scratch_folder(Path(tempfile.gettempdir())) as folder:
        h.save(folder / "stdout.npz")
        with (folder / "stdout.npz").open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


def _describe(h: "supercuts.Hierarchy") -> dict[str, Any]:
    """Return the tree as plain lists, and the labels as runs of equal ids, row by row."""
    import numpy as np

    flat = h._labels.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] - 1))
    return {
        "height": h.shape[0],
        "width": h.shape[1],
        "superpixels": h.n_leaves,
        "labels": {"values": flat[starts].tolist(), "lengths": np.diff(starts, append=flat.size).tolist()},
        "parents": h._parents.tolist(),
        "altitudes": h._altitudes.tolist(),
        "levels": h.levels,
        "georeference": None if h.georeference is None else asdict(h.georeference),
    }


def _segment_all(
    names: Mapping[Path, str], n_images: int, out: Path, segment_one: Callable[[Path, str], SegmentReport]
) -> list[SegmentReport]:
    """Return the report of each image, with a bar; the other images of the `n_images` were finished before."""
    reports: list[SegmentReport] = []
    with progress() as bar:
        task = bar.add_task("segmenting", completed=n_images - len(names), total=n_images)
        for path, name in names.items():
            n_done = n_images - len(names) + len(reports)
            set_stop_note(
                f"{n_done} of {n_images} images are done, in {out}; the same command with --resume does the others"
            )
            bar.update(task, description=path.name)
            reports.append(segment_one(path, name))
            bar.advance(task)
    return reports


def _note_other_names(names: Mapping[Path, str]) -> None:
    for path, name in names.items():
        if (last := PurePosixPath(name).name) != path.stem:
            why = f"another image is called {path.stem}" if last.startswith(path.stem) else "its name is too long"
            print_note(f"{path}: {why}; the outputs of this one are named {name}")


def _unfinished(names: Mapping[Path, str], out: Path) -> dict[Path, str]:
    left = {path: name for path, name in names.items() if not (out / f"{name}{HIERARCHY}").is_file()}
    if len(left) < len(names):
        print_note(f"{len(names) - len(left)} of {len(names)} images were already finished and are left unchanged")
    return left


def find_images(inputs: Iterable[Path], out: Path | None = None) -> list[Path]:
    """Return the images of the inputs, without pictures that SuperCuts wrote unless nothing else is given.

    Folders give the images in them and in their subfolders, except in `out`; globs are expanded as a shell does.
    """
    images: list[Path] = []
    for path in inputs:
        # an existing file may have brackets in its name
        is_glob = not path.exists() and glob.has_magic(str(path))
        # Path.glob does not accept absolute patterns
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))] if is_glob else [path]  # noqa: PTH207
        if not matches:
            raise InputError(f"{path} matches no file. Check the pattern; it is taken relative to {Path.cwd()}.")
        for match in matches:
            images += _images_in(match, out) if match.is_dir() else [match]
    unique: dict[Path, Path] = {}
    for path in images:  # a file given twice is one image
        unique.setdefault(_place(path), path)
    own = [path for path in unique.values() if is_own_picture(path)]
    if len(own) == len(unique):
        return own
    warn_of_own(own)
    return [path for path in unique.values() if path not in own]


def name_outputs(paths: Iterable[Path], suffixes: Iterable[str] = (), folders: Iterable[Path] = ()) -> dict[Path, str]:
    """Return each file's output name: its stem, or stem_2, stem_3 ... if another file already has the stem.

    The name of a file in a subfolder of one of the folders starts with the subfolder. Names differ by more than case,
    because some file systems ignore it, and leave room for the suffixes.

    >>> list(name_outputs([Path("a/x.jpg"), Path("b/x.png"), Path("x_2.png")]).values())
    ['x', 'x_3', 'x_2']
    """
    suffixes = list(suffixes)
    folders = [folder for folder in folders if folder.is_dir()]
    stems = {path: fitting(_stem(path, folders), suffixes) for path in paths}
    taken = {stem.casefold() for stem in stems.values()}
    seen: set[str] = set()
    names = {}
    for path, stem in stems.items():
        name, number = stem, 2
        if name.casefold() in seen:
            while (name := f"{stem}_{number}").casefold() in taken:
                number += 1
            taken.add(name.casefold())
        seen.add(name.casefold())
        names[path] = name
    return names


def _place(path: Path) -> Path:
    """Return the path with its folder resolved, but not its name: os.replace replaces a link, not its target."""
    return path.parent.resolve() / path.name


def _stem(path: Path, folders: Iterable[Path]) -> str:
    below = (path.parent.relative_to(folder) / path.stem for folder in folders if path.is_relative_to(folder))
    return next(below, Path(path.stem)).as_posix()


def _images_in(folder: Path, out: Path | None) -> list[Path]:
    root = os.path.abspath(folder)  # noqa: PTH100 (a path keeps its links)
    found = find_in_place(str(folder))
    sources = found if out is None else leave_out_outputs(found, out)
    if not sources:
        raise InputError(f"{folder} holds no image ({' '.join(IMAGES)}). Give a folder of images or single files.")
    return [folder / Path(source.address).relative_to(root) for source in sources]


def check_out(out: Path, names: Mapping[Path, str], suffixes: Iterable[str]) -> None:
    """Create the folder; raise an error if an output would replace an input or cannot be written."""
    suffixes = list(suffixes)
    files = [out / f"{name}{suffix}" for name in names.values() for suffix in suffixes]
    targets = {_place(file) for file in files}
    for path in names:
        if _place(path) in targets:
            raise InputError(f"{path} would be overwritten by an output of that name. Give another folder to --out.")
    make_folder(out, files)


def _segment_one(
    network: Any,
    options: dict[str, Any],
    out: Path,
    formats: tuple[str, ...],
    viewer: bool | None,
    overlays: bool | None,
    with_hint: bool,
    path: Path,
    name: str,
) -> SegmentReport:
    from supercuts.hierarchy.regions import is_unlike_photographs
    from supercuts.images.formats.stored import check_is_file

    try:
        check_is_file(str(path))
        start = time.perf_counter()
        h = network.segment(path, **options)
        seconds = round(time.perf_counter() - start, 3)
        if viewer is None and not _is_viewable(h):
            print_note(f"{path}: no viewer is written: the image is too large for it")
            formats = ()
        if overlays is None:
            overlays = (size := h._labels.size) <= _MOST_DRAWN
            if not overlays:
                print_note(f"{path}: no pictures of {size / 1e6:.0f} megapixels are drawn; --overlays draws them")
        regions = {level: int(h.cut_nodes(level=level).size) for level in reversed(REGIONS) if level in h.levels}
        if network.levels and not regions:
            print_note(f"{path}: {_NO_LEVELS}")
        if with_hint and is_unlike_photographs(h._embeddings, h._altitudes, h.areas(), h.levels):
            print_note(f"{path}: is unlike the photographs that the network learned from; --refiner sp may be better")
        columns = _report_priors(path, h, options.get("priors"))
        with scratch_folder(out) as folder:
            written = write_outputs(folder, PurePosixPath(name).name, path, h, formats, overlays)
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            # the hierarchy last, so that an .npz means that all its other outputs exist
            outputs = [file.replace(out / f"{name}{suffix}") for suffix, file in written.items()]
    except (SuperCutsError, OSError) as error:  # a full disk or a name too long: the other images may still succeed
        if isinstance(error, OSError):
            name_target(error, out / name, out)
        return SegmentReport(str(path), name, error=explain(error, path))
    paths = [str(file) for file in outputs]
    return SegmentReport(str(path), name, paths, h.n_leaves, regions or None, seconds, h.shape[0], h.shape[1], columns)


def _report_priors(path: Path, h: "supercuts.Hierarchy", priors: Path | None) -> dict[str, list[Any]] | None:
    """Return the columns of the report of --priors, and print how many of the masks are regions."""
    if priors is None:
        return None
    report = supercuts.report_priors(h, priors)
    if not report.is_node.all():
        print_note(
            f"{path}: {int(report.is_node.sum())} of {report.iou.size} priors are regions of the tree; the others "
            f"cross them, and the closest regions have an IoU of at least {report.iou.min():.2f}"
        )
    return report.to_dict()


def _is_viewable(h: "supercuts.Hierarchy") -> bool:
    from supercuts.export.html_viewer import check_viewable

    try:
        check_viewable(h)
    except InputError:
        return False
    return True


def _as_document(report: SegmentReport) -> dict[str, Any]:
    return {key: value for key, value in asdict(report).items() if value is not None}


def _print_table(reports: Iterable[SegmentReport], out: Path) -> None:
    finished = [report for report in reports if report.error is None]
    if not finished:
        return
    table = Table("image", caption=Text(one_line(f"written to {out}")), caption_justify="left")
    levels = [level for level in reversed(REGIONS) if any(level in (report.regions or {}) for report in finished)]
    for column in ("size", "superpixels", *levels, "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for report in finished:
        regions = report.regions or {}
        counts = [str(report.superpixels), *(str(regions.get(level, "-")) for level in levels)]
        table.add_row(Text(one_line(report.name)), f"{report.width}x{report.height}", *counts, f"{report.seconds:.2f}")
    Console().print(table)


def _print_failures(reports: list[SegmentReport]) -> None:
    """Print each failure and exit with code 1; return if there are none."""
    errors = [report.error for report in reports if report.error is not None]
    if errors:
        for error in errors:
            print_error(error)
        print_error(f"{len(errors)} of {len(reports)} images failed")
        raise typer.Exit(FAILED)
