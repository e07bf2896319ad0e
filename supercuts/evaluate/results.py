"""Find and read results of other programs: label maps, contour maps, soft boundary maps, lists of segmentations."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int32, Shaped

from supercuts.core.arrays import relabel_consecutive
from supercuts.core.checks import check_choice
from supercuts.core.errors import FileFormatError, InputError
from supercuts.export import npz
from supercuts.hierarchy.contours import check_contour_map
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.formats.array_files import SUFFIXES, describe, read_variables, refusing_damage

_ID_LIMIT = 2**53  # float64 does not represent all larger integers
_ROUNDING = 1e-6  # largest rounding error by which strengths may lie outside 0..1
_IDS = "Expected ids of superpixels: integers from 0."


def check_result_size(path: Path, actual: tuple[int, ...], expected: tuple[int, int], content: str) -> None:
    """Raise FileFormatError unless an array has the expected shape; the message names transposed arrays as such."""
    if actual == expected:
        return
    if actual == expected[::-1]:
        raise FileFormatError(
            f"{path} is transposed: {actual}. Expected {expected} (rows, columns) of {content}. Transpose it before it "
            "is saved: x.' in MATLAB, x.T in NumPy."
        )
    raise FileFormatError(
        f"{path} is {actual}. Expected {expected} (rows, columns) of {content}. It belongs to another image or was "
        "resized or cropped: save the result at the size of its own image."
    )


def is_integral(array: Shaped[np.ndarray, "..."]) -> bool:
    """Return whether all values are integers, including integers stored as floats."""
    if array.dtype.kind == "f":
        return bool((array == np.rint(array)).all())
    return array.dtype.kind in "biu"


def as_labels(path: Path, array: Shaped[np.ndarray, "height width"]) -> Int32[np.ndarray, "height width"]:
    """Return integers, including integers stored as floats, as ids 0..N-1 in the same order.

    >>> as_labels(Path("seg.mat"), np.array([[1.0, 1.0, 7.0]])).tolist()
    [[0, 0, 1]]
    """
    if array.dtype.kind not in "biuf":
        raise FileFormatError(f"{path} holds values of type {array.dtype}. {_IDS} Save them as int32.")
    values = array.astype(np.float64)
    is_wrong = ~((values >= 0) & (values < _ID_LIMIT) & (values == np.rint(values)))
    if is_wrong.any():
        y, x = np.argwhere(is_wrong)[0].tolist()
        raise FileFormatError(
            f"{path} holds {array[y, x].item()} at row {y}, column {x}, and {int(is_wrong.sum())} such values in all. "
            f"{_IDS} {_label_remedy(float(values[y, x]))}"
        )
    return relabel_consecutive(array.astype(np.int64))[0]


def _label_remedy(value: float) -> str:
    if np.isnan(value) or value == -1:
        return "Give every pixel to a superpixel: a pixel without one cannot be scored."
    if value < 0 or value >= _ID_LIMIT:
        return "Renumber the ids."
    return "A map of strengths is scored by `supercuts evaluate hierarchy`."


def as_strength(path: Path, array: Shaped[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Return strengths in 0..1: floats unchanged, uint8 divided by 255, uint16 by 65535, False and True as 0 and 1.

    >>> as_strength(Path("soft.png"), np.array([[0, 51, 255]], np.uint8)).tolist()
    [[0.0, 0.2, 1.0]]
    """
    if array.dtype.kind == "b":
        return array.astype(np.float64)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return _scaled(path, array)
    if array.dtype.kind != "f":
        values = f"{array.min()}..{array.max()} of" if array.dtype.kind in "iu" else "values of"
        raise FileFormatError(
            f"{path} holds {values} type {array.dtype}. Expected strengths as float in 0..1, uint8 or uint16: "
            "save them as float, divided by the highest possible value."
        )
    if (n_nan := int(np.isnan(array).sum())) > 0:
        raise FileFormatError(
            f"{path} holds NaN at {n_nan} of {array.size} values. Expected strengths in 0..1: replace NaN, by 0 say."
        )
    low, high = float(array.min()), float(array.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise FileFormatError(
            f"{path} holds values {low:g}..{high:g}. Expected strengths in 0..1: divide all results by the highest "
            "value that is possible (255 if they were uint8), not each by its own. Ids of regions are scored with "
            "--form segmentations."
        )
    precision = np.float32 if array.dtype.itemsize <= 4 else np.float64
    return np.ascontiguousarray(np.clip(array, 0, 1), precision)


def _scaled(path: Path, array: np.ndarray) -> Float[np.ndarray, "height width"]:
    full = 255 if array.dtype.itemsize == 1 else 65535
    if int(array.max()) == 1:  # scaled, it would be nearly 0 everywhere and be scored silently as such
        raise FileFormatError(
            f"{path} holds only 0 and 1 as {array.dtype}. Expected strengths 0..{full}: save {full} on boundaries, "
            "or the map as bool or float."
        )
    return np.ascontiguousarray(array) / np.float64(full)


def read_result_hierarchy(path: Path) -> Hierarchy | None:
    """Return the hierarchy of an .npz written by SuperCuts, extended to all pixels; None for any other file."""
    if path.suffix.lower() != ".npz":
        return None
    with refusing_damage(path):
        with zipfile.ZipFile(path) as archive:
            is_hierarchy = "format_version.npy" in archive.namelist()
        return _whole(npz.read(path)) if is_hierarchy else None


def _whole(h: Hierarchy) -> Hierarchy:
    """Return the hierarchy with all masked-out pixels as one additional superpixel, which merges last."""
    if not h.is_masked:
        return h
    n, n_nodes = h.n_leaves, h._parents.size + 2
    parents = np.insert(h._parents + (h._parents >= n), n, n_nodes - 1)  # ids of inner nodes increase by one
    parents[n_nodes - 2 if h._parents.size > 1 else 0] = n_nodes - 1  # the old root gets the new root as parent
    altitudes = np.append(np.insert(h._altitudes, n, 0), np.float32(1))
    return Hierarchy(
        labels=np.where(h._labels < 0, np.int32(n), h._labels),
        parents=np.append(parents, n_nodes - 1).astype(np.int32),
        altitudes=altitudes.astype(np.float32),
        embeddings=np.pad(h._embeddings, ((0, 1), (0, 0))),
        image=h._image,
        levels=h.levels,
    )


Form = Literal["auto", "ucm", "soft", "segmentations"]
FORMS: tuple[Form, ...] = get_args(Form)
_LABEL_NAMES = ("labels", "seg", "segs", "S", "superpixels", "Segmentation")
_SAY_FORM = "Choose it with --form ucm, soft or segmentations (kind= in Python)."


@dataclass(frozen=True, slots=True)
class FoundResults:
    """Assignment of the files of a folder to images.

    files       file of each image that has exactly one
    missing     images without a file
    duplicates  files of each image that has several; none of them is used
    unexpected  files of a known suffix that belong to no image
    similar     for missing images, a file with a similar name
    """

    folder: Path
    files: dict[str, Path]
    missing: tuple[str, ...]
    duplicates: dict[str, tuple[Path, ...]]
    unexpected: tuple[Path, ...]
    similar: dict[str, Path]

    @property
    def problems(self) -> dict[str, str]:
        """Reasons why images have no file, by image name."""
        reasons = {}
        for name in self.missing:
            remedy = f"Name its result {name}.mat, .npy, .npz, .png or .tif, as the other images' are named."
            if name in self.similar:
                similar = self.similar[name]
                remedy = f"{similar.name} has a similar name: if it is the result, call it {name}{similar.suffix}."
            reasons[name] = f"{self.folder} has no file for image {name}. {remedy}"
        for name, paths in self.duplicates.items():
            listed = ", ".join(path.name for path in paths)
            reasons[name] = f"{self.folder} has {len(paths)} files for image {name}: {listed}. Keep one of them."
        return reasons


@dataclass(frozen=True, slots=True, eq=False)
class ContourMap:
    """An ultrametric contour map, the benchmark's ucm2: (2H+1, 2W+1) floats in 0..1."""

    ucm: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class SoftMap:
    """A soft boundary map: (H, W) floats in 0..1."""

    strength: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Segmentations:
    """Segmentations of one image in the order of the file, each (H, W) int32 with ids 0..N-1."""

    label_maps: tuple[np.ndarray, ...]


def find_results(folder: Path, names: Sequence[str]) -> FoundResults:
    """Return the assignment of the folder's files, excluding subfolders, to images.

    A file has the name of its image, such as `2018.mat`. If no file has such a name, names that share an addition are
    accepted, such as `2018_ucm.mat` and `3063_ucm.mat`; the addition that fits most images is used.
    """
    entries = _list(folder, names)
    files = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    image_names = set(names)
    owned: dict[str, list[Path]] = {}
    for path in files:
        if path.stem in image_names:
            owned.setdefault(path.stem, []).append(path)
    owned = owned or _match_decorated(folder, files, image_names)
    if not owned:
        present = [f"{path.name}/" if path.is_dir() else path.name for path in entries]
        raise InputError(
            f"{folder}: no file belongs to any of the {len(image_names)} images. Expected {_three(names)}; found "
            f"{_three(present, '') or 'nothing'}. Call each file like its image, with one of {', '.join(SUFFIXES)}."
        )
    taken = {path for paths in owned.values() for path in paths}
    unexpected = tuple(path for path in files if path not in taken)
    missing = tuple(name for name in dict.fromkeys(names) if name not in owned)
    return FoundResults(
        folder=folder,
        files={name: paths[0] for name, paths in owned.items() if len(paths) == 1},
        missing=missing,
        duplicates={name: tuple(paths) for name, paths in owned.items() if len(paths) > 1},
        unexpected=unexpected,
        similar=_similar(missing, unexpected),
    )


def read_labels(path: Path, shape: tuple[int, int]) -> Int32[np.ndarray, "height width"]:
    """Return the superpixels of an image of the given shape (H, W); ids become 0..N-1 in the same order.

    An .npz written by SuperCuts gives its leaves, a palette PNG its indices. If a file has several arrays, the 2-D one
    named labels, seg, segs, S, superpixels or Segmentation is read, else the only 2-D one of integers.
    """
    if (hierarchy := read_result_hierarchy(path)) is not None:
        check_result_size(path, hierarchy.shape, shape, "the image")
        return hierarchy.labels
    variables = read_variables(path)
    # a cell array with a single element is read as that element
    maps = {name: array.item() if _is_cell(array) and array.size == 1 else array for name, array in variables.items()}
    integral = tuple(name for name, array in _maps(maps).items() if is_integral(array))
    array = _pick(path, maps, (_LABEL_NAMES, integral), "one 2-D array of ids")
    check_result_size(path, array.shape, shape, "the image")
    return as_labels(path, array)


def read_hierarchy_result(
    path: Path, shape: tuple[int, int], kind: Form = "auto"
) -> ContourMap | SoftMap | Segmentations | Hierarchy:
    """Return the hierarchy of an image of the given shape (H, W), in the form that the file contains.

    An .npz written by SuperCuts is a Hierarchy. For other files, kind="auto" chooses the form: a MATLAB cell array
    `segs` and any 3-D array (T, H, W) are segmentations. A 2-D array (in .mat: `ucm2`, else `ucm`, else the only one)
    is a contour map if it is (2H+1, 2W+1), and a soft boundary map if it is (H, W) and float or bool, or a PNG. Other
    (H, W) integers may be strengths or ids and raise FileFormatError. uint8 strengths are divided by 255, uint16 ones
    by 65535.
    """
    check_choice("kind", kind, FORMS)
    if (hierarchy := read_result_hierarchy(path)) is not None:
        if kind not in ("auto", "ucm"):
            raise FileFormatError(f"{path} holds a hierarchy. Expected {kind}: leave out --form, or ask for ucm.")
        check_result_size(path, hierarchy.shape, shape, "the image")
        return hierarchy
    variables = read_variables(path, accepts_palette=kind == "segmentations")
    form = _guess(path, variables, shape) if kind == "auto" else kind
    if form == "segmentations":
        return Segmentations(_segmentations(path, variables, shape))
    array = _pick(path, variables, (("ucm2",), ("ucm",)), "one 2-D array of strengths")
    if form == "soft":
        check_result_size(path, array.shape, shape, "the image, for a soft boundary map")
        return SoftMap(as_strength(path, array))
    height, width = shape
    check_result_size(
        path, array.shape, (2 * height + 1, 2 * width + 1), f"a contour map of the image {shape}, (2H+1, 2W+1)"
    )
    ucm = as_strength(path, array)
    try:
        check_contour_map(ucm)
    except InputError as error:
        raise FileFormatError(f"{path}: {error}") from error
    return ContourMap(ucm)


def _guess(path: Path, variables: dict[str, np.ndarray], shape: tuple[int, int]) -> Form:
    has_cell = _is_cell(variables.get("segs"))
    if has_cell and not variables.keys().isdisjoint(("ucm", "ucm2")):
        raise FileFormatError(
            f"{path} holds {describe(variables)}: both segmentations and a contour map. Expected one of the two. "
            f"{_SAY_FORM}"
        )
    if has_cell or (not _maps(variables) and any(array.ndim == 3 for array in variables.values())):
        return "segmentations"
    array = _pick(path, variables, (("ucm2",), ("ucm",)), "a cell array segs, or one 2-D or 3-D array")
    double = (2 * shape[0] + 1, 2 * shape[1] + 1)
    if array.shape in (double, double[::-1]):
        return "ucm"
    if array.shape not in (shape, shape[::-1]):
        raise FileFormatError(
            f"{path} is {array.shape}. Expected {shape} for a soft boundary map or {double} for a contour map. It "
            "belongs to another image or was resized: save the result at the size of its own image."
        )
    if array.dtype.kind in "bf" or path.suffix.lower() == ".png":
        return "soft"
    raise FileFormatError(
        f"{path} holds {array.shape} {array.dtype}: integers, which may be strengths or ids of regions. Expected a "
        f"form that shape and type determine. {_SAY_FORM}"
    )


def _segmentations(
    path: Path, variables: dict[str, np.ndarray], shape: tuple[int, int]
) -> tuple[Int32[np.ndarray, "height width"], ...]:
    stacks = {name: array for name, array in variables.items() if _is_cell(array) or array.ndim in (2, 3)}
    if "segs" in stacks:
        array = stacks["segs"]
    elif len(stacks) == 1:
        (array,) = stacks.values()
    else:
        raise FileFormatError(
            f"{path} holds {describe(variables)}. Expected segmentations: a cell array segs of (H, W) integers, or one "
            "array (T, H, W). Save only that."
        )
    layers = array.ravel() if _is_cell(array) else array if array.ndim == 3 else array[None]
    if len(layers) == 0 or array.size == 0:
        raise FileFormatError(f"{path} holds no segmentation: {describe(variables)}. Expected at least one: save it.")
    if array.ndim == 3 and array.shape[1:] != shape and array.shape[:2] == shape:
        raise FileFormatError(
            f"{path} is {array.shape}. Expected ({array.shape[2]}, {shape[0]}, {shape[1]}), segmentations first: save "
            "np.moveaxis(array, -1, 0), or a cell array segs."
        )
    for number, layer in enumerate(layers, start=1):
        check_result_size(path, np.shape(layer), shape, f"the image, for segmentation {number} of {len(layers)}")
    return tuple(as_labels(path, np.asarray(layer)) for layer in layers)


def _pick(
    path: Path, variables: dict[str, np.ndarray], preferred: Iterable[Sequence[str]], expected: str
) -> np.ndarray:
    """Return the only 2-D numeric array named in the first preferred group that names any, else the only one."""
    maps = _maps(variables)
    for group in (*preferred, tuple(maps)):
        named = [name for name in group if name in maps]
        if len(named) == 1:
            return maps[named[0]]
        if named:
            break
    raise FileFormatError(f"{path} holds {describe(variables)}. Expected {expected}: save only that.")


def _maps(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the 2-D numeric arrays; those of one row or column (MATLAB scalars, lists) only if there are no others."""
    maps = {
        name: array
        for name, array in variables.items()
        if isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "biuf"
    }
    return {name: array for name, array in maps.items() if min(array.shape) > 1} or maps


def _is_cell(array: np.ndarray | None) -> bool:
    return array is not None and array.dtype == object


def _list(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the entries of the folder in sorted order, without hidden ones."""
    if len(names) == 0:
        raise InputError("There are no images to find results for: give the name of at least one.")
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        message = (
            f"{folder} cannot be listed ({error.strerror}). Expected a folder with {_three(names)}: check its path."
        )
        cause = None if isinstance(error, FileNotFoundError) else error  # a wrong name is a wrong option
        raise InputError(message) from cause


def _three(names: Sequence[str], suffix: str = ".mat") -> str:
    return ", ".join(f"{name}{suffix}" for name in names[:3]) + (", ..." if len(names) > 3 else "")


def _match_decorated(folder: Path, files: Sequence[Path], names: set[str]) -> dict[str, list[Path]]:
    """Return each image's files with the prefix and suffix that fit most images, and rival files of these images."""
    decorations: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for path in files:
        for start, end in _occurrences(path.stem, names):
            decoration = (path.stem[:start], path.stem[end:])
            decorations.setdefault(decoration, {}).setdefault(path.stem[start:end], []).append(path)
    n_required = min(2, len(names))
    common = {key: owned for key, owned in decorations.items() if len(owned) >= n_required}
    ranked = sorted(common, key=lambda key: -len(common[key]))
    if not ranked:
        return {}
    best, *runners_up = ranked
    if runners_up and len(common[runners_up[0]]) == len(common[best]):
        kinds = " and ".join("NAME".join(key) for key in (best, runners_up[0]))
        raise InputError(
            f"{folder}: files called {kinds} fit equally many images. Expected one kind of files: keep the other in a "
            "folder of its own."
        )
    owned = common[best]
    taken = {path for paths in owned.values() for path in paths}
    for key in runners_up:
        for name in common[key].keys() & owned.keys():
            owned[name] += [path for path in common[key][name] if path not in taken]
    return owned


def _occurrences(stem: str, names: set[str]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each name in the stem, unless it is part of a longer number or word."""
    for length in {len(name) for name in names}:
        for start in range(len(stem) - length + 1):
            end = start + length
            is_cut = _joins(stem[start - 1 : start], stem[start]) or _joins(stem[end - 1], stem[end : end + 1])
            if stem[start:end] in names and not is_cut:
                yield start, end


def _joins(left: str, right: str) -> bool:
    return (left.isdigit() and right.isdigit()) or (left.isalpha() and right.isalpha())


def _similar(missing: Sequence[str], unexpected: Sequence[Path]) -> dict[str, Path]:
    """Return, for missing images, a file whose name contains theirs, ignoring case."""
    by_lower = {name.casefold(): name for name in missing}
    lengths = {len(name) for name in by_lower}
    similar: dict[str, Path] = {}
    for path in unexpected:
        stem = path.stem.casefold()
        for length in lengths:
            for start in range(len(stem) - length + 1):
                if (name := by_lower.get(stem[start : start + length])) is not None:
                    similar.setdefault(name, path)
    return similar
