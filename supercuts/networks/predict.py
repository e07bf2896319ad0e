"""Run a network over an image, whole, in tiles or in rows, and average its predictions over several views.

In   an image (H, W, C), a network in eval mode or None, the views
Out  PixelMaps
Not  superpixels, reading files, running the network itself (each engine implements `Network`)
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from PIL import Image

from supercuts.core.arrays import channels_last
from supercuts.core.checks import check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.core.threads import give_freed_memory_back, in_threads
from supercuts.images.convert import color_features, to_unit
from supercuts.networks.maps import PixelMaps, as_half, color_maps, halved_pixels, is_large, precision
from supercuts.networks.network import Maps, Network, Pixels, Sized, Tile, ViewsConfig, is_on_gpu

_TOGETHER, _PIXELS_TOGETHER = 8, 4_000_000  # images and pixels in a batch; more cost memory and save no time
_WAITING = 32  # images


def predict(image: Pixels, network: Network | None, views: ViewsConfig | None = None) -> PixelMaps:
    """Return colour, boundary probability and embeddings of each pixel; without a network, colour only.

    Probabilities and embeddings are averaged over the views.
    """
    color = color_features(image)
    if network is None:
        return PixelMaps(color, np.zeros(color.shape[1:], np.float32), np.zeros((0, *color.shape[1:]), np.float32))
    return _pixel_maps(color, network_maps(image, network, views or ViewsConfig()), network)


def predict_many(
    images: Iterable[Sized], network: Network | None, views: ViewsConfig | None = None
) -> Iterator[tuple[int, Sized, PixelMaps]]:
    """Yield the number, the pixels and the result of `predict` for each image, in the order of completion.

    A network on a GPU runs on images of one size and type in batches, which may change the last bits of its maps.
    At most 32 images wait for others of their size.
    """
    waiting: dict[tuple[object, ...], list[tuple[int, Sized]]] = {}
    for numbered in enumerate(images):
        key = (numbered[1].shape, numbered[1].dtype)
        waiting.setdefault(key, []).append(numbered)
        height, width = numbered[1].shape[:2]
        if len(waiting[key]) >= min(_TOGETHER, _PIXELS_TOGETHER // (height * width)):
            yield from _predict_together(waiting.pop(key), network, views)
        elif sum(map(len, waiting.values())) > _WAITING:
            yield from _predict_together(waiting.pop(max(waiting, key=lambda size: len(waiting[size]))), network, views)
    for group in waiting.values():
        yield from _predict_together(group, network, views)


def _predict_together(
    group: list[tuple[int, Sized]], network: Network | None, views: ViewsConfig | None
) -> Iterator[tuple[int, Sized, PixelMaps]]:
    # on CPUs a batch saves no time, and its size may change the last bits of a convolution
    if len(group) == 1 or not is_on_gpu(network):
        yield from ((number, image, predict(image, network, views)) for number, image in group)
        return
    assert network is not None
    maps = network.maps([image for _, image in group], views or ViewsConfig())
    for (number, image), of_network in zip(group, maps, strict=True):
        yield number, image, _pixel_maps(color_features(image), of_network, network)


def _pixel_maps(color: Float32[np.ndarray, "channels height width"], maps: Maps, network: Network) -> PixelMaps:
    boundary, embeddings, *of_regions = maps
    strength, regions = of_regions or (None, None)
    return PixelMaps(color, boundary, embeddings, strength, regions, network.stride)


def network_maps(image: Pixels, network: Network, views: ViewsConfig) -> Maps:
    """Return the maps of one image."""
    return network.maps([image], views)[0]


Way = int | Literal["rows"] | None  # in tiles of this side, row by row, at once

TILE = 1024  # default side of a tile, in pixels
_ROWS_STORED = 16  # rows of embeddings that are stored at once


def choose_tile(tile: int | None, shape: tuple[int, int], network: Network | None) -> Way:
    """Return how the network runs over the image: in tiles, in rows or at once.

    `tile` is the requested side of a tile, or 0 for the whole image at once. If None, large images are processed in
    rows, provided that the network permits it.
    """
    if tile is None:
        return "rows" if is_large(shape) and _why_not_in_tiles(network) is None else None
    check_whole("tile", tile, remedy="Give the side of a tile in pixels, or 0 for the whole image at once.")
    check_in_range("tile", tile, 0, np.inf, remedy="Give the side of a tile in pixels, or 0 for the whole image.")
    if tile == 0:
        return None
    reason = _why_not_in_tiles(network)
    if reason is not None:
        raise InputError(f"tile={tile}: {reason}. Leave out tile, or give tile=0 for the whole image.")
    return tile


def _why_not_in_tiles(network: Network | None) -> str | None:
    if network is None:
        return None
    try:
        network.window()
    except InputError as reason:
        return str(reason)
    return None


def tiles_of(shape: tuple[int, int], side: int) -> list[Tile]:
    """Return tiles that cover the image, row by row; tiles at the lower and right edges may be smaller."""
    height, width = shape
    return [
        Tile(top, min(top + side, height), left, min(left + side, width))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def predict_tiles(
    pixels: Shaped[np.ndarray, "height width bands"], network: Network, tile: int
) -> Iterator[tuple[Tile, Maps]]:
    """Yield each tile with its maps: boundary, embeddings and, if the network has them, strength and regions.

    `tile`, the side, is rounded up to a multiple of the network's largest stride. Strength and regions have the stride
    `network.stride`.
    """
    check_in_range("tile", tile, 1, np.inf, remedy="Give the side of a tile in pixels.")
    halo, multiple = network.window()
    height, width = pixels.shape[:2]
    for tile_place in tiles_of((height, width), -(-tile // multiple) * multiple):
        top, left = max(tile_place.top - halo, 0), max(tile_place.left - halo, 0)
        part = pixels[top : tile_place.bottom + halo, left : tile_place.right + halo]
        is_rgb = part.dtype == np.uint8 and part.shape[2] == 3
        maps = []
        for i, values in enumerate(network.maps([part if is_rgb else to_unit(part)], ViewsConfig())[0]):
            stride = 1 if i < 2 else network.stride
            rows = slice((tile_place.top - top) // stride, -(-(tile_place.bottom - top) // stride))
            columns = slice((tile_place.left - left) // stride, -(-(tile_place.right - left) // stride))
            maps.append(values[..., rows, columns])
        yield tile_place, maps


def predict_stored(
    pixels: Shaped[np.ndarray, "height width bands"],
    bands: Shaped[np.ndarray, "height width _"],
    network: Network | None,
    tile: Way = None,
    views: ViewsConfig | None = None,
    valid: Bool[np.ndarray, "height width"] | None = None,
    embedding_stride: int = 1,
) -> PixelMaps:
    """Return the maps of an image, at a precision that depends on its size; without a network, colour only.

    The network runs on `pixels`. Three bands of bytes are RGB and are compared as Lab.

    bands             further bands to compare as colour
    tile              how the network runs over each view of the image (see choose_tile)
    embedding_stride  1, 2 or 4: pixels per side that share a stored embedding; large images may use more

    Values of invalid pixels are ignored: the network receives the mean of the valid ones in their place.
    """
    maps = color_maps(pixels, bands, valid)
    if network is None:
        return maps
    visible, views = pixels if maps.valid is None else filled(pixels, maps.valid), views or ViewsConfig()
    if tile is None and not is_large(maps.shape):  # keep the network's arrays, without a copy
        boundary, embeddings, *of_regions = network.maps([visible], views)[0]
        strength, regions = of_regions or (None, None)
        return replace(
            maps, boundary=boundary, embeddings=embeddings, strength=strength, regions=regions,
            region_stride=network.stride,
        )  # fmt: skip
    stride = max(precision(maps.shape)[0], embedding_stride)
    boundary, embeddings, *of_regions = _stored(maps.shape, network, visible, tile, views, stride)
    strength, regions = (of_regions[0][0], of_regions[1]) if of_regions else (None, None)
    if precision(maps.shape)[0] > 1:  # memory is scarcer than time
        give_freed_memory_back()
    return replace(
        maps, boundary=boundary[0], embeddings=embeddings, embedding_stride=stride,
        strength=strength, regions=regions, region_stride=network.stride,
    )  # fmt: skip


def _stored(
    shape: tuple[int, int], network: Network, pixels: np.ndarray, tile: Way, views: ViewsConfig, stride: int
) -> list[np.ndarray]:
    """Return the maps (n, h, w) of an image, at the precision of images of this shape, averaged over the views."""
    if tile is None:
        whole_image = Tile(0, shape[0], 0, shape[1]), network.maps([pixels], views)[0]
        return _collected(_nothing(shape, shape, network, stride), iter([whole_image]), network, stride)
    if views == ViewsConfig():
        return _collected(_nothing(shape, shape, network, stride), _seen(pixels, network, tile), network, stride)
    means, each = _nothing(shape, shape, network, stride), list(views.each())
    for scale, flip in each:  # one after another, so that memory holds the maps of one view beside the means
        view = pixels
        if scale != 1:
            height, width = (max(round(scale * side), 1) for side in shape)
            view = resized(to_unit(pixels).transpose(2, 0, 1), height, width).transpose(1, 2, 0)
        view = np.ascontiguousarray(view[:, ::-1] if flip else view)
        empty = _nothing(view.shape[:2], shape, network, stride)
        for mean, values in zip(means, _collected(empty, _seen(view, network, tile), network, stride), strict=True):
            values = values[..., ::-1] if flip else values
            for top in range(0, mean.shape[1], _ROWS_STORED):
                rows = interpolated(values, mean.shape[1], mean.shape[2], slice(top, top + _ROWS_STORED))
                mean[:, top : top + _ROWS_STORED] += rows / np.float32(len(each))
    return means


def _nothing(shape: tuple[int, int], image: tuple[int, int], network: Network, stride: int) -> list[np.ndarray]:
    """Return zeros for the maps (n, h, w) of a view of this shape, in the types and strides of the image's maps."""
    _, of_embeddings, dtype = precision(image)
    (height, width), region_stride, config = shape, network.stride, network.config
    embeddings = np.zeros((-(-height // stride), -(-width // stride), config.embedding_channels), of_embeddings)
    maps = [np.zeros((1, height, width), dtype), embeddings.transpose(2, 0, 1)]
    if config.region_channels:
        coarse = (-(-height // region_stride), -(-width // region_stride))
        maps += [np.zeros((n, *coarse), dtype) for n in (1, config.region_channels)]
    return maps


def _collected(
    maps: list[np.ndarray], predictions: Iterator[tuple[Tile, Maps]], network: Network, stride: int
) -> list[np.ndarray]:
    """Return the maps (n, h, w), filled with those of the tiles."""
    for place, of_tile in predictions:
        maps[0][0, place.top : place.bottom, place.left : place.right] = of_tile[0]
        _store(of_tile[1], stride, maps[1].transpose(1, 2, 0)[_coarse(place, stride)])
        for values, part in zip(maps[2:], of_tile[2:], strict=True):
            values[:, *_coarse(place, network.stride)] = part
    return maps


def _seen(pixels: np.ndarray, network: Network, tile: int | Literal["rows"]) -> Iterator[tuple[Tile, Maps]]:
    return predict_tiles(pixels, network, tile) if isinstance(tile, int) else network.rows(pixels)


def filled(
    pixels: Shaped[np.ndarray, "height width bands"], valid: Bool[np.ndarray, "height width"]
) -> Shaped[np.ndarray, "height width bands"]:
    """Return a copy of the image with each invalid pixel set to the mean of the valid ones."""
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
    """Set out (h, w, D) to the means of stride x stride pixels of values (D, H, W); edges repeat the last pixel."""

    def store_rows(_: int, top: int) -> None:
        rows = channels_last(values[:, top * stride : (top + _ROWS_STORED) * stride])
        for _ in range(stride.bit_length() - 1):
            rows = halved_pixels(rows)
        out[top : top + _ROWS_STORED] = rows if out.dtype == np.float32 else as_half(rows)

    in_threads(store_rows, range(0, len(out), _ROWS_STORED))  # few rows at a time, so that their memory is reused


def resized(
    maps: Float32[np.ndarray, "channels height width"], height: int, width: int
) -> Float32[np.ndarray, "channels {height} {width}"]:
    """Return maps resized to (height, width), without aliasing."""
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in maps]
    images = [band.resize((width, height), Image.Resampling.BILINEAR) for band in bands]
    return np.stack([np.asarray(image) for image in images])


def interpolated(
    maps: Shaped[np.ndarray, "channels _ _"], height: int, width: int, span: slice = slice(None)
) -> Float32[np.ndarray, "channels rows {width}"]:
    """Return the rows `span` of maps resized to (height, width), interpolated bilinearly between pixel centres."""
    rows = np.arange(height)[span]
    for axis, length, pixels in ((1, height, rows), (2, width, np.arange(width))):
        old = maps.shape[axis]
        if old == length:
            maps = maps[:, span] if axis == 1 else maps
            continue
        place = ((pixels + 0.5) * (old / length) - 0.5).clip(0, old - 1)
        before = place.astype(np.intp)
        share = (place - before).astype(np.float32).reshape((-1, 1) if axis == 1 else (-1,))
        after = np.minimum(before + 1, old - 1)
        maps = maps.take(before, axis) * (1 - share) + maps.take(after, axis) * share
    return np.ascontiguousarray(maps, np.float32)
