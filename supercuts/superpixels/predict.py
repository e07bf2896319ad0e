"""What the network says of each pixel of an image, seen once or in several views.

In   an image (H, W, C), a network in eval mode or None, the views
Out  PixelMaps
Not  no superpixels, no reading of files; how a network runs is up to its engine
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import BaseModel, Field, PositiveFloat

from supercuts.images.color import color_features
from supercuts.superpixels.network import Network, stride_of
from supercuts.superpixels.onnx_engine import OnnxNetwork
from supercuts.superpixels.result import PixelMaps

Pixels = UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width bands"]  # RGB, or bands in 0..1


class ViewsConfig(BaseModel, frozen=True, extra="forbid"):
    """How often the network sees the image: predictions of all views are averaged, time is their sum."""

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)  # of the image's sides
    flip: bool = False  # each also mirrored left to right

    def each(self) -> Iterator[tuple[float, bool]]:
        """Return scale and whether mirrored, of each view."""
        return ((scale, flip) for scale in self.scales for flip in ((False, True) if self.flip else (False,)))


VIEWS = {  # by name: "many" takes nine times the network's time and draws better boundaries
    "one": ViewsConfig(),
    "flip": ViewsConfig(flip=True),
    "many": ViewsConfig(scales=(0.7, 1.0, 1.4), flip=True),
}


def predict(image: Pixels, network: Network | None, views: ViewsConfig | None = None) -> PixelMaps:
    """Return colour, boundary probability and embeddings of each pixel; without a network colour alone.

    Of several views, probabilities and embeddings are averaged.
    """
    color = color_features(image)
    if network is None:
        return PixelMaps(color, np.zeros(color.shape[1:], np.float32), np.zeros((0, *color.shape[1:]), np.float32))
    boundary, embeddings, *of_regions = network_maps(image, network, views or ViewsConfig())
    strength, regions = of_regions or (None, None)
    return PixelMaps(color, boundary, embeddings, strength, regions, stride_of(network))


def network_maps(image: Pixels, network: Network, views: ViewsConfig) -> list[Float32[np.ndarray, "..."]]:
    """Return what a network says: boundary, embeddings and, if it tells regions apart, strength and regions."""
    if isinstance(network, OnnxNetwork):
        unit = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image
        return network.maps(unit, views.each())
    from supercuts.superpixels.torch_engine import network_maps as by_torch  # torch takes long to import

    return by_torch(image, network, views)
