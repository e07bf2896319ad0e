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
from supercuts.config import default_config
from supercuts.merging.affinity import Affinity
from supercuts.merging.perceptrons import Perceptrons
from supercuts.networks.calibration import parse_config, read_calibration
from supercuts.networks.network import Maps, Sized, ViewsConfig, weights_path
from supercuts.networks.onnx_network import OnnxNetwork
from supercuts.networks.ssn_config import SSNConfig
from supercuts.pipeline import Model
from supercuts.superpixels.pyramid import doubled, halved
from supercuts.superpixels.stored import StoredMaps

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
        model.segment(path, superpixels=40, tile=64)  # as large images are
    rgb, boundary = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.float32)
    halved(StoredMaps(rgb, rgb[..., :0], boundary, np.zeros((1, 4, 6), np.float16)))
    doubled(np.zeros((2, 3), np.int32), (4, 6))
