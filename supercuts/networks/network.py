"""Networks of either engine, and how a file becomes one.

In   a weights file, the name of an engine
Out  a Network: an SSN of torch, or an OnnxNetwork of ONNX Runtime, which needs no torch
Not  no training; torch is imported only where a network of torch is loaded
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.networks.backbones.names import DINO
from supercuts.networks.calibration import TORCH_SUFFIXES
from supercuts.networks.onnx_network import OnnxNetwork, load_onnx

if TYPE_CHECKING:
    from supercuts.networks.ssn import SSN

    Network = SSN | OnnxNetwork
else:
    Network = Any  # naming SSN would import torch

EMBEDDED = ("compact",)  # models whose weights are in the package


def _load_torch(path: Path) -> tuple["Network", dict[str, float]]:
    from supercuts.networks.files import load_network

    return load_network(path)


ENGINES: dict[str, Callable[[Path], tuple["Network", dict[str, float]]]] = {"torch": _load_torch, "onnx": load_onnx}


def open_network(path: Path, engine: str = "torch") -> tuple[Network, dict[str, float]]:
    """Return the network of a file, run by torch or by ONNX Runtime ("onnx"), and its levels."""
    check_choice("engine", engine, ENGINES)
    return ENGINES[engine](path)


def ready(network: Network) -> Network:
    """Return the network laid out for inference."""
    if isinstance(network, OnnxNetwork):
        return network
    import torch

    return network.to(memory_format=torch.channels_last)


def is_on_gpu(network: Network | None) -> bool:
    """Return whether a network of torch lies on another device than the CPU."""
    return not (network is None or isinstance(network, OnnxNetwork)) and next(network.parameters()).device.type != "cpu"


def stride_of(network: Network) -> int:
    """Return for how many pixels a side the maps of regions have one value."""
    return network.stride if isinstance(network, OnnxNetwork) else network.backbone.strides[0]


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
