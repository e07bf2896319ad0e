"""Where the parts of a dataset lie: one of the layouts in which it is handed round.

In   a root folder, the layouts to try
Out  folders that exist, the files in them, images paired with annotations
Not  no reading of files
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from supercuts.core.errors import FileFormatError

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def find_layout(
    root: str | os.PathLike[str], layouts: Iterable[Sequence[str]], title: str, expected: str
) -> tuple[Path, ...]:
    """Return the paths of the first layout of which all exist; the error shows the trees that are expected."""
    for layout in layouts:
        paths = tuple(Path(root) / part for part in layout)
        if all(path.exists() for path in paths):
            return paths
    raise FileFormatError(f"No {title} in {Path(root).absolute()}.\n{expected}")


def list_images(folder: Path, expected: str) -> list[Path]:
    """Return the pictures in a folder in the order of their names, hidden files left out; refuse none."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGES and not path.name.startswith(".")]
    if not found:
        raise FileFormatError(f"No picture in {folder.absolute()}.\n{expected}")
    return sorted(found, key=lambda path: path.name)


def find_partner(image: Path, folder: Path, suffixes: Sequence[str]) -> Path:
    """Return the file in a folder that is named as the image is, with the first suffix that exists, else the first.

    >>> find_partner(Path("img/a.b.jpg"), Path("gt"), (".png", ".bmp")).as_posix()
    'gt/a.b.png'
    """
    candidates = [folder / f"{image.stem}{suffix}" for suffix in suffixes]  # a stem keeps the dots within a name
    return next((path for path in candidates if path.is_file()), candidates[0])


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank, stripped."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} cannot be read as text: {error}. Unpack the dataset again.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
