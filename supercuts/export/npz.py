"""Write a hierarchy to an .npz file and read it back."""

import io
import math
import os
import tokenize
import zipfile
import zlib
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from supercuts.core.errors import FileFormatError, InputError
from supercuts.core.files import MAX_BYTES, atomic_path, check_members
from supercuts.hierarchy.edits import Edit, Edits, Tree, advance
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.formats import pillow
from supercuts.images.formats.tiff import TIFF_STARTS
from supercuts.images.georeference import Georeference

FORMAT_VERSION = 1
EDITED_VERSION = 2  # format of a hierarchy with edits: older programs, which would ignore the edits, reject it
_AXES = {
    "format_version": ("i8", 0),
    "labels": ("i4", 2),
    "parents": ("i4", 1),
    "altitudes": ("f4", 1),
    "embeddings": ("f4", 2),
    "level_names": ("U", 1),
    "level_altitudes": ("f8", 1),
    "image": ("u1", 3),
    "georeference_transform": ("f8", 1),
    "georeference_crs": ("U", 0),  # empty if unknown
    "source_name": ("U", 0),
}
_GEOREFERENCE = {"georeference_transform.npy", "georeference_crs.npy"}  # a file holds both or neither
_OPTIONAL = {"image.npy", "edit_limits.npy", "source_name.npy"} | _GEOREFERENCE
_EDIT_AXES = {
    "before_parents": ("i4", 1),
    "before_altitudes": ("f4", 1),
    "edit_kinds": ("U", 1),  # one per edit
    "edit_groups": ("i8", 1),  # number of groups of leaves per edit
    "edit_sizes": ("i8", 1),  # number of leaves per group
    "edit_leaves": ("i4", 1),
    "edit_limits": ("i8", 1),  # n_forced, n_frozen: for readers that do not replay the edits
}
# exceptions of zipfile and numpy for damaged, encrypted or forged members; OSError for offsets beyond the file
_UNREADABLE = (
    *(ValueError, EOFError, OSError, zlib.error, NotImplementedError, RuntimeError, MemoryError),
    *(tokenize.TokenError, SyntaxError),  # numpy parses headers as Python literals
)
_REMEDY = "Write it again with Hierarchy.save."


def write_npz(path: str | os.PathLike[str], hierarchy: Hierarchy, image: bool = True) -> None:
    """Write the hierarchy, with its image unless image=False; equal hierarchies give identical bytes."""
    arrays = {
        "format_version": np.array(FORMAT_VERSION, dtype=np.int64),
        "labels": hierarchy._labels,
        "parents": hierarchy._parents,
        "altitudes": hierarchy._altitudes,
        "embeddings": hierarchy._embeddings,
        "level_names": np.array(list(hierarchy.levels), dtype=np.str_),
        "level_altitudes": np.array(list(hierarchy.levels.values()), dtype=np.float64),
    }
    if image and hierarchy._image is not None:
        arrays["image"] = hierarchy._image
    if hierarchy.georeference is not None:
        arrays["georeference_transform"] = np.array(hierarchy.georeference.transform, dtype=np.float64)
        arrays["georeference_crs"] = np.array(hierarchy.georeference.crs or "", dtype=np.str_)
    if hierarchy.source_name is not None:
        arrays["source_name"] = np.array(hierarchy.source_name, dtype=np.str_)
    if hierarchy.edits is not None:
        arrays |= {"format_version": np.array(EDITED_VERSION, dtype=np.int64), **_edit_arrays(hierarchy.edits)}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            # ZipInfo without a date: the bytes do not depend on the clock
            # level 1: label maps compress as well as at higher levels, and faster
            info = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(info, member.getbuffer(), compress_type=zipfile.ZIP_DEFLATED, compresslevel=1)


def read(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Hierarchy:
    """Read a hierarchy from a file that `Hierarchy.save` wrote.

    Parameters
    ----------
    path
        The .npz file.
    max_bytes
        Largest unpacked size in bytes; a file that claims more is rejected before it is unpacked.

    Returns
    -------
    Hierarchy
        The hierarchy, with its image if the file holds one.

    Raises
    ------
    FileFormatError
        If the file is not a valid hierarchy, whatever its content.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> labels, parents = np.array([[0, 1]], np.int32), np.array([2, 2, 2], np.int32)
    >>> altitudes, embeddings = np.array([0, 0, 0.5], np.float32), np.zeros((2, 0), np.float32)
    >>> Hierarchy(labels, parents, altitudes, embeddings).save("pair.npz")
    >>> read("pair.npz")
    Hierarchy(1x2, 2 leaves, no levels)
    """
    with Path(path).open("rb") as file:
        start = file.read(16)
        if pillow.is_known(start) or start.startswith(TIFF_STARTS):
            raise FileFormatError(
                f"{path} is an image, not a hierarchy. Segment it first: supercuts segment {path} -o OUT."
            )
        return _read_open(path, file, max_bytes)


def _read_open(path: str | os.PathLike[str], file: IO[bytes], max_bytes: int) -> Hierarchy:
    try:
        with zipfile.ZipFile(file) as archive:
            check_members(archive, max_bytes)
            arrays = _read_members(archive)
        names, altitudes = arrays["level_names"].tolist(), arrays["level_altitudes"].tolist()
        hierarchy = Hierarchy(
            labels=arrays["labels"],
            parents=arrays["parents"],
            altitudes=arrays["altitudes"],
            embeddings=arrays["embeddings"],
            image=arrays.get("image"),
            levels=dict(zip(names, altitudes, strict=True)),
            georeference=_georeference(arrays),
            source_name=str(arrays["source_name"]) if "source_name" in arrays else None,
        )
        return _edit_again(hierarchy, arrays) if "edit_kinds" in arrays else hierarchy
    except zipfile.BadZipFile as error:
        raise FileFormatError(f"{path} is not a complete .npz (zip) file: {error}. {_REMEDY}") from error
    except InputError as error:
        raise FileFormatError(f"{path} holds no valid hierarchy: {error} {_REMEDY}") from error
    except _UNREADABLE as error:
        raise FileFormatError(f"{path} is not a hierarchy file: {error}. {_REMEDY}") from error


def _georeference(arrays: dict[str, np.ndarray]) -> Georeference | None:
    if "georeference_crs" not in arrays:
        return None
    return Georeference(tuple(arrays["georeference_transform"].tolist()), str(arrays["georeference_crs"]) or None)


def _edit_arrays(edits: Edits) -> dict[str, np.ndarray]:
    groups = [group for step in edits.steps for group in step.groups]
    return {
        "before_parents": edits.before.parents,
        "before_altitudes": edits.before.altitudes,
        "edit_kinds": np.array([step.kind for step in edits.steps], dtype=np.str_),
        "edit_groups": np.array([len(step.groups) for step in edits.steps], dtype=np.int64),
        "edit_sizes": np.array([group.size for group in groups], dtype=np.int64),
        "edit_leaves": np.concatenate(groups),
        "edit_limits": _limits(edits),
    }


def _limits(edited: Edits | Tree) -> np.ndarray:
    return np.array([edited.limits.n_forced, edited.limits.n_frozen], dtype=np.int64)


def _edit_again(hierarchy: Hierarchy, arrays: dict[str, np.ndarray]) -> Hierarchy:
    """Return the hierarchy with its edits; raise ValueError unless replaying them gives the tree in the file."""
    before = hierarchy._with(parents=arrays["before_parents"], altitudes=arrays["before_altitudes"])  # validates
    leaves, sizes, counts = arrays["edit_leaves"], arrays["edit_sizes"], arrays["edit_groups"]
    # each size is checked on its own: forged sizes may have a correct sum
    if (
        ((sizes < 1) | (sizes > leaves.size)).any()
        or ((counts < 1) | (counts > sizes.size)).any()
        or (sizes.sum(), counts.sum(), counts.size) != (leaves.size, sizes.size, arrays["edit_kinds"].size)
        or not ((leaves >= 0) & (leaves < before.n_leaves)).all()
    ):
        raise ValueError("its edits do not name leaves of the tree")
    groups = iter(np.split(leaves, np.cumsum(sizes)[:-1]))
    kinds = arrays["edit_kinds"].tolist()
    steps = [Edit(kind, tuple(islice(groups, n))) for kind, n in zip(kinds, counts.tolist(), strict=True)]
    tree = advance(Tree(before._parents, before._altitudes), before.n_leaves, steps)
    if not np.array_equal(arrays.get("edit_limits", _limits(tree)), _limits(tree)):
        raise ValueError("its edits do not lead to its edit_limits")
    for name in ("parents", "altitudes"):
        if not np.array_equal(getattr(tree, name), arrays[name]):
            raise ValueError(f"its edits do not lead to its {name}")
    return hierarchy._with(edits=Edits(Tree(before._parents, before._altitudes), tuple(steps), tree.limits))


def _read_members(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    present = set(archive.namelist())
    if "format_version.npy" not in present:
        raise ValueError("it has no format_version")
    version = int(_read_member(archive, "format_version", _AXES))
    if version not in (FORMAT_VERSION, EDITED_VERSION):
        raise ValueError(
            f"it has format_version {version}, this program reads {FORMAT_VERSION} and {EDITED_VERSION}; a newer one "
            "needs `pip install --upgrade supercuts`"
        )
    axes = _AXES if version == FORMAT_VERSION else _AXES | _EDIT_AXES
    known = {f"{name}.npy" for name in axes}
    # no checksum covers the names: a damaged name of "image.npy" must not look like a file without an image
    if unknown := present - known:
        raise ValueError(f"it holds {', '.join(sorted(unknown))}, which format_version {version} does not have")
    is_georeferenced = bool(present & _GEOREFERENCE)
    if missing := known - present - (_OPTIONAL - (_GEOREFERENCE if is_georeferenced else set())):
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    return {name: _read_member(archive, name, axes) for name in axes if f"{name}.npy" in present}


def _read_member(archive: zipfile.ZipFile, name: str, axes: dict[str, tuple[str, int]]) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"{name} has .npy version {version}, expected (1, 0)")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(member)
        _check_header(name, shape, dtype, axes)
        n_bytes = math.prod(shape) * dtype.itemsize
        # the header may be forged: without this check it would decide how much memory is allocated
        if archive.getinfo(f"{name}.npy").file_size - member.tell() != n_bytes:
            raise ValueError(f"{name} does not hold the {n_bytes} bytes that its header declares")
        flat = np.frombuffer(member.read(), dtype=dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _check_header(name: str, shape: tuple[int, ...], dtype: np.dtype, axes: dict[str, tuple[str, int]]) -> None:
    kind, ndim = axes[name]
    is_expected = dtype.kind == "U" if kind == "U" else dtype == np.dtype(kind)
    if not is_expected or len(shape) != ndim or any(length < 0 for length in shape):
        raise ValueError(f"{name} is {dtype} {shape}, expected {np.dtype(kind)} with {ndim} axes")
