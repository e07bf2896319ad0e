"""Colour of batches, on the device they are on.

In   images (B, C, H, W) float in 0..1; three channels are sRGB
Out  CIE Lab under D65, L in 0..100, or other channels on the scale of L; of the same shape
Not  not for pictures in memory: images/convert.py knows bytes, and needs no torch
"""

import torch

# IEC 61966-2-1: linear sRGB to XYZ, relative to the D65 white
_XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


def rgb_to_lab(images: torch.Tensor) -> torch.Tensor:
    """Return CIE Lab under D65 (B, 3, H, W) of sRGB in 0..1, on the device of the images.

    >>> rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten().round().abs().tolist()
    [100.0, 0.0, 0.0]
    """
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    mix = torch.tensor(_XYZ_FROM_RGB, device=images.device) / torch.tensor(_WHITE, device=images.device)[:, None]
    x, y, z = (torch.einsum("c,bchw->bhw", row, linear) for row in mix)
    x, y, z = (torch.where(v > 0.008856, v ** (1 / 3), 7.787 * v + 16 / 116) for v in (x, y, z))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def color_features(images: torch.Tensor) -> torch.Tensor:
    """Return what is compared as colour, as images.convert.color_features does: Lab of RGB, 100 times other bands."""
    return rgb_to_lab(images) if images.shape[1] == 3 else 100 * images
