"""A network run by torch: bfloat16 where the device computes in it, channels last.

In   an image (H, W, C) or several of one size, an SSN in eval mode, the views
Out  its maps as numpy arrays, the mean of all views
Not  no colours, no training
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32

from supercuts.core.precision import autocast
from supercuts.networks.folded import folded
from supercuts.networks.predict import Pixels, ViewsConfig
from supercuts.networks.ssn import SSN


def network_maps(image: Pixels, network: SSN, views: ViewsConfig) -> list[Float32[np.ndarray, "..."]]:
    """Return boundary (H, W), embeddings (D, H, W) and of networks with regions strength (h, w), regions (R, h, w)."""
    return maps_of_batch([image], network, views)[0]


def maps_of_batch(images: Sequence[Pixels], network: SSN, views: ViewsConfig) -> list[list[Float32[np.ndarray, "..."]]]:
    """Return the same of each of several images of one size and type, which the network sees together."""
    # astype copies: torch warns of arrays that are not writable, as a hierarchy's image is
    pixels = torch.stack([torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) for image in images])
    if images[0].dtype == np.uint8:
        pixels = pixels.div_(255)
    pixels = pixels.to(next(network.parameters()).device)
    seen = [_see(pixels, network, scale, flip) for scale, flip in views.each()]
    # one view is not copied: maps of all pixels are large
    averaged = [parts[0] if len(parts) == 1 else torch.stack(parts).mean(0) for parts in zip(*seen, strict=True)]
    # as the network's memory is laid out: the embeddings of a pixel side by side
    averaged[1] = averaged[1].permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    arrays = [(values if i == 1 else values.contiguous()).cpu().numpy() for i, values in enumerate(averaged)]
    # copies: one image's maps must not keep those of all others in memory
    return [
        [values[i].copy(order="K") if len(images) > 1 else values[i] for values in arrays] for i in range(len(images))
    ]


def _see(pixels: torch.Tensor, network: SSN, scale: float, flip: bool) -> list[torch.Tensor]:
    """Return the maps of one view of (B, C, H, W): boundary (B, H, W), embeddings (B, D, H, W), those of regions."""
    height, width = pixels.shape[-2:]
    view = pixels
    if scale != 1:
        size = [max(round(scale * side), 1) for side in (height, width)]
        view = F.interpolate(view, size, mode="bilinear", align_corners=False, antialias=True)
    view = (view.flip(-1) if flip else view).contiguous(memory_format=torch.channels_last)
    run = folded(network)
    with torch.inference_mode(), autocast(view.device):
        prediction = run(view)
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
        maps.append(values)
    return [one[:, 0] if i in (0, 2) else one for i, one in enumerate(maps)]  # probabilities have no axis of channels
