"""Features of patches, and their means over superpixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32, Float64, Int32, UInt8

from supercuts.core.arrays import arrays_repr
from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError
from supercuts.networks.backbones.pretrained import PretrainedViT, ViTFeatures, make_pretrained
from supercuts.networks.ssn_config import PretrainedConfig


@dataclass(frozen=True, slots=True, eq=False)
class PatchFeatures:
    """The features of the patches of one image.

    values     (C, h, w) float32   patch (i, j) is centred at pixel coordinates offset_px + stride_px * (i, j)
    stride_px  int
    offset_px  float               distance of the first patch's centre from the image's corner: half a patch
    """

    values: Float32[np.ndarray, "channels rows columns"]
    stride_px: int
    offset_px: float

    __repr__ = arrays_repr

    def pool(self, labels: Int32[np.ndarray, "height width"], n: int) -> Float32[np.ndarray, "{n} channels"]:
        """Return the mean features over the pixels of each superpixel 0..n-1."""
        return pool_features(self.values, labels, n, self.stride_px, self.offset_px)

    @property
    def nodes(self) -> Float32[np.ndarray, "patches channels"]:
        """One row per patch, in row-major order: the features of the nodes of objects.node_graph.grid_graph."""
        return np.ascontiguousarray(self.values.reshape(len(self.values), -1).T)

    def grid_labels(self, height: int, width: int) -> Int32[np.ndarray, "{height} {width}"]:
        """Return the patch of each pixel: the cell that contains it, or the nearest one outside the grid."""
        _, rows, columns = self.values.shape
        start = self.offset_px - self.stride_px / 2
        y, x = (
            np.floor((np.arange(size) + 0.5 - start) / self.stride_px).clip(0, n - 1).astype(np.int32)
            for size, n in ((height, rows), (width, columns))
        )
        labels: np.ndarray = y[:, None] * np.int32(columns) + x
        return labels


def pool_features(
    feature_map: Float[np.ndarray, "channels rows columns"] | torch.Tensor,
    labels: Int32[np.ndarray, "height width"],
    n: int,
    stride_px: float,
    offset_px: float | None = None,
) -> Float32[np.ndarray, "{n} channels"]:
    """Return the mean of the bilinearly upsampled map over each superpixel 0..n-1; raise InputError if one is missing.

    Masked pixels, of label -1, are ignored.
    Patch (i, j) is centred at pixel coordinates offset + stride * (i, j), where the first pixel spans 0 to 1; outside
    the outermost centres the nearest patch is repeated. If offset_px is None, the offset is half a stride. Parts of the
    map outside the labels, such as padding, are ignored.
    """
    values = feature_map.detach().float().cpu().numpy() if isinstance(feature_map, torch.Tensor) else feature_map
    n_channels, rows, columns = values.shape
    if labels.size == 0 or labels.min() < -1 or labels.max() >= n or values[0].size == 0:
        raise InputError(
            f"labels of shape {labels.shape} must lie in 0..{n - 1} (-1: none), and the map {values.shape} not empty."
        )
    is_valid = labels.ravel() >= 0
    ids = labels.ravel()[is_valid]
    area = np.bincount(ids, minlength=n)
    if not area.all():
        raise InputError(f"label {int(area.argmin())} has no pixel; ids must be 0..{n - 1}: use relabel_consecutive.")
    check_in_range("stride_px", stride_px, 1e-6, np.inf, remedy="Give the pixels from patch to patch.")
    offset = stride_px / 2 if offset_px is None else offset_px
    y, x = (_interpolation(size, k, stride_px, offset) for size, k in zip(labels.shape, (rows, columns), strict=True))
    total = scipy.sparse.csr_array((n, rows * columns))
    for y_patch, y_weight in y:
        for x_patch, x_weight in x:
            patch = y_patch[:, None] * columns + x_patch
            weight = y_weight[:, None] * x_weight
            # duplicates add up
            terms = weight.ravel()[is_valid], (ids, patch.ravel()[is_valid])
            total = total + scipy.sparse.coo_array(terms, shape=total.shape)
    sums = total @ values.reshape(n_channels, -1).T.astype(np.float64)
    return (sums / area[:, None]).astype(np.float32)


def color_and_place(
    image: UInt8[np.ndarray, "height width 3"], labels: Int32[np.ndarray, "height width"], n: int
) -> Float64[np.ndarray, "{n} 5"]:
    """Return the mean r g b y x of superpixels or patches, each in 0..1, for deep_spectral's colour graph."""
    height, width = labels.shape
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    maps = [*(image.astype(np.float64) / 255).transpose(2, 0, 1), y, x]
    sums = [np.bincount(labels.ravel(), values.ravel(), minlength=n) for values in maps]
    return np.stack(sums, axis=1) / np.bincount(labels.ravel(), minlength=n)[:, None]


def _interpolation(size: int, n: int, stride: float, offset: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the patch before and the patch after each of `size` pixels along one axis, and their weights."""
    place = ((np.arange(size) + 0.5 - offset) / stride).clip(0, n - 1)
    before = np.floor(place).astype(np.int32)
    share = place - before
    return [(before, 1 - share), (np.minimum(before + 1, n - 1), share)]


def load_vit(name: str, weights: Path | Literal["hub"], config: PretrainedConfig | None = None) -> PretrainedViT:
    """Return a vision transformer with pretrained weights, in eval mode.

    Parameters
    ----------
    name
        Name of the backbone, such as "dino_vits16".
    weights
        File of its weights in an official format, or "hub": from timm's hub, cached or downloaded.
    config
        Settings, such as the stride; if None, the defaults.

    Returns
    -------
    PretrainedViT
        The transformer.

    Raises
    ------
    InputError
        If the name is unknown or is no vision transformer, or if its weights cannot be downloaded.
    FileFormatError
        If the file does not hold these weights.

    References
    ----------
    .. [1] Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021.
    """
    backbone = make_pretrained(name, config)
    if not isinstance(backbone, PretrainedViT):
        raise InputError(f"backbone={name!r} is not a vision transformer: give one, such as dino_vits16.")
    backbone.load_pretrained(weights)
    backbone.eval()
    return backbone


def dino_keys(source: object, image: UInt8[np.ndarray, "height width 3"]) -> PatchFeatures:
    """Return the keys of the last block's attention, heads concatenated, without the class token.

    The image is normalised as in the transformer's training. Its right and lower borders are replicated up to a
    multiple of the stride, so that every patch contains part of the image.

    Parameters
    ----------
    source
        Transformer of `load_vit`, or a model or network with one.
    image
        (H, W, 3) uint8 RGB.

    Returns
    -------
    PatchFeatures
        One vector per patch.

    Raises
    ------
    InputError
        If the source has no vision transformer.
    """
    backbone = vit_of(source)
    vit = backbone.vit
    keys = ViTFeatures(vit.model, -1, "key", vit.stride_px, vit.interpolation)
    pixels = rearrange(torch.from_numpy(image.astype(np.float32)), "h w c -> 1 c h w").to(backbone.mean.device) / 255
    height, width = image.shape[:2]
    down, right = (_missing(size, vit.patch_px, vit.stride_px) for size in (height, width))
    padded = F.pad((pixels - backbone.mean) / backbone.std, (0, right, 0, down), mode="replicate")
    with torch.inference_mode(), torch.autocast(pixels.device.type, enabled=False):
        values = keys(padded)[0].float().cpu().numpy()
    return PatchFeatures(values, vit.stride_px, vit.patch_px / 2)


def vit_of(source: object) -> PretrainedViT:
    """Return the vision transformer of a backbone, a network or a model.

    The transformer of an original SSN_DINO was trained on colours without normalisation; its authors took the keys of a
    second transformer, with the weights of DINO.
    """
    network = getattr(source, "network", source)
    backbone = getattr(network, "backbone", network)
    if not isinstance(backbone, PretrainedViT):
        raise InputError(
            f"{type(source).__name__} has no vision transformer, but {type(backbone).__name__}: load one with "
            'load_vit("dino_vits16", weights), or use the superpixels\' own embeddings.'
        )
    return backbone


def _missing(size: int, patch: int, stride: int) -> int:
    """Return the number of pixels to add to a side so that patches cover it without a remainder."""
    return patch - size if size < patch else -(size - patch) % stride
