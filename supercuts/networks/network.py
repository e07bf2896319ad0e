"""The one interface of networks, and how a file becomes a network.

In   a weights file, the name of an engine
Out  Network: what every caller may ask of a network, whatever runs it
Not  no training; torch is imported only where a network of torch is loaded
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from pydantic import BaseModel, Field, PositiveFloat

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.networks.backbones.names import DINO
from supercuts.networks.calibration import TORCH_SUFFIXES
from supercuts.networks.ssn_config import SSNConfig

if TYPE_CHECKING:
    from supercuts.networks.backbones.pretrained import PretrainedViT
else:
    PretrainedViT = Any  # naming it would import torch

EMBEDDED = ("compact",)  # models whose weights are in the package

Pixels = UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width bands"]  # RGB, or bands in 0..1
Sized = UInt8[np.ndarray, "_ _ 3"] | Float32[np.ndarray, "_ _ _"]  # the same of images whose sizes may differ
# boundary (H, W), embeddings (D, H, W) and, of networks with regions, strength (h, w) and region embeddings (R, h, w)
Maps = list[Float32[np.ndarray, "..."]]


class ViewsConfig(BaseModel, frozen=True, extra="forbid"):
    """How often the network sees the image: predictions of all views are averaged, time is their sum."""

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)  # of the image's sides
    flip: bool = False  # each also mirrored left to right

    def each(self) -> Iterator[tuple[float, bool]]:
        """Return scale and whether mirrored, of each view."""
        return ((scale, flip) for scale in self.scales for flip in ((False, True) if self.flip else (False,)))


VIEWS = {  # by name: "many" takes nine times the network's time and draws better boundaries
    "one": ViewsConfig(),
    "flip": ViewsConfig(flip=True),
    "many": ViewsConfig(scales=(0.7, 1.0, 1.4), flip=True),
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
    multiple  tiles start at multiples of it, where the network's coarsest pixels start
    """

    margin: int
    multiple: int


@runtime_checkable
class Network(Protocol):
    """A network in eval mode.

    config        what defines it
    stride        pixels a side for each value of the maps of regions
    channels      of the images
    device        where it runs, such as "cpu" or "cuda:0"
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
        """Return the network, laid out in memory for inference."""
        ...

    def maps(self, images: Sequence[Sized], views: ViewsConfig) -> list[Maps]:
        """Return the maps of each of several images of one size and type: the means over all views."""
        ...

    def rows(self, pixels: Shaped[np.ndarray, "height width bands"]) -> Iterator[tuple[Tile, Maps]]:
        """Yield tiles from top to bottom and their maps, in memory that does not grow with the image."""
        ...

    def window(self) -> Window:
        """Return the part of an image that decides a tile; raise InputError if that is all of it."""
        ...

    def weights(self) -> Iterable[np.ndarray]:
        """Return the weights, always in the same order."""
        ...


def _load_torch(path: Path) -> tuple[Network, dict[str, float]]:
    from supercuts.networks.files import load_network

    return load_network(path)


def _load_onnx(path: Path) -> tuple[Network, dict[str, float]]:
    from supercuts.networks.onnx_network import load_onnx

    return load_onnx(path)


ENGINES: dict[str, Callable[[Path], tuple[Network, dict[str, float]]]] = {"torch": _load_torch, "onnx": _load_onnx}


def open_network(path: Path, engine: str = "torch") -> tuple[Network, dict[str, float]]:
    """Return the network of a file, run by torch or by ONNX Runtime ("onnx"), and its levels."""
    check_choice("engine", engine, ENGINES)
    return ENGINES[engine](path)


def is_on_gpu(network: Network | None) -> bool:
    """Return whether a network runs on another device than the CPU."""
    return network is not None and network.device != "cpu"


def weights_path(model: str | os.PathLike[str]) -> Path:
    """Return the file of a model's weights: one of the package by name, else the path itself."""
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
