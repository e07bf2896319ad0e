"""Compile what a first segmentation would compile, without a network.

In   nothing: the image, and what a network says of it, are made here
Out  numba's cache, in the package's folder or in $NUMBA_CACHE_DIR
Not  no torch: hatch_build.py compiles where there is none
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

from supercuts.batch.outputs import write_outputs
from supercuts.merging.affinity import Affinity, Perceptrons
from supercuts.model import Model
from supercuts.networks.calibration import parse_config, read_calibration
from supercuts.networks.maps import PixelMaps, as_half
from supercuts.networks.network import Maps, Sized, ViewsConfig, weights_path
from supercuts.networks.onnx_network import OnnxNetwork
from supercuts.networks.ssn_config import SSNConfig
from supercuts.settings import default_config
from supercuts.superpixels.leaves import make_leaves
from supercuts.superpixels.pyramid import doubled, halved

_SHAPE, _STRIDE = (64, 96), 2


class _Noise(OnnxNetwork):
    """A network that predicts noise."""

    def __init__(self, config: SSNConfig) -> None:
        self.config, self.channels, self.stride = config, config.channels, _STRIDE

    def maps(self, images: Sequence[Sized], views: ViewsConfig) -> list[Maps]:
        """Return maps of the types and sizes of a network's."""
        return [self._noise(image.shape[:2]) for image in images]

    def _noise(self, shape: tuple[int, int]) -> Maps:
        rng, (height, width) = np.random.default_rng(0), shape
        coarse = -(-height // _STRIDE), -(-width // _STRIDE)
        shapes = (height, width), (self.config.embedding_channels, height, width), coarse
        return [rng.random(one, np.float32) for one in (*shapes, (self.config.region_channels, *coarse))]


def compile_kernels() -> None:
    """Segment an image of noise as `supercuts segment` does, small and large ones, and throw the result away."""
    weights = weights_path("compact")
    with safe_open(weights, framework="np") as file:
        network = _Noise(parse_config(weights, file.metadata()))
    learned = read_calibration(weights)
    affinity, figure_ground = (learned.of(kind) for kind in ("affinity", "figure_ground"))
    model = Model(
        network,
        dict(learned.levels),
        default_config(network),
        Affinity.from_arrays(affinity),
        None,
        Perceptrons.from_arrays(figure_ground),
    )
    with tempfile.TemporaryDirectory(prefix="supercuts-warm-") as folder:
        path = Path(folder, "noise.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*_SHAPE, 3), np.uint8)).save(path)
        h = model.segment(path, superpixels=40)
        h.cut(regions=5)
        h.ucm()
        write_outputs(Path(folder), "noise", path, h, ("html",), overlays=True)
    # what large images are stored as
    height, width = _SHAPE
    rng = np.random.default_rng(0)
    maps = PixelMaps(
        rng.integers(0, 256, (*_SHAPE, 3), np.uint8).transpose(2, 0, 1),
        rng.random(_SHAPE, np.float32),
        rng.random((*_SHAPE, network.config.embedding_channels), np.float32).astype(np.float16).transpose(2, 0, 1),
    )
    labels, _ = make_leaves(maps, 40, network, default_config(network))
    halved(maps)
    doubled(labels, (2 * height, 2 * width))
    as_half(np.zeros(1, np.float32))
