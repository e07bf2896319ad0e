"""Compile the kernels that a first segmentation and a first query need, without a network."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

from supercuts.batch.outputs import write_outputs
from supercuts.hierarchy import _kernels
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging.affinity import Affinity, Perceptrons
from supercuts.model import Model
from supercuts.networks.maps import PixelMaps, as_half, as_single
from supercuts.networks.network import Maps, Sized, ViewsConfig, parse_config, read_calibration, weights_path
from supercuts.networks.onnx_network import OnnxNetwork
from supercuts.networks.ssn_config import SSNConfig
from supercuts.objects.figure_ground import figures, snap_to_tree
from supercuts.objects.node_graph import label_graph
from supercuts.settings import default_config
from supercuts.superpixels.leaves import doubled, halved, make_leaves

_SHAPE, _STRIDE = (64, 96), 2


class _Noise(OnnxNetwork):
    """Network that predicts noise."""

    def __init__(self, config: SSNConfig) -> None:
        self.config, self.channels, self.stride = config, config.channels, _STRIDE

    def maps(self, images: Sequence[Sized], views: ViewsConfig) -> list[Maps]:
        """Return noise maps with the types and sizes of real ones."""
        return [self._noise(image.shape[:2]) for image in images]

    def _noise(self, shape: tuple[int, int]) -> Maps:
        rng, (height, width) = np.random.default_rng(0), shape
        coarse = -(-height // _STRIDE), -(-width // _STRIDE)
        shapes = (height, width), (self.config.embedding_channels, height, width), coarse
        return [rng.random(size, np.float32) for size in (*shapes, (self.config.region_channels, *coarse))]


def _ask(h: Hierarchy, judge: Perceptrons) -> None:
    """Run every kind of query, and the kernels of Model.objects and Model.parts, which themselves import torch."""
    y, x = (n // 3 for n in _SHAPE)
    for hierarchy in (h, h.merge(0, h.n_leaves - 1)):  # edits return writeable arrays, which numba compiles separately
        hierarchy.cut(regions=5, min_area=9)
        hierarchy.cut(regions=9, focus=(y, x))
        hierarchy.ucm()
        hierarchy.region_table()
        hierarchy.ancestors(0)
        hierarchy.select(point=(y, x), grow=1)
        hierarchy.select(points={1: [(y, x)], 2: [(0, 0)]})
        hierarchy.select(scribbles={1: [(y, x), (y, x + 9)], 2: [(0, 0), (0, 9)]})
        hierarchy.select(box=(0, 0, y, x), max_nodes=3)
        graph = label_graph(hierarchy._labels)
        for figure_list in figures(hierarchy, graph, judge, 2):
            inside = snap_to_tree(hierarchy, figure_list.soft)
            _kernels.tree.restrict(hierarchy._parents, inside)
            graph.subgraph(inside)


def compile_kernels() -> None:
    """Segment and query small and large noise images as `supercuts segment` does, and discard the results."""
    weights = weights_path("compact")
    with safe_open(weights, framework="np") as file:
        network = _Noise(parse_config(weights, file.metadata()))
    learned = read_calibration(weights)
    affinity = Affinity.from_arrays(learned.of("affinity"))
    judge = Perceptrons.from_arrays(learned.of("figure_ground"))
    model = Model(network, dict(learned.levels), default_config(network), affinity, None, judge)
    with tempfile.TemporaryDirectory(prefix="supercuts-warm-") as folder:
        path = Path(folder, "noise.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*_SHAPE, 3), np.uint8)).save(path)
        is_left = np.broadcast_to(np.arange(_SHAPE[1]) < _SHAPE[1] // 2, _SHAPE)
        model.segment(path, superpixels=40, priors=[is_left])
        _ask(model.segment(path, superpixels=40, mask=is_left), judge)
        h = model.segment(path, superpixels=40)
        _ask(h, judge)
        write_outputs(Path(folder), "noise", path, h, ("html", "svg"), overlays=True)
    # the storage types of large images
    height, width = _SHAPE
    rng = np.random.default_rng(0)
    maps = PixelMaps(
        rng.integers(0, 256, (*_SHAPE, 3), np.uint8).transpose(2, 0, 1),
        rng.random(_SHAPE, np.float32),
        rng.random((*_SHAPE, network.config.embedding_channels), np.float32).astype(np.float16).transpose(2, 0, 1),
    )
    labels = make_leaves(maps, 40, network, default_config(network))
    halved(maps)
    doubled(labels, (2 * height, 2 * width))
    as_single(as_half(np.zeros(1, np.float32)))
