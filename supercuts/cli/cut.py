"""`supercuts cut`, `view` and `export`: labels, a viewer or another program's file from a hierarchy on disk."""

from pathlib import Path
from typing import Annotated, Any

import typer

import supercuts
from supercuts.cli.common import (
    Overwrite,
    Superpixels,
    check_suffix,
    make_folder,
    print_json,
    print_lines,
    print_note,
    progress,
    read_hierarchy,
    working,
)
from supercuts.cli.doctor import as_text
from supercuts.core.checks import check_exactly_one
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_paths, check_replaceable, is_own_picture


def cut(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="A hierarchy written by `supercuts segment`.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The label PNG to write: ids, with colours to look at up to 255.")
    ],
    regions: Annotated[int | None, typer.Option(help="Exactly this many regions.")] = None,
    level: Annotated[str | None, typer.Option(help="scene, object or part.")] = None,
    altitude: Annotated[float | None, typer.Option(help="0..1: keep merges at or below this altitude.")] = None,
    granularity: Annotated[float | None, typer.Option(help="0 (one region) to 1 (all superpixels).")] = None,
    spectral: Annotated[
        int | None,
        typer.Option(metavar="K", help="K clusters by normalised cuts of the superpixel graph; 0: by eigengap."),
    ] = None,
    min_area: Annotated[int | None, typer.Option(metavar="PX", help="Split off no region smaller than this.")] = None,
    overlay: Annotated[Path | None, typer.Option(help="Also write the photo with the boundaries drawn.")] = None,
    start: Annotated[
        int, typer.Option(min=0, max=1, metavar="0|1", help="Id of the first region; with 1, 0 marks no region.")
    ] = 0,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a line.")] = False,
) -> None:
    """Cut a hierarchy into regions, by exactly one of --regions, --level, --altitude, --granularity and --spectral."""
    options: dict[str, object] = {
        "--regions": regions,
        "--level": level,
        "--altitude": altitude,
        "--granularity": granularity,
        "--spectral": spectral,
    }
    check_exactly_one("A cut", options)
    if spectral is not None and min_area is not None:
        raise InputError("--min-area has no effect on --spectral, which does not cut the tree. Leave out one of them.")
    _check_outputs(out, overlay, overwrite)
    import numpy as np

    from supercuts.images.io import write_labels_png, write_png

    with working(f"cutting {file}"):
        h = read_hierarchy(file)
        if spectral is None:
            labels = h.cut(regions=regions, level=level, altitude=altitude, granularity=granularity, min_area=min_area)
        else:
            labels = supercuts.spectral_clusters(h, spectral or None)
        picture = None if overlay is None else _drawn(file, h, labels)  # drawn before the first file is written
        masked_label = 2**16 - 1 if h.is_masked and start == 0 else None  # the same as in an export of labels
        with atomic_paths([out] if overlay is None else [overlay, out]) as staged:
            write_labels_png(staged[-1], labels + np.int32(start), masked_label, palette=True)
            if picture is not None:
                write_png(staged[0], picture)
    n_regions, (height, width) = int(labels.max()) + 1, labels.shape
    if as_json:
        paths = {"file": str(file), "labels": str(out), "overlay": None if overlay is None else str(overlay)}
        print_json({**paths, "regions": n_regions, "height": height, "width": width})
    else:
        print_lines(f"{out}: {n_regions} regions, {width}x{height} pixels")


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A hierarchy (.npz), an image or a model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
) -> None:
    """Print what a hierarchy, an image or a model holds, and the commands that take it."""
    kind = {".npz": "hierarchy", ".safetensors": "model"}.get(file.suffix.lower(), "image")
    facts, following = _DESCRIBE[kind](file)
    if as_json:
        print_json({"file": str(file), "kind": kind, **facts})
        return
    lines = [f"{name.replace('_', ' '):15} {as_text(value)}" for name, value in facts.items() if value is not None]
    print_lines(f"{file}: {kind}, {file.stat().st_size / 1e6:.2f} MB", *lines, f"Next: {following}")


def _describe_hierarchy(file: Path) -> tuple[dict[str, object], str]:
    h = read_hierarchy(file)
    height, width = h.shape
    return {
        "image_name": h.source_name,
        "height": height,
        "width": width,
        "superpixels": h.n_leaves,
        "levels": {
            level: {"regions": int(h.cut_nodes(level=level).size), "altitude": altitude}
            for level, altitude in h.levels.items()
        },
        "masked_pixels": int((h._labels < 0).sum()),
        "edits": 0 if h.edits is None else len(h.edits.steps),
        "holds_image": h._image is not None,
        "map_coordinates": None if h.georeference is None else h.georeference.crs or "without reference system",
    }, f"supercuts view {file}, cut {file} --regions 12 -o labels.png, export {file} --format FORMAT -o FILE"


def _describe_image(file: Path) -> tuple[dict[str, object], str]:
    from supercuts.images.raster import read_shape

    height, width, bands = read_shape(file)
    facts = {"height": height, "width": width, "bands": bands, "written_by_supercuts": is_own_picture(file)}
    return {**facts}, f"supercuts segment {file} -o OUT"


def _describe_model(file: Path) -> tuple[dict[str, object], str]:
    from supercuts.networks.network import read_calibration

    model = supercuts.load(str(file))
    source = read_calibration(file).source or None
    facts = {"network": repr(model), "levels": dict(model.levels), "calibrated_on": source}
    return {**facts}, f"supercuts segment IMAGE -o OUT --model {file}"


_DESCRIBE = {"hierarchy": _describe_hierarchy, "image": _describe_image, "model": _describe_model}


def _check_outputs(out: Path, overlay: Path | None, overwrite: bool) -> None:
    check_suffix("--out", out, ".png")
    check_replaceable(out, overwrite)
    if overlay is None:
        return
    check_suffix("--overlay", overlay, ".png")
    if overlay.absolute() == out.absolute():
        raise InputError(f"--out and --overlay are both {out}. Give the overlay another name.")
    check_replaceable(overlay, overwrite)


def _drawn(file: Path, h: "supercuts.Hierarchy", labels: Any) -> Any:
    if h._image is None:
        raise InputError(f"{file} holds no photo to draw on. Leave out --overlay, or save it again with image=True.")
    return h.overlay(labels)


def view(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.npz|IMAGE|FOLDER", help="A hierarchy, an image to segment, or a folder of these."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The .html page, or for a folder the folder, to write; or else temporary."),
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    model: Annotated[str, typer.Option(help="For an image: compact, or a .safetensors file of weights.")] = "compact",
    superpixels: Superpixels = None,
    overwrite: Overwrite = False,
) -> None:
    """Look at a hierarchy, or at all in a folder, in the browser: any granularity, selections, scribbles."""
    if file.is_dir():
        _view_folder(file, out, is_opened, model, superpixels, overwrite)
        return
    if out is not None:
        check_suffix("--out", out, ".html")
        check_replaceable(out, overwrite)
    elif not is_opened:
        raise InputError("--no-open without --out would write a page and not show it. Give --out FILE.html.")
    from supercuts.export import html_viewer
    from supercuts.images.formats.stored import check_is_file

    with working(f"making the viewer of {file}"):
        if file.suffix.lower() == ".npz":
            h = read_hierarchy(file)
        else:
            check_is_file(str(file))
            h = supercuts.load(model).segment(file, superpixels=superpixels)
        page = out or html_viewer.temporary_path(file.stem)
        html_viewer.write_html(page, h)
    if is_opened:
        html_viewer.open_in_browser(page)
    print_lines(f"{page}: viewer of {file}")


def _view_folder(
    folder: Path, out: Path | None, is_opened: bool, model: str, superpixels: int | None, overwrite: bool
) -> None:
    """Write a page for each hierarchy in a folder, or for each image if it holds none, and a contact sheet."""
    from supercuts.cli.segment import find_images, name_outputs
    from supercuts.export import html_viewer

    if out is None and not is_opened:
        raise InputError("--no-open without --out would write pages and not show them. Give --out FOLDER.")
    hierarchies = sorted(path for path in folder.rglob("*.npz") if path.is_file())
    sheet = Path(html_viewer.CONTACT_SHEET)
    names = name_outputs([sheet, *(hierarchies or find_images([folder], out))], [".html"])
    paths = {name: path for path, name in names.items() if path != sheet}
    target = out or html_viewer.temporary_path(folder.resolve().name).parent
    pages = [*(target / f"{name}.html" for name in paths), target / sheet]
    make_folder(target, pages)
    for page in pages:
        check_replaceable(page, overwrite)
    network = None if hierarchies else supercuts.load(model)

    def read(name: str) -> supercuts.Hierarchy:
        path = paths[name]
        return read_hierarchy(path) if network is None else network.segment(path, superpixels=superpixels)

    with progress() as bar:
        task = bar.add_task("making viewers", total=len(paths))
        html_viewer.write_folder(target, list(paths), read, lambda _: bar.advance(task))
    if is_opened:
        html_viewer.open_in_browser(pages[-1])
    print_lines(f"{pages[-1]}: viewers of {len(paths)} images in {folder}")


_FORMATS = (
    "npz; ucm (.mat, .npy); labels (.png, .tif); labels-tiff (.tif, ids from 1); masks (folder); coco, sam, labelme, "
    "label-studio, label-studio-polygons (.json); cvat (.xml); "
    "geojson, qupath, gpkg, geotiff, svg; networkx-rag, networkx-tree (.graphml, .json); pyg, pyg-levels (.pt); "
    "linkage (.npy); ome-zarr (folder); html (the viewer)."
)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="A hierarchy written by `supercuts segment`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; for masks and ome-zarr a new folder.")],
    format: Annotated[str | None, typer.Option(help=f"{_FORMATS} Unless given, by the ending of --out.")] = None,
    regions: Annotated[int | None, typer.Option(help="Only the cut into exactly this many regions.")] = None,
    level: Annotated[str | None, typer.Option(help="Only this level: scene, object or part.")] = None,
    altitude: Annotated[float | None, typer.Option(help="Only the cut at this altitude, 0..1.")] = None,
    granularity: Annotated[float | None, typer.Option(help="Only the cut at this granularity, 0..1.")] = None,
    like: Annotated[Path | None, typer.Option(help="The GeoTIFF that was segmented, for map coordinates.")] = None,
    every_node: Annotated[bool, typer.Option("--every-node", help="Write polygons of all nodes of the tree.")] = False,
    start: Annotated[
        int | None, typer.Option(metavar="0|1", help="Id of the first region in label maps; with 1, 0 marks none.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(metavar="UM", help="Side of a pixel in micrometres, for ome-zarr and qupath.")
    ] = None,
    session: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="A session of the viewer; what it selects is in every cut."),
    ] = None,
    overwrite: Overwrite = False,
    force: Annotated[bool, typer.Option("--force", hidden=True)] = False,
) -> None:
    """Write a hierarchy in another format."""
    from supercuts.core.checks import check_choice
    from supercuts.export.export_formats import FORMATS, format_of

    format = format or format_of(out)
    check_choice("--format", format, FORMATS)
    if force:
        print_note("--force is now --overwrite: use that name.")
    with working(f"writing {out}"):
        h = read_hierarchy(file)
        if session is not None:
            h = h.apply_session(session)
        h.export(
            out,
            format,
            regions=regions,
            level=level,
            altitude=altitude,
            granularity=granularity,
            like=like,
            every_node=every_node,
            start=start,
            pixel_size=pixel_size,
            overwrite=overwrite or force,
        )
    print_lines(f"{out}: {format} of {file}")
