"""A network run by ONNX Runtime, so that segmentation needs no torch.

The graph holds no weights; they are passed to ONNX Runtime when it loads the graph. One graph therefore serves every
network with its config, and the package holds weights only once. It includes the graph of the compact network.
"""

import functools
import importlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from supercuts.core.arrays import channels_last
from supercuts.core.checks import check_installed
from supercuts.core.errors import FileFormatError, InputError
from supercuts.images.convert import to_unit
from supercuts.networks.maps import is_large
from supercuts.networks.network import (
    LEARNED,
    Maps,
    Network,
    Sized,
    Tile,
    ViewsConfig,
    Window,
    parse_config,
    parse_levels,
)
from supercuts.networks.predict import TILE, interpolated, predict_tiles, resized
from supercuts.networks.ssn_config import SSNConfig

PREFIX = "network."  # prefix of the names of weights in a graph
CONFIG_KEY = "supercuts_config"  # metadata key of the network's config
FOLDS_KEY = "supercuts_folds"  # metadata key of the normalisations that convolutions include, see fold_weights
LOCATION = "given-when-loaded"  # location of the weights that a graph declares
_ENTRY = b"\x0a\x08location\x12" + bytes([len(LOCATION)]) + LOCATION.encode()
# protobuf field numbers on the paths from a model to the entries that locate tensors; graphs may contain graphs
_TENSOR = {13: None}
_SPARSE = {1: _TENSOR, 2: _TENSOR}
_ATTRIBUTE: dict[int, Any] = {5: _TENSOR, 10: _TENSOR, 22: _SPARSE, 23: _SPARSE}
_NODE = {5: _ATTRIBUTE}
_GRAPH = {1: _NODE, 5: _TENSOR, 15: _SPARSE}
_ATTRIBUTE |= {6: _GRAPH, 11: _GRAPH}
_MODEL = {7: _GRAPH, 20: {1: _GRAPH, 2: _GRAPH}, 25: {7: _NODE, 11: _ATTRIBUTE}}
_SHIPPED = Path(__file__).parents[1] / "weights" / "compact.onnx"


class OnnxNetwork:
    """A network in ONNX Runtime; any number of threads may run it at once.

    open_session: a function that takes a number of threads (0 for all cores) and returns a session.
    """

    device = "cpu"
    has_boundary = True
    transformer = None

    def __init__(self, config: SSNConfig, open_session: Callable[[int], Any]) -> None:
        self.config, self.channels = config, config.channels
        self._open_session, self._process = open_session, os.getpid()
        self.session = session = open_session(_thread_count())
        self.facts = session.get_modelmeta().custom_metadata_map
        self.stride = int(self.facts["stride"])

    def to(self, device: Any, /) -> "OnnxNetwork":
        """Return the network; raise InputError unless the device is the CPU."""
        if str(device) != "cpu":
            raise InputError(f'device={str(device)!r}: engine="onnx" runs on the CPU. Use engine="torch".')
        return self

    def _run(self, images: Float32[np.ndarray, "images channels height width"]) -> list[np.ndarray]:
        if self._process != os.getpid():  # a fork has none of the session's threads and would wait for them forever
            self._parents = self.session  # kept, because ending it would also wait for its threads
            self.session, self._process = self._open_session(1), os.getpid()
        outputs: list[np.ndarray] = self.session.run(None, {"images": images})
        return outputs

    def ready(self) -> "OnnxNetwork":
        """Return the network."""
        return self

    def for_image(self, shape: tuple[int, int]) -> "OnnxNetwork":
        """Return the network."""
        return self

    def weights(self) -> Iterable[np.ndarray]:
        """Raise InputError, because ONNX Runtime does not expose the weights."""
        raise InputError('a model of engine="onnx" cannot be identified: load it with engine="torch".')

    def maps(self, images: Sequence[Sized], views: ViewsConfig) -> list[Maps]:
        """Return the maps of each image, averaged over the views."""
        return [self._maps(to_unit(image), views) for image in images]

    def rows(self, pixels: Shaped[np.ndarray, "height width bands"]) -> Iterator[tuple[Tile, Maps]]:
        """Yield square tiles with their maps, row by row, because ONNX Runtime keeps no rows between calls."""
        return predict_tiles(pixels, self, TILE)

    def window(self) -> Window:
        """Return the part of an image that decides a tile; raise InputError if that is the whole image."""
        if "margin" not in self.facts:
            raise InputError(
                "the graph records no receptive field: the network works only on whole images, or an older "
                "version wrote it. Write it again: supercuts onnx MODEL.safetensors -o MODEL.onnx --graph"
            )
        return Window(int(self.facts["margin"]), int(self.facts["multiple"]))

    def _maps(self, image: Float32[np.ndarray, "height width channels"], views: ViewsConfig) -> Maps:
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1))
        runs = [self._see(pixels, scale, flip) for scale, flip in views.each()]
        averaged = [parts[0] if len(parts) == 1 else np.mean(parts, axis=0) for parts in zip(*runs, strict=True)]
        averaged[1] = channels_last(averaged[1]).transpose(2, 0, 1)  # once, instead of in each stage that reads pixels
        return [x[0] if i in (0, 2) else x for i, x in enumerate(averaged)]  # probabilities have no channels

    def _see(
        self, pixels: Float32[np.ndarray, "channels height width"], scale: float, flip: bool
    ) -> list[Float32[np.ndarray, "_ _ _"]]:
        height, width = pixels.shape[1:]
        view = pixels
        if scale != 1:
            view = resized(pixels, max(round(scale * height), 1), max(round(scale * width), 1))
        view = np.ascontiguousarray(view[..., ::-1]) if flip else view
        maps = []
        for i, values in enumerate(self._run(view[None])):
            stride = 1 if i < 2 else self.stride
            oriented = values[0, ..., ::-1] if flip else values[0]
            maps.append(interpolated(oriented, -(-height // stride), -(-width // stride)))
        return maps


class PackageNetwork:
    """The network of the package, run by ONNX Runtime or by torch, which takes seconds to import.

    Torch predicts images on a GPU and those of more than 2 megapixels, over which it passes row by row. ONNX Runtime
    predicts the others if `prefers_onnx`.
    """

    has_boundary = True
    transformer = None

    def __init__(self, path: Path, config: SSNConfig, prefers_onnx: bool, device: str = "cpu") -> None:
        self.path, self.config, self.channels, self.prefers_onnx = path, config, config.channels, prefers_onnx
        self.device, self._lock = device, threading.RLock()

    @functools.cached_property
    def _onnx(self) -> OnnxNetwork:
        return load_onnx(self.path)[0]

    @functools.cached_property
    def _torch(self) -> Any:
        from supercuts.networks.files import load_network

        return load_network(self.path)[0].ready().to(self.device)

    @property
    def stride(self) -> int:
        """Stride of the region maps, in pixels."""
        return self.for_image((1, 1)).stride

    def ready(self) -> "PackageNetwork":
        """Return the network."""
        return self

    def to(self, device: Any, /) -> "PackageNetwork":
        """Move the weights to a device; on all but the CPU, torch runs them."""
        if str(device) != self.device:
            self.device = self._torch.to(device).device
        return self

    def for_image(self, shape: tuple[int, int]) -> Network:
        """Return the network in the engine that predicts images of this size."""
        uses_onnx = self.prefers_onnx and self.device == "cpu" and not is_large(shape)
        with self._lock:  # only one thread opens it
            network: Network = self._onnx if uses_onnx else self._torch
            return network

    def maps(self, images: Sequence[Sized], views: ViewsConfig) -> list[Maps]:
        """Return the maps of each image, averaged over the views."""
        height, width = images[0].shape[:2]
        return self.for_image((height, width)).maps(images, views)

    def rows(self, pixels: Shaped[np.ndarray, "height width bands"]) -> Iterator[tuple[Tile, Maps]]:
        """Yield tiles from top to bottom with their maps."""
        height, width = pixels.shape[:2]
        return self.for_image((height, width)).rows(pixels)

    def window(self) -> Window:
        """Return the part of an image that decides a tile."""
        return self.for_image((1, 1)).window()

    def weights(self) -> Iterable[np.ndarray]:
        """Return the weights, always in the same order."""
        weights: Iterable[np.ndarray] = self._torch.weights()
        return weights

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens the network again, in this or another process."""
        return PackageNetwork, (self.path, self.config, self.prefers_onnx, self.device)


def open_package_network(path: Path, prefers_onnx: bool) -> tuple[PackageNetwork, dict[str, float]]:
    """Return the network of a file of the package and its levels, without reading its weights yet."""
    with safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
    return PackageNetwork(path, parse_config(path, metadata), prefers_onnx), parse_levels(path, metadata["levels"])


def load_onnx(path: Path) -> tuple[OnnxNetwork, dict[str, float]]:
    """Return the network of a file and its levels; the graph is the .onnx file next to it, else that of compact."""
    if path.suffix != ".safetensors" or not path.is_file():
        raise FileFormatError(f'{path}: engine="onnx" needs a .safetensors file written by `supercuts train`.')
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if not name.startswith(LEARNED)]  # noqa: SIM118 (no mapping)
            weights = {name: file.get_tensor(name).astype(np.float32) for name in names}
    except (SafetensorError, OSError, TypeError) as error:  # numpy has no bfloat16
        raise FileFormatError(f"{path}: not a safetensors file that numpy can read ({error}).") from error
    config = parse_config(path, metadata)
    beside = path.with_suffix(".onnx")
    graph = beside if beside.is_file() else _SHIPPED
    network = OnnxNetwork(config, functools.partial(open_graph, graph, weights, config))
    return network, parse_levels(path, metadata.get("levels", "{}"))


def _thread_count() -> int:
    """Return OMP_NUM_THREADS, which torch also reads, or 0, one thread per core, if it is not set."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() else 0


def _import_runtime() -> Any:
    """Import ONNX Runtime with its telemetry off, which would write to the home, unless the user has decided on it."""
    before = os.environ.get("ORT_DISABLE_TELEMETRY")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1" if before is None else before
    try:
        return importlib.import_module("onnxruntime")
    finally:
        if before is None:
            del os.environ["ORT_DISABLE_TELEMETRY"]


def open_graph(path: Path, weights: dict[str, np.ndarray], config: SSNConfig, n_threads: int) -> Any:
    """Return an ONNX Runtime session that runs a graph with `weights` in `n_threads` threads, 0 for all cores."""
    check_installed(["onnxruntime"], "onnx")
    onnxruntime = _import_runtime()
    remedy = 'Write it: supercuts onnx MODEL.safetensors -o MODEL.onnx --graph, or use engine="torch".'
    graph = path.read_bytes()
    if not _reads_no_files(graph):
        raise FileFormatError(f"{path} refers to other files, which is not allowed. {remedy}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # log errors only; they are also raised
    options.intra_op_num_threads = n_threads
    # a spinning thread uses up the time that the thread it waits for needs on a busy processor
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        weights = fold_weights(weights, json.loads(_metadata(graph).get(FOLDS_KEY, "{}")))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise FileFormatError(f"{path}: not a graph of this network ({error!r}). {remedy}") from error
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers([PREFIX + name for name in weights], values)
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base class
        raise FileFormatError(f"{path}: not a graph of this network ({error}). {remedy}") from error
    try:  # a graph written before a setting existed gets that setting's default
        graph_config = SSNConfig.model_validate_json(session.get_modelmeta().custom_metadata_map.get(CONFIG_KEY, ""))
    except ValidationError:
        graph_config = None
    if graph_config != config:
        raise FileFormatError(f"{path}: a graph of a network with another config. {remedy}")
    return session


def fold_weights(weights: dict[str, np.ndarray], folds: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return weights in which convolutions include their batch normalisation, so that each map is written once.

    folds: for each convolution the normalisation's name and epsilon, and the number of zeros before and after each axis
    of the kernel
    """
    folded = dict(weights)
    for conv, (norm, epsilon, zeros) in folds.items():
        mean, variance = (folded.pop(f"{norm}.running_{name}") for name in ("mean", "var"))
        gain, shift = folded.pop(f"{norm}.weight", np.float32(1)), folded.pop(f"{norm}.bias", np.float32(0))
        gain = gain / np.sqrt(variance + np.float32(epsilon))
        kernel = np.pad(folded[f"{conv}.weight"], ((0, 0), (0, 0), *zeros))
        folded[f"{conv}.weight"] = kernel * gain[:, None, None, None]
        folded[f"{conv}.bias"] = (folded.get(f"{conv}.bias", 0) - mean) * gain + shift
    return folded


def _metadata(graph: bytes) -> dict[str, str]:
    entries = (list(_values_at(entry, {1: None, 2: None})) for entry in _values_at(graph, {14: None}))
    return {key.decode(): value.decode() for key, value in entries}


def _reads_no_files(graph: bytes) -> bool:
    """Return whether all external tensors of a graph have the location LOCATION, so that it refers to no files."""
    try:
        entries = list(_values_at(graph, _MODEL))
    except (KeyError, IndexError, RecursionError):  # not a graph
        entries = []
    # "location" is the only key under which a graph can name files; it must not occur outside the entries found
    return all(entry == _ENTRY for entry in entries) and graph.count(b"location") == len(entries)


def _values_at(message: bytes, fields: dict[int, Any]) -> Iterator[bytes]:
    """Yield the values in a protobuf message at the ends of these paths of field numbers."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, position = _varint(message, position)
            continue
        length, position = _varint(message, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
        value, position = message[position : position + length], position + length
        if kind == 2 and number in fields:
            yield from (value,) if fields[number] is None else _values_at(value, fields[number])


def _varint(message: bytes, start: int) -> tuple[int, int]:
    """Return the integer at offset `start` of a protobuf message, and the offset after it."""
    value, shift = 0, 0
    while message[start] & 0x80:
        value, shift, start = value | (message[start] & 0x7F) << shift, shift + 7, start + 1
    return value | message[start] << shift, start + 1
