"""Networks run by torch, in channels-last layout and in bfloat16 if the device supports it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Shaped

from supercuts.core.errors import InputError
from supercuts.core.private_torch import autocast, sigmoid
from supercuts.core.threads import prepare_for_forks
from supercuts.networks.backbones.base import Backbone
from supercuts.networks.folded import Foldable
from supercuts.networks.layers import Layers
from supercuts.networks.network import Maps, Sized, Tile, ViewsConfig, Window
from supercuts.networks.rows import derive, predict_rows
from supercuts.networks.ssn_config import SSNConfig

if TYPE_CHECKING:
    from supercuts.networks.backbones.pretrained import PretrainedViT
else:
    PretrainedViT = Any  # naming it would import timm


@dataclass(frozen=True, slots=True)
class PixelPrediction:
    """The network's predictions for each pixel.

    embeddings       (B, D, H, W)
    boundary_logits  (B, 1, H, W)   the sigmoid is the probability that annotators draw a boundary here

    Networks with region_channels also predict, at the stride of their finest map:
    strength_logits    (B, 1, h, w)  the sigmoid is the share of annotators who draw a boundary within two pixels
    region_embeddings  (B, R, h, w)  pixels x, y lie in one region with probability exp(-|x - y|^2)
    """

    embeddings: torch.Tensor
    boundary_logits: torch.Tensor
    strength_logits: torch.Tensor | None = None
    region_embeddings: torch.Tensor | None = None


class TorchNetwork(Foldable, ABC):
    """A `Network` implemented in torch; subclasses set `config` and `backbone`."""

    config: SSNConfig
    backbone: Backbone
    has_boundary = True
    _derived: Layers | InputError | None = None  # layers of a folded copy, or why there are none; None: not derived yet

    def __init__(self) -> None:
        super().__init__()
        prepare_for_forks()

    @abstractmethod
    def forward(self, images: torch.Tensor) -> PixelPrediction:
        """Return the predictions for `images` (B, C, H, W) in 0..1, any H and W."""

    @abstractmethod
    def dense(self, padded: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the raw maps (B, n, h, w) of images whose sides are multiples of `multiple`.

        These are embeddings with the boundary logit as the last channel and, if any, strength logits and regions.
        Raise WholeImage if nearby rows of the image do not determine them.
        """

    @property
    def multiple(self) -> int:
        """Sides of images are padded to multiples of this number of pixels."""
        return self.backbone.strides[-1]

    @property
    def stride(self) -> int:
        """Stride of the region maps, in pixels."""
        return self.backbone.strides[0]

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return self.config.channels

    @property
    def device(self) -> str:
        """Device that holds the weights."""
        return str(next(self.parameters()).device)

    @property
    def transformer(self) -> PretrainedViT | None:
        """The vision transformer whose keys describe patches, or None."""
        transformer: PretrainedViT | None = self.backbone.transformer
        return transformer

    def ready(self) -> "TorchNetwork":
        """Return the network with its weights laid out in memory for inference."""
        return self.to(memory_format=torch.channels_last)

    def for_image(self, shape: tuple[int, int]) -> "TorchNetwork":
        """Return the network."""
        return self

    def weights(self) -> Iterable[np.ndarray]:
        """Return the weights, always in the same order."""
        return (value.cpu().contiguous().numpy() for value in self.state_dict().values())

    def maps(self, images: Sequence[Sized], views: ViewsConfig) -> list[Maps]:
        """Return the maps of each image, computed as one batch; all images have the same size and type."""
        # astype copies: torch warns about read-only arrays, such as a hierarchy's image
        pixels = torch.stack([torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) for image in images])
        if images[0].dtype == np.uint8:
            pixels = pixels.div_(255)
        pixels = pixels.to(self.device)
        runs = [self._see(pixels, scale, flip) for scale, flip in views.each()]
        # a single view is not copied, because pixel maps are large
        averaged = [parts[0] if len(parts) == 1 else torch.stack(parts).mean(0) for parts in zip(*runs, strict=True)]
        # the network's own memory layout: the embeddings of a pixel are contiguous
        averaged[1] = averaged[1].permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        arrays = [(values if i == 1 else values.contiguous()).cpu().numpy() for i, values in enumerate(averaged)]
        # copies: one image's maps must not keep those of all others in memory
        return [
            [values[i].copy(order="K") if len(images) > 1 else values[i] for values in arrays]
            for i in range(len(images))
        ]

    def rows(self, pixels: Shaped[np.ndarray, "height width bands"]) -> Iterator[tuple[Tile, Maps]]:
        """Yield tiles as wide as the image with their maps, from top to bottom."""
        run = self.folded()
        return predict_rows(pixels, run, self._layers(run))

    def window(self) -> Window:
        """Return the part of an image that decides a tile; raise InputError if that is the whole image."""
        margin = self._layers(self.folded()).reach
        return Window(-(-margin // self.multiple) * self.multiple, self.multiple)

    def _layers(self, run: "TorchNetwork") -> Layers:
        if run is self:  # its weights may change
            return derive(run)
        if run._derived is None:
            try:
                run._derived = derive(run)
            except InputError as error:
                run._derived = error
        if isinstance(run._derived, InputError):
            raise run._derived
        return run._derived

    def _see(self, pixels: torch.Tensor, scale: float, flip: bool) -> list[torch.Tensor]:
        """Return the maps of one view of (B, C, H, W): boundary (B, H, W), embeddings (B, D, H, W), region maps."""
        height, width = pixels.shape[-2:]
        view = pixels
        if scale != 1:
            size = [max(round(scale * side), 1) for side in (height, width)]
            view = F.interpolate(view, size, mode="bilinear", align_corners=False, antialias=True)
        view = (view.flip(-1) if flip else view).contiguous(memory_format=torch.channels_last)
        run = self.folded()
        with torch.inference_mode(), autocast(view.device):
            prediction = run(view)
        outputs = [(sigmoid(prediction.boundary_logits), 1), (prediction.embeddings, 1)]
        if prediction.strength_logits is not None and prediction.region_embeddings is not None:
            outputs.append((sigmoid(prediction.strength_logits), self.stride))
            outputs.append((prediction.region_embeddings, self.stride))
        maps = []
        for values, stride in outputs:
            size = [-(-height // stride), -(-width // stride)]
            values = values.flip(-1) if flip else values
            if list(values.shape[-2:]) != size:
                values = F.interpolate(values, size, mode="bilinear", align_corners=False)
            maps.append(values)
        return [x[:, 0] if i in (0, 2) else x for i, x in enumerate(maps)]  # probabilities have no channels
