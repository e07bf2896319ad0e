"""Write cuts, masks and contour maps on the grid of the image; find its coordinates: pixels or those of a map."""

import io
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int32
from PIL import Image

from supercuts.core.checks import check_choice, check_installed
from supercuts.core.errors import FileFormatError, InputError
from supercuts.core.files import MARK, atomic_folder, atomic_path
from supercuts.hierarchy.cuts import Granularity
from supercuts.hierarchy.regions import RegionTable
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.formats.arrays import image_axes
from supercuts.images.georeference import Georeference
from supercuts.images.io import png_mark, write_labels_png

if TYPE_CHECKING:
    import xarray


SUPERPIXELS = "superpixels"


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """A cut and its name.

    Parameters
    ----------
    name
        Name of the level, "superpixels" for the leaves, "cut" for any other cut.
    labels
        (H, W) int32, 0..R-1, -1 where the hierarchy has no leaf.
    nodes
        (R,) int32, tree node of each region.

    Examples
    --------
    >>> part = Partition("cut", np.array([[0, 0, 1]], np.int32), np.array([3, 2], np.int32))
    """

    name: str
    labels: Int32[np.ndarray, "height width"]
    nodes: Int32[np.ndarray, " regions"]

    def region_of_leaf(self, hierarchy: Hierarchy) -> Int32[np.ndarray, " leaves"]:
        """Return the region of each superpixel.

        Parameters
        ----------
        hierarchy
            Hierarchy that was cut.

        Returns
        -------
        int32 (N,)
            Region of each leaf, 0..R-1.

        Examples
        --------
        >>> labels, parents = np.array([[0, 1, 2]], np.int32), np.array([3, 3, 4, 4, 4], np.int32)
        >>> altitudes, embeddings = np.array([0, 0, 0, 0.2, 0.9], np.float32), np.zeros((3, 0), np.float32)
        >>> part.region_of_leaf(Hierarchy(labels, parents, altitudes, embeddings)).tolist()
        [0, 0, 1]
        """
        region = np.empty(hierarchy.n_leaves + 1, np.int32)
        region[hierarchy._labels] = self.labels  # invalid pixels (-1) write to the extra last element
        return region[:-1]


def partitions(hierarchy: Hierarchy, how: Granularity | None = None) -> list[Partition]:
    """Return one cut of a hierarchy, or each calibrated level, coarsest first, and the superpixels.

    Parameters
    ----------
    hierarchy
        Hierarchy to cut.
    how
        Cut to return; if None, the levels and the superpixels.

    Returns
    -------
    list of Partition
        Label maps with their names.

    Raises
    ------
    InputError, ConstraintError
        As in `Hierarchy.cut`.

    Examples
    --------
    >>> labels, parents = np.array([[0, 1]], np.int32), np.array([2, 2, 2], np.int32)
    >>> altitudes, embeddings = np.array([0, 0, 0.5], np.float32), np.zeros((2, 0), np.float32)
    >>> h = Hierarchy(labels, parents, altitudes, embeddings, levels={"part": 0.1})
    >>> [part.name for part in partitions(h)], partitions(h, Granularity(regions=1))[0].labels.tolist()
    (['part', 'superpixels'], [[0, 0]])
    """
    if how is not None:
        return [_cut(hierarchy, how, how.level or "cut")]
    levels = [_cut(hierarchy, Granularity(level=level), level) for level in hierarchy.levels]
    return [*levels, Partition(SUPERPIXELS, hierarchy._labels, np.arange(hierarchy.n_leaves, dtype=np.int32))]


def _cut(hierarchy: Hierarchy, how: Granularity, name: str) -> Partition:
    keywords = asdict(how)
    return Partition(name, hierarchy.cut(**keywords), hierarchy.cut_nodes(**keywords))


def write_labels(
    path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None, start: int = 0
) -> None:
    """Write one cut as a label map.

    how    cut to write; if None, a PNG holds the superpixels, a TIFF every level and the superpixels
    start  id of the first region, 0 or 1; invalid pixels are 0 if start is 1, else the highest value
    """
    suffix = Path(path).suffix.lower()
    check_choice("suffix of a label map", suffix, (".png", ".tif", ".tiff"))
    parts = partitions(hierarchy, how)
    if suffix == ".png":
        masked_label = np.iinfo(np.uint16).max if hierarchy.is_masked and start == 0 else None
        write_labels_png(path, parts[-1].labels + np.int32(check_start(start)), masked_label=masked_label)
        return
    _write_pages(path, hierarchy, parts, start)


def write_labels_tiff(
    path: str | os.PathLike[str], hierarchy: Hierarchy, how: Granularity | None = None, start: int = 1
) -> None:
    """Write one cut (superpixels if `how` is None) as a TIFF of one page; if ids count from 1, 0 marks no region."""
    check_choice("suffix of a label TIFF", Path(path).suffix.lower(), (".tif", ".tiff"))
    _write_pages(path, hierarchy, partitions(hierarchy, how)[-1:], start)


def _write_pages(path: str | os.PathLike[str], hierarchy: Hierarchy, parts: Sequence[Partition], start: int) -> None:
    import tifffile  # slow to import

    dtype = label_type(hierarchy)
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary) as tiff:
        for part in parts:
            labels = _counted(part.labels, start, dtype)
            layout: dict[str, Any] = {"compression": "zlib", "contiguous": False, "rowsperstrip": 256}
            tiff.write(labels, description=part.name, software=MARK, metadata=None, **layout)


def check_start(start: int) -> int:
    """Return the id of the first region; raise InputError unless it is 0 or 1."""
    check_choice("start", start, (0, 1))
    return int(start)


def _counted(labels: np.ndarray, start: int, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """Return labels that count from `start`; -1 becomes 0 if start is 1, else the highest value of dtype."""
    return (labels + np.int32(check_start(start))).astype(dtype)


def label_type(hierarchy: Hierarchy) -> type[np.unsignedinteger]:
    """Return uint16 if it fits all region ids and one more, else uint32; GIS and microscopy programs read both."""
    return np.uint16 if hierarchy.n_leaves < np.iinfo(np.uint16).max else np.uint32


def write_ucm(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the contour map in the format given by the suffix, .npy or .mat."""
    suffix = Path(path).suffix
    check_choice("suffix of a contour map file", suffix, (".npy", ".mat"))
    contours = hierarchy.ucm()
    import scipy.io  # slow to import

    buffer: Any = io.BytesIO()  # neither writer reports why a file cannot be written
    if suffix == ".npy":
        np.save(buffer, contours, allow_pickle=False)
    else:
        scipy.io.savemat(buffer, {"ucm2": contours.astype(np.float64)}, do_compression=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def write_masks(path: str | os.PathLike[str], hierarchy: Hierarchy, *, overwrite: bool = False) -> None:
    """Write the masks to a folder atomically; overwrite replaces an existing folder of masks."""
    if not hierarchy.levels:
        raise InputError(
            f"{Path(path)}: masks are written per level and this hierarchy has none: segment with a model that carries "
            'levels, or export with format="ucm".'
        )
    with atomic_folder(path, "index.json", overwrite) as folder:
        _write_masks(folder, hierarchy)


def _write_masks(folder: Path, hierarchy: Hierarchy) -> None:
    table = hierarchy.region_table()
    entries: list[dict[str, object]] = []
    for level in hierarchy.levels:
        (folder / level).mkdir(parents=True)
        entries += _write_level_masks(folder, level, hierarchy, table)
    index = {"format_version": 1, "shape": list(hierarchy.shape), "levels": hierarchy.levels, "masks": entries}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _write_level_masks(folder: Path, level: str, hierarchy: Hierarchy, table: RegionTable) -> list[dict[str, object]]:
    labels = hierarchy.cut(level=level)
    entries: list[dict[str, object]] = []
    for region, node in enumerate(hierarchy.cut_nodes(level=level).tolist()):
        name = f"{level}/{region:04d}.png"
        mask = (labels == region).astype(np.uint8) * 255
        # for masks, level 1 is much faster and nearly as small
        Image.fromarray(mask).save(folder / name, compress_level=1, pnginfo=png_mark())
        entries.append(
            {
                "file": name,
                "level": level,
                "region": region,
                "node": node,
                "area": int(table.area[node]),
                "bbox_yxyx": table.bbox_yxyx[node].tolist(),
                "centroid_yx": table.centroid_yx[node].tolist(),
                "altitude": float(table.altitude[node]),
            }
        )
    return entries


def write_geotiff(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    how: Granularity | None = None,
    like: str | os.PathLike[str] | None = None,
    start: int = 0,
) -> None:
    """Write one cut as a GeoTIFF; if `how` is None, write every level and the superpixels, one band each.

    like   georeferenced image that gives the map coordinates; if None, those of the hierarchy
    start  as in write_labels; invalid pixels get the file's nodata value
    """
    check_choice("suffix of a GeoTIFF", Path(path).suffix.lower(), (".tif", ".tiff"))
    if like is None and hierarchy.georeference is None:
        raise InputError(
            'the hierarchy has no map coordinates: format="geotiff" needs the georeferenced image that '
            'was segmented, like="scene.tif" (--like). Without map coordinates use format="labels".'
        )
    import rasterio  # slow to import

    place = georeference_of(hierarchy, like)
    crs = crs_of_rasterio(place.crs)
    parts = partitions(hierarchy, how)
    (height, width), dtype = hierarchy.shape, label_type(hierarchy)
    profile = {"driver": "GTiff", "count": len(parts), "height": height, "width": width, "compress": "deflate"}
    # written in memory, because GDAL reports a full disk as a warning or not at all
    with rasterio.MemoryFile() as memory:
        transform = rasterio.Affine(*place.transform)
        masked_label = np.iinfo(dtype).max if check_start(start) == 0 else 0  # value that replaces -1
        nodata = masked_label if hierarchy.is_masked else None
        with memory.open(**profile, dtype=dtype, crs=crs, transform=transform, nodata=nodata) as target:
            target.update_tags(TIFFTAG_SOFTWARE=MARK)
            for band, part in enumerate(parts, start=1):
                target.write(_counted(part.labels, start, dtype), band)
                target.set_band_description(band, part.name)
        content = memory.read()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


_OME_VERSION = "0.5"
_CHANNEL_COLORS = ("FF0000", "00FF00", "0000FF")


_LEAST_SIDE = 256  # pixels; the pyramid ends where both sides are at most this long


def write_ome_zarr(
    path: str | os.PathLike[str],
    hierarchy: Hierarchy,
    how: Granularity | None = None,
    pixel_size: float | tuple[float, float, float] | None = None,
    *,
    volume: np.ndarray | None = None,
    overwrite: bool = False,
) -> None:
    """Write one cut (if None, every level and the superpixels); overwrite replaces an existing OME-Zarr.

    Images and labels are pyramids of the same sizes: pixels of the image are means, those of labels the first of 2 x 2.

    volume  (Z, H, W) or (Z, H, W, C), if the labels of the hierarchy are its slices one below the other
    """
    image = hierarchy._image if volume is None else volume
    if image is None:
        raise InputError("OME-Zarr labels belong to an image, and the hierarchy holds none: save it with image=True.")
    check_installed(("zarr",), extra="export")
    import zarr

    space = "yx" if volume is None else "zyx"
    has_channels = image.ndim > len(space)
    planes, axes = (np.moveaxis(image, -1, 0), f"c{space}") if has_channels else (image, space)
    parts, dtype = partitions(hierarchy, how), label_type(hierarchy)
    with atomic_folder(path, "zarr.json", overwrite) as folder:
        root = zarr.create_group(folder)
        colors = {"omero": _channels()} if has_channels and image.shape[-1] == 3 and image.dtype == np.uint8 else {}
        root.attrs.update({"ome": {**_add_pyramid(root, "image", planes, axes, pixel_size, _halved), **colors}})
        names = [part.name for part in parts]
        labels = root.create_group("labels", attributes={"ome": {"version": _OME_VERSION, "labels": names}})
        for part in parts:
            source: dict[str, Any] = {"image-label": {"version": _OME_VERSION, "source": {"image": "../../"}}}
            ids = (part.labels + 1).astype(dtype).reshape(image.shape[: len(space)])
            group = labels.create_group(part.name)
            multiscales = _add_pyramid(group, part.name, ids, space, pixel_size, lambda ids: ids[..., ::2, ::2])
            group.attrs.update({"ome": {**multiscales, **source}})


def _add_pyramid(
    group: Any,
    name: str,
    array: np.ndarray,
    axes: str,
    pixel_size: float | tuple[float, float, float] | None,
    halve: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
    """Write an image, a volume or labels in halves of their rows and columns; return the metadata."""
    space = axes.removeprefix("c")
    sides = np.broadcast_to(1.0 if pixel_size is None else pixel_size, len(space)).astype(float)
    unit = {} if pixel_size is None else {"unit": "micrometer"}
    kinds = [
        {"name": axis, "type": "channel"} if axis == "c" else {"name": axis, "type": "space", **unit} for axis in axes
    ]
    datasets: list[dict[str, Any]] = []
    while True:
        path, factor = str(len(datasets)), 2 ** len(datasets)
        group.create_array(path, data=np.ascontiguousarray(array), dimension_names=list(axes))
        factors = np.array([1, factor, factor][-len(space) :])
        is_channel = "c" in axes
        scale = {"type": "scale", "scale": [1.0] * is_channel + (factors * sides).tolist()}
        # the centre of a coarse pixel lies between those that it covers
        shift = {"type": "translation", "translation": [0.0] * is_channel + ((factors - 1) / 2 * sides).tolist()}
        transformations = [scale] if factor == 1 else [scale, shift]
        datasets.append({"path": path, "coordinateTransformations": transformations})
        if max(array.shape[-2:]) <= _LEAST_SIDE:
            break
        array = halve(array)
    return {"version": _OME_VERSION, "multiscales": [{"name": name, "axes": kinds, "datasets": datasets}]}


def _halved(image: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels; the last row or column of an odd size counts twice."""
    odd = [(0, 0)] * (image.ndim - 2) + [(0, side % 2) for side in image.shape[-2:]]
    wide = {"u1": np.uint16, "u2": np.uint32}.get(image.dtype.str[1:], image.dtype.type)
    padded = np.pad(image, odd, mode="edge").astype(wide)
    sums = padded[..., ::2, ::2] + padded[..., 1::2, ::2] + padded[..., ::2, 1::2] + padded[..., 1::2, 1::2]
    means: np.ndarray = (sums + 2) // 4 if image.dtype.kind == "u" else sums / 4
    return means.astype(image.dtype)


def _channels() -> dict[str, Any]:
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    return {"channels": [{"color": color, "window": window, "active": True} for color in _CHANNEL_COLORS]}


def to_data_array(hierarchy: Hierarchy, how: Granularity | None = None, like: Any = None) -> "xarray.DataArray":
    """Return the regions of one cut (superpixels if `how` is None) with the axes and coordinates of `like`.

    Coordinates along the band axis are dropped, all others are kept.
    """
    check_installed(("xarray",), extra="export")
    import xarray

    part = partitions(hierarchy, how)[-1]
    labels = np.array(part.labels)  # the array is the caller's, who may write into it
    if like is None:
        return xarray.DataArray(labels, dims=("y", "x"), name=part.name)
    axes = image_axes(like)
    if tuple(like.sizes[axis] for axis in axes) != hierarchy.shape:
        raise InputError(
            f"like has axes {dict(like.sizes)}, the hierarchy {hierarchy.shape}. Give the DataArray that was segmented."
        )
    coords = {name: value for name, value in like.coords.items() if set(value.dims) <= set(axes)}
    return xarray.DataArray(labels, dims=axes, coords=coords, name=part.name)


PIXELS = Georeference()  # pixel coordinates, for images that are not georeferenced
_CODE = re.compile(r"(EPSG|ESRI|OGC|IGNF|IAU_2015|urn:ogc:def:crs):[\w.:+-]+|WGS84|WGS72|NAD27|NAD83", re.IGNORECASE)
_WKT = re.compile(
    r"\s*(GEOGCS|GEOCCS|PROJCS|VERT_CS|COMPD_CS|FITTED_CS|LOCAL_CS|(GEOD|GEODETIC|GEOG|GEOGRAPHIC|PROJ|PROJECTED|VERT|"
    r"VERTICAL|COMPOUND|ENG|ENGINEERING|BOUND|DERIVEDPROJ)CRS)\s*[\[(]",
    re.IGNORECASE,
)
_PROJ = re.compile(r"(\s*\+(?!init|\w*grids|\w*file)\w+(=[\w.,:-]*)?)+\s*")  # +init and grids name files
_REMEDY = 'Name the image that was segmented: like="scene.tif" (--like).'


def georeference_of(hierarchy: Hierarchy, like: str | os.PathLike[str] | None) -> Georeference:
    """Return the georeference of `like`; if None, that of the hierarchy, or PIXELS if it has none."""
    if like is not None:
        return read_georeference(like, hierarchy.shape)
    return hierarchy.georeference or PIXELS


def read_georeference(path: str | os.PathLike[str], shape: tuple[int, int]) -> Georeference:
    """Return the georeference of a file that rasterio reads, such as a GeoTIFF of the segmented image."""
    from supercuts.images.formats.tiff import read_map  # slow to import

    try:
        place, size = read_map(os.fspath(path))
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read by rasterio ({error}). Give a GeoTIFF.") from error
    if size != shape:
        raise InputError(
            f"like={os.fspath(path)!r} has {size[0]} rows and {size[1]} columns, the hierarchy {shape[0]} and "
            f"{shape[1]}. Give the image that was segmented."
        )
    if place is None:
        raise InputError(f"like={os.fspath(path)!r} is not georeferenced. Give a GeoTIFF with its transform.")
    return place


def epsg_number(crs: str) -> int | None:
    """Return the EPSG number of a coordinate reference system; for WKT, the best match, or None if there is none."""
    if number := re.fullmatch(r"EPSG:(\d+)", crs):
        return int(number[1])
    code = crs_of_rasterio(crs).to_epsg()
    return None if code is None else int(code)


def check_crs(crs: str) -> None:
    """Raise InputError unless crs is a code or a definition: GDAL opens any other text as a file or a URL."""
    if not (_CODE.fullmatch(crs) or _WKT.match(crs) or _PROJ.fullmatch(crs)):
        raise InputError(f'crs={crs!r:.200} is neither a code such as "EPSG:32632" nor WKT. {_REMEDY}')


def crs_of_rasterio(crs: str | None) -> Any:
    """Return the CRS object that rasterio writes; raise InputError if rasterio does not recognise it."""
    if crs is None:
        return None
    check_crs(crs)
    import rasterio  # slow to import

    try:
        return rasterio.crs.CRS.from_user_input(crs)
    except rasterio.errors.CRSError as error:
        raise InputError(
            f"crs={crs!r:.200} is not a coordinate reference system of rasterio ({error}). {_REMEDY}"
        ) from error
