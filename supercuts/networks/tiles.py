"""What the network says of an image seen tile by tile, or in any way: the same as of the whole, in bounded memory.

In   a picture (H, W, 3) uint8 or bands (H, W, C), an SSN of convolutions, the side of a tile
Out  tiles of a network's maps; PixelMaps of the whole image
Not  no superpixels; no transformer, which sees the whole image at once

A tile is given to the network with as many pixels around it as the network sees from its edge, and starts where the
network's coarsest pixels start: what it says inside the tile is what it says of the whole image, but for rounding.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped

from supercuts.core.arrays import channels_last
from supercuts.core.checks import check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.core.memory import give_freed_memory_back
from supercuts.images.convert import to_unit
from supercuts.networks.maps import PixelMaps, as_half, color_maps, halved_pixels, is_large, precision
from supercuts.networks.network import Maps, Network, Tile, ViewsConfig

Way = int | Literal["rows"] | None  # in tiles of this side, row by row, at once

TILE = 1024  # side in pixels unless the caller says
_ROWS_STORED = 16  # rows of embeddings that are rounded at once


def choose_tile(tile: int | None, shape: tuple[int, int], network: Network | None, views: ViewsConfig) -> Way:
    """Return how the image is seen; `tile` is what the caller asked for, 0 for the whole image.

    Unless asked for tiles, a network that can sees large images in rows.
    """
    if tile is None:
        return "rows" if is_large(shape) and _why_not_in_tiles(network, views) is None else None
    check_whole("tile", tile, remedy="Give the side of a tile in pixels, or 0 for the whole image at once.")
    check_in_range("tile", tile, 0, np.inf, remedy="Give the side of a tile in pixels, or 0 for the whole image.")
    if tile == 0:
        return None
    reason = _why_not_in_tiles(network, views)
    if reason is not None:
        raise InputError(f"tile={tile}: {reason}. Leave out tile, or give tile=0 for the whole image.")
    return tile


def _why_not_in_tiles(network: Network | None, views: ViewsConfig) -> str | None:
    if network is None:
        return None
    try:
        network.window()
    except InputError as reason:
        return str(reason)
    if views != ViewsConfig():
        return "views of other scales, or mirrored, resize the whole image: only one view works in tiles"
    return None


def tiles_of(shape: tuple[int, int], side: int) -> list[Tile]:
    """Return tiles that cover the image, row by row; those at the lower and right ends may be smaller."""
    height, width = shape
    return [
        Tile(top, min(top + side, height), left, min(left + side, width))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def predict_tiles(
    pixels: Shaped[np.ndarray, "height width bands"], network: Network, tile: int
) -> Iterator[tuple[Tile, Maps]]:
    """Yield each tile and what the network says of it: boundary, embeddings, and strength and regions if it has them.

    The side is rounded up to a multiple of the network's largest stride. Strength and regions have their own stride.
    """
    check_in_range("tile", tile, 1, np.inf, remedy="Give the side of a tile in pixels.")
    halo, multiple = network.window()
    height, width = pixels.shape[:2]
    for one in tiles_of((height, width), -(-tile // multiple) * multiple):
        top, left = max(one.top - halo, 0), max(one.left - halo, 0)
        part = pixels[top : one.bottom + halo, left : one.right + halo]
        is_rgb = part.dtype == np.uint8 and part.shape[2] == 3
        maps = []
        for i, values in enumerate(network.maps([part if is_rgb else to_unit(part)], ViewsConfig())[0]):
            stride = 1 if i < 2 else network.stride
            rows = slice((one.top - top) // stride, -(-(one.bottom - top) // stride))
            columns = slice((one.left - left) // stride, -(-(one.right - left) // stride))
            maps.append(values[..., rows, columns])
        yield one, maps


def predict_stored(
    pixels: Shaped[np.ndarray, "height width bands"],
    bands: Shaped[np.ndarray, "height width _"],
    network: Network | None,
    tile: Way = None,
    views: ViewsConfig | None = None,
    valid: Bool[np.ndarray, "height width"] | None = None,
    embedding_stride: int = 1,
) -> PixelMaps:
    """Return the maps of an image, stored as its size asks for; without a network colour alone.

    The network sees `pixels`; three of bytes are RGB, whose colour is Lab.

    bands  what is compared as colour beside the pixels
    tile   how the image is seen, at once in the views
    embedding_stride  1, 2 or 4 pixels a side share a stored embedding, or more in images whose memory asks for it

    What pixels that are not valid hold does not matter: the network sees the mean of the others there.
    """
    maps = color_maps(pixels, bands, valid)
    if network is None:
        return maps
    shown, views = pixels if maps.valid is None else filled(pixels, maps.valid), views or ViewsConfig()
    if tile is None and not is_large(maps.shape):  # as they are, without a copy
        boundary, embeddings, *of_regions = network.maps([shown], views)[0]
        strength, regions = of_regions or (None, None)
        return replace(
            maps, boundary=boundary, embeddings=embeddings, strength=strength, regions=regions,
            region_stride=network.stride,
        )  # fmt: skip
    return _stored(maps, network, _seen(shown, network, tile, views), embedding_stride)


def _stored(maps: PixelMaps, network: Network, seen: Iterator[tuple[Tile, Maps]], embedding_stride: int) -> PixelMaps:
    (height, width), region_stride = maps.shape, network.stride
    stride, embedding_type, dtype = precision(maps.shape)
    stride = max(stride, embedding_stride)
    boundary = np.empty((height, width), dtype)
    coarse = (-(-height // stride), -(-width // stride))
    embeddings = np.empty((*coarse, network.config.embedding_channels), embedding_type)
    coarse = (-(-height // region_stride), -(-width // region_stride))
    n_regions = network.config.region_channels
    strength = np.empty(coarse, dtype) if n_regions else None
    regions = np.empty((n_regions, *coarse), dtype) if n_regions else None
    for one, of_tile in seen:
        boundary[one.top : one.bottom, one.left : one.right] = of_tile[0]
        _store(of_tile[1], stride, embeddings[_coarse(one, stride)])
        if strength is not None and regions is not None:
            at = _coarse(one, region_stride)
            strength[at], regions[:, *at] = of_tile[2], of_tile[3]
    if stride > 1:
        give_freed_memory_back()
    return replace(
        maps, boundary=boundary, embeddings=embeddings.transpose(2, 0, 1), embedding_stride=stride,
        strength=strength, regions=regions, region_stride=region_stride,
    )  # fmt: skip


def _seen(pixels: np.ndarray, network: Network, tile: Way, views: ViewsConfig) -> Iterator[tuple[Tile, Maps]]:
    if tile is None:
        yield Tile(0, pixels.shape[0], 0, pixels.shape[1]), network.maps([pixels], views)[0]
    elif isinstance(tile, int):
        yield from predict_tiles(pixels, network, tile)
    else:
        yield from network.rows(pixels)


def filled(
    pixels: Shaped[np.ndarray, "height width bands"], valid: Bool[np.ndarray, "height width"]
) -> Shaped[np.ndarray, "height width bands"]:
    """Return the image with the mean of its valid pixels where it is not valid."""
    copy = pixels.copy()
    for band in range(pixels.shape[2]):
        mean = np.mean(pixels[..., band], where=valid, dtype=np.float64)
        copy[..., band][~valid] = mean if pixels.dtype.kind == "f" else np.rint(mean).astype(pixels.dtype)
    return copy


def _coarse(tile: Tile, stride: int) -> tuple[slice, slice]:
    return (
        slice(tile.top // stride, -(-tile.bottom // stride)),
        slice(tile.left // stride, -(-tile.right // stride)),
    )


def _store(values: np.ndarray, stride: int, out: np.ndarray) -> None:
    """Set out (h, w, D) to the means of stride x stride pixels of values (D, H, W), the last repeated at the ends."""
    for top in range(0, len(out), _ROWS_STORED):  # small arrays are used again
        rows = channels_last(values[:, top * stride : (top + _ROWS_STORED) * stride])
        for _ in range(stride.bit_length() - 1):
            rows = halved_pixels(rows)
        out[top : top + _ROWS_STORED] = rows if out.dtype == np.float32 else as_half(rows)
