"""What the network says of each pixel of an image, seen once or in several views.

In   an image (H, W, C), a network in eval mode or None, the views
Out  PixelMaps
Not  no superpixels, no reading of files; how a network runs is up to its engine
"""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float32

from supercuts.images.convert import color_features
from supercuts.networks.maps import PixelMaps
from supercuts.networks.network import Maps, Network, Pixels, Sized, ViewsConfig, is_on_gpu

_TOGETHER, _PIXELS_TOGETHER = 8, 4_000_000  # more cost memory and win nothing
_WAITING = 32


def predict(image: Pixels, network: Network | None, views: ViewsConfig | None = None) -> PixelMaps:
    """Return colour, boundary probability and embeddings of each pixel; without a network colour alone.

    Of several views, probabilities and embeddings are averaged.
    """
    color = color_features(image)
    if network is None:
        return PixelMaps(color, np.zeros(color.shape[1:], np.float32), np.zeros((0, *color.shape[1:]), np.float32))
    return _pixel_maps(color, network_maps(image, network, views or ViewsConfig()), network)


def predict_many(
    images: Iterable[Sized], network: Network | None, views: ViewsConfig | None = None
) -> Iterator[tuple[int, Sized, PixelMaps]]:
    """Yield the number, the pixels and what `predict` gives of each image.

    A network on a GPU sees those of one size and type together, which may change the last bits of its maps.

    The order is that in which they are done. At most 32 images wait for others of their size.
    """
    waiting: dict[tuple[object, ...], list[tuple[int, Sized]]] = {}
    for numbered in enumerate(images):
        key = (numbered[1].shape, numbered[1].dtype)
        waiting.setdefault(key, []).append(numbered)
        height, width = numbered[1].shape[:2]
        if len(waiting[key]) >= min(_TOGETHER, _PIXELS_TOGETHER // (height * width)):
            yield from _predict_together(waiting.pop(key), network, views)
        elif sum(map(len, waiting.values())) > _WAITING:
            yield from _predict_together(waiting.pop(max(waiting, key=lambda one: len(waiting[one]))), network, views)
    for group in waiting.values():
        yield from _predict_together(group, network, views)


def _predict_together(
    group: list[tuple[int, Sized]], network: Network | None, views: ViewsConfig | None
) -> Iterator[tuple[int, Sized, PixelMaps]]:
    # on CPUs a batch takes as long, and its size may change the last bits of a convolution
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
