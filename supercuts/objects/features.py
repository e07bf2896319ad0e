"""Features of patches, and their means over superpixels.

In   patch features (C, h, w), labels (H, W)
Out  PatchFeatures; node features (N, C)
Not  no network (keys.py); no upsampled maps of all pixels: each superpixel sums the patches' bilinear weights once
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Float32, Float64, Int32, UInt8

from supercuts.core.checks import check_in_range
from supercuts.core.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class PatchFeatures:
    """The features of the patches of one image.

    values     (C, h, w) float32   patch (i, j) is centred at pixel coordinates offset_px + stride_px * (i, j)
    stride_px  int
    offset_px  float               of the first patch's centre from the image's corner: half the size of a patch
    """

    values: Float32[np.ndarray, "channels rows columns"]
    stride_px: int
    offset_px: float

    def pool(self, labels: Int32[np.ndarray, "height width"], n: int) -> Float32[np.ndarray, "{n} channels"]:
        """Return the mean over the pixels of each of the superpixels 0..n-1."""
        return pool_features(self.values, labels, n, self.stride_px, self.offset_px)

    @property
    def nodes(self) -> Float32[np.ndarray, "patches channels"]:
        """One row per patch, row by row of the grid: the features of objects.graphs.grid_graph's nodes."""
        return np.ascontiguousarray(self.values.reshape(len(self.values), -1).T)

    def grid_labels(self, height: int, width: int) -> Int32[np.ndarray, "{height} {width}"]:
        """Return the patch of each pixel: that of the cell it lies in, the nearest one beyond the grid."""
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
    """Return the mean of the bilinearly upsampled map over each of the superpixels 0..n-1, all of them present.

    Pixels of label -1, which a mask left out, are not summed.
    Patch (i, j) is centred at pixel coordinates offset + stride * (i, j), where the first pixel reaches from 0 to 1;
    beyond the outermost centres the nearest patch is repeated. The offset is half a stride unless given. What the map
    shows beyond the labels, such as padding, is not summed.
    """
    values = feature_map.detach().float().cpu().numpy() if isinstance(feature_map, torch.Tensor) else feature_map
    n_channels, rows, columns = values.shape
    if labels.size == 0 or labels.min() < -1 or labels.max() >= n or values[0].size == 0:
        raise InputError(
            f"labels of shape {labels.shape} must lie in 0..{n - 1} (-1: none), and the map {values.shape} hold some."
        )
    is_valid = labels.ravel() >= 0
    ids = labels.ravel()[is_valid]
    area = np.bincount(ids, minlength=n)
    if not area.all():
        raise InputError(f"label {int(area.argmin())} has no pixel; ids must be 0..{n - 1}: relabel_consecutive.")
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
    """Return the mean r g b y x, in 0..1 each, of superpixels or patches: what deep_spectral's colour graph has."""
    height, width = labels.shape
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    maps = [*(image.astype(np.float64) / 255).transpose(2, 0, 1), y, x]
    sums = [np.bincount(labels.ravel(), one.ravel(), minlength=n) for one in maps]
    return np.stack(sums, axis=1) / np.bincount(labels.ravel(), minlength=n)[:, None]


def _interpolation(size: int, n: int, stride: float, offset: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the patch before and the patch after each of `size` pixels along one axis, and their weights."""
    place = ((np.arange(size) + 0.5 - offset) / stride).clip(0, n - 1)
    before = np.floor(place).astype(np.int32)
    share = place - before
    return [(before, 1 - share), (np.minimum(before + 1, n - 1), share)]
