"""The Network protocol, the calibration stored with a network, and functions that read files of networks."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from pydantic import BaseModel, Field, PositiveFloat, ValidationError
from safetensors import SafetensorError, safe_open

from supercuts.core.errors import FileFormatError, InputError
from supercuts.networks.ssn_config import DINO, SSNConfig

if TYPE_CHECKING:
    from supercuts.networks.backbones.pretrained import PretrainedViT
else:
    PretrainedViT = Any  # naming it would import torch

FORMAT_VERSION = 1
LEARNED = ("affinity.", "gnn.", "figure_ground.")  # prefixes of arrays that are not weights of the network
TORCH_SUFFIXES = (".pth", ".pt", ".ckpt")  # suffixes of checkpoints of the original SSN_DINO


@dataclass(frozen=True, slots=True)
class Calibration:
    """Parameters learned for a trained network and stored with it.

    levels      name -> altitude
    arrays      affinity.NAME for the affinity, gnn.NAME for the graph neural network, figure_ground.NAME for the
                classifier of objects and background
    source      the images it was learned on
    gnn_config  the settings of the graph neural network, as JSON
    """

    levels: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: str = ""
    gnn_config: str = "{}"

    def of(self, kind: str) -> dict[str, np.ndarray]:
        """Return the arrays of "affinity", "gnn" or "figure_ground"; empty if that part has not been learned."""
        prefix = f"{kind}."
        return {name.removeprefix(prefix): x for name, x in self.arrays.items() if name.startswith(prefix)}


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Return the calibration in a file that load_network reads; it is empty for a checkpoint of the original."""
    path = Path(path)
    if path.suffix in TORCH_SUFFIXES:
        return Calibration()
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if name.startswith(LEARNED)]  # noqa: SIM118 (no mapping)
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # TypeError: numpy has no bfloat16
        raise FileFormatError(f"{path}: its calibration cannot be read ({error}). Calibrate it again.") from error
    levels = parse_levels(path, metadata.get("levels", "{}"))
    return Calibration(levels, arrays, metadata.get("calibrated_on", ""), metadata.get("gnn_config", "{}"))


def parse_levels(path: Path, text: str) -> dict[str, float]:
    """Return level name -> altitude; raise FileFormatError, which names the file, if `text` is not that."""
    try:
        levels = {str(name): float(altitude) for name, altitude in json.loads(text).items()}
        if not all(0 <= altitude <= 1 for altitude in levels.values()):  # also False for NaN
            raise ValueError("an altitude outside 0..1")
        return levels
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FileFormatError(
            f"{path}: its levels are not names with altitudes ({error}): {text:.80}. Was the file edited by hand?"
        ) from error


def parse_config(path: Path, metadata: dict[str, str]) -> SSNConfig:
    """Return the config in a file's metadata; raise FileFormatError, which names the file, if it does not fit."""
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise FileFormatError(
            f"{path}: format_version {version or 'missing'}, expected {FORMAT_VERSION}. "
            "Give a file written by `supercuts train` of this version."
        )
    try:
        return SSNConfig.model_validate_json(metadata["config"])
    except (KeyError, ValidationError) as error:
        raise FileFormatError(f"{path}: its config is not an SSN's ({error}).") from error


EMBEDDED = ("compact",)  # models whose weights are part of the package

Pixels = UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width bands"]  # RGB, or bands in 0..1
Sized = UInt8[np.ndarray, "_ _ 3"] | Float32[np.ndarray, "_ _ _"]  # the same, for images whose sizes may differ
# boundary (H, W), embeddings (D, H, W) and, if the network has regions, strength (h, w), region embeddings (R, h, w)
Maps = list[Float32[np.ndarray, "..."]]


class ViewsConfig(BaseModel, frozen=True, extra="forbid"):
    """Views of the image that the network runs on. Predictions are averaged over views; run times add up."""

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)  # factors of the image's sides
    flip: bool = False  # whether each scale is also mirrored left to right

    def each(self) -> Iterator[tuple[float, bool]]:
        """Return, for each view, its scale and whether it is mirrored."""
        return ((scale, flip) for scale in self.scales for flip in ((False, True) if self.flip else (False,)))


VIEWS = {  # by name; "many" takes sixteen times the network's time for better boundaries
    "one": ViewsConfig(),
    "flip": ViewsConfig(flip=True),
    "many": ViewsConfig(scales=(0.5, 0.7, 1.0, 1.4, 2.0), flip=True),
}


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the image: rows top..bottom-1, columns left..right-1."""

    top: int
    bottom: int
    left: int
    right: int


class Window(NamedTuple):
    """The part of an image that decides the maps inside a tile.

    margin    pixels around the tile, a multiple of `multiple`
    multiple  pixels; tiles start at multiples of it, because the network's coarsest pixels do
    """

    margin: int
    multiple: int


@runtime_checkable
class Network(Protocol):
    """A network in eval mode.

    config        its settings
    stride        stride of the region maps, in pixels
    channels      number of channels of the images
    device        the device that it runs on, such as "cpu" or "cuda:0"
    has_boundary  False if its boundary map is 0 everywhere
    transformer   the vision transformer whose keys describe patches, or None
    """

    config: SSNConfig

    @property
    def stride(self) -> int: ...  # noqa: D102

    @property
    def channels(self) -> int: ...  # noqa: D102

    @property
    def device(self) -> str: ...  # noqa: D102

    @property
    def has_boundary(self) -> bool: ...  # noqa: D102

    @property
    def transformer(self) -> PretrainedViT | None: ...  # noqa: D102

    def ready(self) -> "Network":
        """Return the network with its weights laid out in memory for inference."""
        ...

    def for_image(self, shape: tuple[int, int]) -> "Network":
        """Return the network that predicts an image of this size, this one or the same in another engine."""
        ...

    def to(self, device: Any, /) -> object:
        """Move the weights to a device."""
        ...

    def maps(self, images: Sequence[Sized], views: ViewsConfig) -> list[Maps]:
        """Return the maps of each image, averaged over the views; all images have the same size and type."""
        ...

    def rows(self, pixels: Shaped[np.ndarray, "height width bands"]) -> Iterator[tuple[Tile, Maps]]:
        """Yield tiles from top to bottom with their maps; memory does not grow with the image height."""
        ...

    def window(self) -> Window:
        """Return the part of an image that decides a tile; raise InputError if that is the whole image."""
        ...

    def weights(self) -> Iterable[np.ndarray]:
        """Return the weights, always in the same order."""
        ...


def is_on_gpu(network: Network | None) -> bool:
    """Return whether the network runs on a device other than the CPU."""
    return network is not None and network.device != "cpu"


def weights_path(model: str | os.PathLike[str]) -> Path:
    """Return the file of a model's weights: a file of the package for the name of a model, else the path itself."""
    name = os.fspath(model)
    if name in EMBEDDED:
        return Path(__file__).parents[1] / "weights" / f"{name}.safetensors"
    if name in DINO:
        raise InputError(
            f"model={name!r} is a backbone without superpixels of its own. Train them (python train_ssn_dino.py "
            f"model.backbone={name}, then supercuts.load of the run's model.safetensors), or use compact."
        )
    if not name.endswith((".safetensors", *TORCH_SUFFIXES)):
        raise InputError(
            f"model={name!r} is unknown. Give one of {', '.join(EMBEDDED)} or a path ending in .safetensors, or in "
            f"{', '.join(TORCH_SUFFIXES)} for a checkpoint of the original SSN_DINO."
        )
    return Path(name)
