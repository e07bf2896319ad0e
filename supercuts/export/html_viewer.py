"""Write the interactive viewer: one HTML page that contains the hierarchy, its image and the scripts.

The sources are joined into one script, because browsers do not load modules for a page opened from a file.
"""

import base64
import hashlib
import html
import io
import json
import os
import re
import sys
import tempfile
import webbrowser
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np
from jaxtyping import Int32, Shaped, UInt8
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.core.files import atomic_path, printable
from supercuts.hierarchy.cuts import altitude_of_level
from supercuts.hierarchy.tree import Hierarchy

_SOURCES = Path(__file__).with_name("viewer")
_SCRIPTS = (
    "tree",
    "packed",
    "session",
    "files",
    "draw",
    "app",
    "stage",
    "panel",
    "store",
    "messages",
    "main",
)  # in order of dependency: each uses only earlier ones
_LINKS = re.compile(r"^import .*?;\n|^export (?=\w)", flags=re.MULTILINE | re.DOTALL)
_FRAME_PX = 640
MAX_PIXELS = 32_000_000  # browsers do not open the pages of larger images
_JPEG_QUALITY = 92
_MOST_FRAMED_BYTES = 1_900_000  # largest page in a notebook cell, which is saved with the notebook
_MOST_FRAMED_PIXELS = 3_000_000  # pages of larger images always exceed _MOST_FRAMED_BYTES
_PREVIEW_PX = 720
_TILE_PX = 320  # side of a picture on a contact sheet
CONTACT_SHEET = "index.html"


def write_html(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the page; its title is the file's stem."""
    with atomic_path(path) as temporary:
        temporary.write_text(page(hierarchy, printable(Path(path).stem)), encoding="utf-8")


def page(hierarchy: Hierarchy, name: str = "SuperCuts", links: Mapping[str, str] | None = None) -> str:
    """Return the page as text; name is its title and the prefix of the names of files saved from it.

    links: the addresses of the pages "previous", "next" and "all", and the "position" of this one.
    """
    check_viewable(hierarchy)
    template = Template((_SOURCES / "template.html").read_text(encoding="utf-8"))
    script = "".join((_SOURCES / f"{module}.mjs").read_text(encoding="utf-8") for module in _SCRIPTS)
    # "<" is escaped, so that no name can close the script element that contains it
    payload = json.dumps({**_payload(hierarchy, name), "links": links}).replace("<", "\\u003c")
    style = (_SOURCES / "style.css").read_text(encoding="utf-8")
    return template.substitute(title=html.escape(name), style=style, payload=payload, script=_LINKS.sub("", script))


def write_folder(
    folder: Path, names: Sequence[str], read: Callable[[str], Hierarchy], progress: Callable[[str], object]
) -> None:
    """Write NAME.html for each name, linked to the previous and the next, and index.html, a contact sheet.

    progress(name) is called after each page.
    """
    files = [f"{name}.html" for name in names]
    tiles = []
    for i, name in enumerate(names):
        hierarchy = read(name)
        ends = {"previous": files[i - 1 : i], "next": files[i + 1 : i + 2], "all": [CONTACT_SHEET]}
        links = {rel: _address(file) for rel, targets in ends.items() for file in targets}
        text = page(hierarchy, printable(name), {**links, "position": f"{i + 1} of {len(names)}"})
        with atomic_path(folder / files[i]) as temporary:
            temporary.write_text(text, encoding="utf-8")
        size = f"{hierarchy.shape[1]} x {hierarchy.shape[0]} pixels, {hierarchy.n_leaves} superpixels"
        title = html.escape(printable(name))
        labels = hierarchy.cut(level="object") if "object" in hierarchy.levels else hierarchy.cut(granularity=0.4)
        picture = _jpeg_url(_preview(hierarchy, _TILE_PX, labels))
        tiles.append(
            f'<li><a href="{_address(files[i])}"><img src="{picture}" alt=""><span>{title}</span></a><p>{size}</p></li>'
        )
        progress(name)
    sheet = Template((_SOURCES / "contact_sheet.html").read_text(encoding="utf-8"))
    style = (_SOURCES / "style.css").read_text(encoding="utf-8")
    with atomic_path(folder / CONTACT_SHEET) as temporary:
        text = sheet.substitute(style=style, tiles="\n".join(tiles), count=len(names))
        temporary.write_text(text, encoding="utf-8")


def _address(file: str) -> str:
    return quote(file, errors="surrogateescape")  # the bytes of a name that is not UTF-8


def selected_nodes(path: str | os.PathLike[str], hierarchy: Hierarchy) -> list[int]:
    """Return the nodes that a session of the viewer selects; raise InputError if it is of another hierarchy."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        image, nodes = document["image"], [entry["node"] for entry in document["selection"]]
        is_session = document["format"] == "supercuts-session" and document["version"] == 1
    except (ValueError, LookupError, TypeError) as error:
        raise FileFormatError(f"{path} is not a session of the viewer ({error}). Save one with its button.") from error
    if not is_session or image.get("digest") != _digest(hierarchy):
        raise InputError(
            f"{path} was saved from {image.get('name')}, not from this hierarchy. Give the hierarchy of its page."
        )
    return nodes


def check_viewable(hierarchy: Hierarchy) -> None:
    """Raise InputError if the image is too large for browsers to show."""
    height, width = hierarchy.shape
    if height * width > MAX_PIXELS:
        raise InputError(
            f"an image of {width}x{height} pixels is more than the viewer's {MAX_PIXELS}: segment a part "
            'or a smaller copy of it, or export another format, such as "geotiff".'
        )


def frame(hierarchy: Hierarchy) -> str:
    """Return the page as an iframe for a notebook; if it would make the notebook large, return a preview.

    No error is raised, because a notebook would show its traceback instead of the value.
    """
    height, width = hierarchy.shape
    description = f"Hierarchy of {width}x{height} pixels and {hierarchy.n_leaves} superpixels"
    try:
        if height * width <= _MOST_FRAMED_PIXELS:
            text = html.escape(page(hierarchy))
            if len(text) < _MOST_FRAMED_BYTES:
                return f'<iframe srcdoc="{text}" width="100%" height="{_FRAME_PX}" style="border:0"></iframe>'
        remedy = "show() opens the viewer" if height * width <= MAX_PIXELS else 'export("scene.gpkg", "gpkg") writes it'
        note = f"{description}, which would make a notebook large: this is a preview; {remedy}."
        picture = _jpeg_url(_preview(hierarchy, _PREVIEW_PX, hierarchy._labels))
        return f'<figure><img src="{picture}"><figcaption>{note}</figcaption></figure>'
    except Exception as error:
        return f"<p>{description}, which cannot be shown ({html.escape(str(error)[:500])}).</p>"


def _preview(
    hierarchy: Hierarchy, most_px: int, labels: Int32[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return a reduced copy of the image with the borders of the labels."""
    from supercuts.images.draw import draw_boundaries, random_colors

    step = -(-max(hierarchy.shape) // most_px)
    labels = np.ascontiguousarray(labels[::step, ::step])
    if hierarchy._image is None:
        return random_colors(labels)
    return draw_boundaries(np.array(Image.fromarray(hierarchy._image).reduce(step)), labels)


def show(hierarchy: Hierarchy) -> Path | None:
    """Open the page in the browser; return the temporary file that holds it.

    In a notebook, display `frame` below the cell instead and return None. A preview is also opened in the browser.
    """
    if is_notebook():
        from IPython.display import display

        shown = frame(hierarchy)
        display({"text/html": shown, "text/plain": repr(hierarchy)}, raw=True)
        if shown.startswith("<iframe"):
            return None
    path = temporary_path("supercuts")
    write_html(path, hierarchy)
    open_in_browser(path)
    return None if is_notebook() else path


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, which displays HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


def temporary_path(name: str) -> Path:
    """Return the path of an unnamed page in a new temporary folder, which stays: the browser reads it later."""
    return Path(tempfile.mkdtemp(prefix="supercuts-"), f"{name}.html")


def open_in_browser(path: Path) -> None:
    """Open a page in the default browser."""
    webbrowser.open(path.absolute().as_uri())


def _payload(hierarchy: Hierarchy, name: str) -> dict[str, object]:
    from supercuts.images.draw import random_colors

    is_small = hierarchy.n_leaves <= np.iinfo(np.uint16).max and not hierarchy.is_masked  # -1 needs a signed type
    kind = np.uint16 if is_small else np.int32
    limits = hierarchy.edits.limits if hierarchy.edits else None
    height, width = hierarchy.shape
    return {
        "name": name,
        "file_name": hierarchy.source_name or name,
        "digest": _digest(hierarchy),  # under which the browser stores what the user does
        "height": height,
        "width": width,
        "labels_kind": np.dtype(kind).name,
        "labels": _packed(hierarchy._labels.astype(kind)),
        "parents": _packed(hierarchy._parents),
        "altitudes": _packed(hierarchy._altitudes),
        "mean_colors": _packed(_mean_colors(hierarchy)),
        "random_colors": _packed(random_colors(np.arange(hierarchy.n_leaves, dtype=np.int32)[None])[0]),
        "levels": {level: altitude_of_level(hierarchy.levels, level) for level in hierarchy.levels},
        "n_forced": limits.n_forced if limits else 0,
        "n_frozen": limits.n_frozen if limits else 0,
        "image": None if hierarchy._image is None else _jpeg_url(hierarchy._image),
    }


def _digest(hierarchy: Hierarchy) -> str:
    arrays = (hierarchy._labels, hierarchy._parents, hierarchy._altitudes, hierarchy._image)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays if array is not None))
    digest.update((hierarchy.source_name or "").encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _packed(array: Shaped[np.ndarray, "..."]) -> str:
    little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(zlib.compress(little_endian.tobytes(), level=9)).decode("ascii")


def _mean_colors(hierarchy: Hierarchy) -> UInt8[np.ndarray, "leaves 3"]:
    if hierarchy._image is None:
        return np.zeros((hierarchy.n_leaves, 3), np.uint8)
    is_valid = hierarchy._labels >= 0
    ids, pixels = hierarchy._labels[is_valid], hierarchy._image[is_valid]
    sums = [np.bincount(ids, weights=pixels[:, channel]) for channel in range(3)]
    return np.rint(np.stack(sums, axis=1) / np.bincount(ids)[:, None]).astype(np.uint8)


def _jpeg_url(image: UInt8[np.ndarray, "height width 3"]) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
