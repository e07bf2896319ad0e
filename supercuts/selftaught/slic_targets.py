"""Targets that a segmentation network trains itself on: its own labels, made regular by superpixels.

In   responses (B, C, H, W) of the network, images (H, W, 3) uint8
Out  target classes (B, H, W)
Not  no network, no loss

Two forms. "voted" gives every pixel the class that is most frequent in its superpixel of the image (Kanezaki 2018),
for a whole batch at once. "thesis" is what the published code of the data-set-trained extensions does: SLIC runs on the
map of winning classes as if class numbers were grey values, and its segment ids themselves are the classes to learn.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64, UInt8
from pydantic import BaseModel, PositiveFloat
from skimage.segmentation import slic

from supercuts.core.errors import InputError

# of the thesis: SLIC of the label map
_THESIS_SEGMENTS, _THESIS_COMPACTNESS, _THESIS_STEPS, _THESIS_SIGMA = 7, 1e-4, 100, 1.1


class TargetConfig(BaseModel, frozen=True, extra="forbid"):
    """Which form, and the superpixels of the voted one."""

    kind: Literal["voted", "thesis"] = "voted"
    superpixel_area_px: PositiveFloat = 16.0  # mean area of the superpixels that vote; about that of Kanezaki 2018
    compactness: PositiveFloat = 20.0  # of SLIC in Lab; of 5 to 100 it leaves least colour variance on CIFAR10 at 16 px


def image_superpixels(
    image: UInt8[np.ndarray, "height width 3"], config: TargetConfig
) -> Int32[np.ndarray, "height width"]:
    """Return SLIC superpixels of the image, 0..N-1; all 0 if the targets ask the image nothing."""
    if config.kind == "thesis":
        return np.zeros(image.shape[:2], np.int32)
    n_superpixels = max(round(image.shape[0] * image.shape[1] / config.superpixel_area_px), 1)
    labels: np.ndarray = slic(image, n_superpixels, config.compactness, start_label=0)
    return labels.astype(np.int32)


def slic_targets(
    responses: Float[torch.Tensor, "batch channels height width"],
    superpixels: Int64[torch.Tensor, "batch height width"],
    kind: str,
) -> Int64[torch.Tensor, "batch height width"]:
    """Return the target class of each pixel in the form `kind`; no gradient flows through it."""
    winners = responses.detach().argmax(1)
    if kind == "voted":
        return voted_targets(winners, superpixels)
    targets = thesis_targets(winners)
    if (highest := int(targets.max())) >= responses.shape[1]:  # SLIC makes a few segments more than asked for
        raise InputError(f"classes={responses.shape[1]} are fewer than the segment ids 1..{highest}: give 16 or more.")
    return targets


def voted_targets(
    winners: Int64[torch.Tensor, "batch height width"], superpixels: Int64[torch.Tensor, "batch height width"]
) -> Int64[torch.Tensor, "batch height width"]:
    """Return the most frequent class in each pixel's superpixel; of equally frequent ones the lowest.

    >>> winners = torch.tensor([[[5, 5, 2, 7]]])
    >>> voted_targets(winners, torch.tensor([[[0, 0, 0, 1]]])).tolist()
    [[[5, 5, 5, 7]]]
    """
    n_classes, n_superpixels = int(winners.max()) + 1, int(superpixels.max()) + 1
    image = torch.arange(len(winners), device=winners.device)[:, None, None]
    region = image * n_superpixels + superpixels
    votes = torch.bincount((region * n_classes + winners).flatten(), minlength=len(winners) * n_superpixels * n_classes)
    return votes.view(-1, n_classes).argmax(1)[region]


def thesis_targets(winners: Int64[torch.Tensor, "batch height width"]) -> Int64[torch.Tensor, "batch height width"]:
    """Return the ids 1.. of SLIC on each map of winning classes, taken as a volume of grey values one pixel deep."""
    targets = [_slic_of_labels(labels) for labels in winners.cpu().numpy()]
    return torch.from_numpy(np.stack(targets)).to(winners.device)


def _slic_of_labels(labels: Int64[np.ndarray, "height width"]) -> Int64[np.ndarray, "height width"]:
    # scikit-image >= 0.19 scales values to 0..1; the thesis used 0.17, which did not: compactness makes up for it
    spread = max(float(np.ptp(labels)), 1.0)
    segments: np.ndarray = slic(
        labels[..., None].astype(np.float64),
        n_segments=_THESIS_SEGMENTS,
        compactness=_THESIS_COMPACTNESS / spread,
        max_num_iter=_THESIS_STEPS,
        sigma=_THESIS_SIGMA,
        spacing=(1.1, 1.1, 1.1),
        convert2lab=False,
        enforce_connectivity=False,
        min_size_factor=0.25,
        max_size_factor=3,
        start_label=1,
        channel_axis=None,
    )
    return segments[..., 0].astype(np.int64)
