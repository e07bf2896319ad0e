"""`supercuts refine-apply`: segment images by a network of `supercuts refine-train`.

In   MODEL.safetensors; image files, folders and globs
Out  OUT/<name>.npz, the hierarchy; OUT/<name>_labels.png (16 bit) and OUT/<name>_colors.png; a table or JSON
Not  no training; an image that fails does not stop the others
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from supercuts.cli._discovery import AsJson, Images, Out, finish, for_each, prepare
from supercuts.cli.common import working

_SUFFIXES = (".npz", "_labels.png", "_colors.png")


def refine_apply(
    model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="Of `supercuts refine-train`.")],
    images: Images,
    out: Out,
    regions: Annotated[
        int | None, typer.Option(min=1, help="Labels are this many regions of the tree; else the network's classes.")
    ] = None,
    superpixels: Annotated[int, typer.Option(min=1, metavar="N", help="Leaves of the tree.")] = 600,
    as_json: AsJson = False,
) -> None:
    """Segment images by a trained W-Net, classifier or autoencoder: a hierarchy, labels and colours for each."""
    names = prepare(images, out, _SUFFIXES)
    with working(f"loading {model}"):
        from supercuts.images.io import read_image
        from supercuts.pipeline import segment_by_maps
        from supercuts.selftaught.learned import class_probabilities, load_learned, pixel_maps, write_classes

        network = load_learned(model)

    def work(path: Path, name: str, _: Callable[[int, int], None]) -> dict[str, Any]:
        image = read_image(path)
        found = class_probabilities(image, network)
        h = segment_by_maps(image, pixel_maps(image, found), superpixels)
        labels = found.argmax(0).astype("int32") if regions is None else h.cut(regions=regions)
        h.save(out / f"{name}.npz")
        write_classes(out / name, labels)
        outputs = [str(out / f"{name}{suffix}") for suffix in _SUFFIXES]
        return {"image": str(path), "outputs": outputs, "labels": len(set(labels.flat)), "superpixels": h.n_leaves}

    reports = for_each(names, work, "segmenting")
    columns = {"labels": lambda d: str(d["labels"]), "superpixels": lambda d: str(d["superpixels"])}
    finish(reports, out, columns, as_json)
