"""What the network says of each pixel of an image, seen once or in several views.

In   an image (H, W, C), an SSN in eval mode or None, the views
Out  PixelMaps
Not  no superpixels, no reading of files
"""

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from pydantic import BaseModel, Field, PositiveFloat

from supercuts.images.color import color_features
from supercuts.superpixels.result import PixelMaps
from supercuts.superpixels.ssn import SSN

Pixels = UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width bands"]  # RGB, or bands in 0..1


class ViewsConfig(BaseModel, frozen=True, extra="forbid"):
    """How often the network sees the image: predictions of all views are averaged, time is their sum."""

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)  # of the image's sides
    flip: bool = False  # each also mirrored left to right


VIEWS = {  # by name: "many" takes nine times the network's time and draws better boundaries
    "one": ViewsConfig(),
    "flip": ViewsConfig(flip=True),
    "many": ViewsConfig(scales=(0.7, 1.0, 1.4), flip=True),
}


def predict(image: Pixels, network: SSN | None, views: ViewsConfig | None = None) -> PixelMaps:
    """Return colour, boundary probability and embeddings of each pixel; without a network colour alone.

    Of several views, probabilities and embeddings are averaged.
    """
    color = color_features(image)
    if network is None:
        return PixelMaps(color, np.zeros(color.shape[1:], np.float32), np.zeros((0, *color.shape[1:]), np.float32))
    # astype copies: torch warns of arrays that are not writable, as a hierarchy's image is
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    if image.dtype == np.uint8:
        pixels = pixels.div_(255)
    pixels = pixels.to(next(network.parameters()).device)
    views = views or ViewsConfig()
    flips = (False, True) if views.flip else (False,)
    seen = [see(pixels, network, scale, flip) for scale in views.scales for flip in flips]
    # one view is not copied: maps of all pixels are large
    averaged = [parts[0] if len(parts) == 1 else torch.stack(parts).mean(0) for parts in zip(*seen, strict=True)]
    boundary, embeddings, *of_regions = (values.contiguous().cpu().numpy() for values in averaged)
    strength, regions = of_regions or (None, None)
    return PixelMaps(color, boundary, embeddings, strength, regions, network.backbone.strides[0])


def see(pixels: torch.Tensor, network: SSN, scale: float = 1, flip: bool = False) -> list[torch.Tensor]:
    """Return the maps of one view of (1, C, H, W): boundary (H, W), embeddings (D, H, W), and those of regions."""
    height, width = pixels.shape[-2:]
    view = pixels
    if scale != 1:
        size = [max(round(scale * side), 1) for side in (height, width)]
        view = F.interpolate(view, size, mode="bilinear", align_corners=False, antialias=True)
    view = (view.flip(-1) if flip else view).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast(view.device.type, dtype=torch.bfloat16):
        prediction = network(view)
    outputs = [(prediction.boundary_logits.sigmoid(), 1), (prediction.embeddings, 1)]
    if prediction.strength_logits is not None and prediction.region_embeddings is not None:
        stride = network.backbone.strides[0]
        outputs += [(prediction.strength_logits.sigmoid(), stride), (prediction.region_embeddings, stride)]
    maps = []
    for values, stride in outputs:
        size = [-(-height // stride), -(-width // stride)]
        values = values.flip(-1) if flip else values
        if list(values.shape[-2:]) != size:
            values = F.interpolate(values, size, mode="bilinear", align_corners=False)
        maps.append(values[0])
    return [one[0] if i in (0, 2) else one for i, one in enumerate(maps)]  # probabilities have no axis of channels
