"""Fitted networks on disk: safetensors whose metadata rebuilds them.

In   a KanezakiCNN, its settings and what it was fitted to; or a file
Out  a .safetensors file, written atomically; the network in eval mode
Not  no pickle, no optimiser: a fit is not resumed half-way
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from supercuts.core.errors import FileFormatError
from supercuts.core.files import atomic_path
from supercuts.networks.backbones.weights import check_extent
from supercuts.refine.config import RefineConfig
from supercuts.refine.network import KanezakiCNN, choose_precision

FORMAT_VERSION = "1"


def save_network(path: Path, network: KanezakiCNN, config: RefineConfig, images: Sequence[str] = ()) -> None:
    """Write the network with its settings and the names of the images it was fitted to."""
    metadata = {
        "format_version": FORMAT_VERSION,
        "kind": "refine",
        "config": config.model_dump_json(),
        "channels": str(network.channels),
        "images": json.dumps(list(images)),
    }
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_network(path: Path, device: torch.device | str = "cpu") -> tuple[KanezakiCNN, RefineConfig, list[str]]:
    """Return the network in eval mode, its settings and the names of the images it was fitted to."""
    device = torch.device(device)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path}: not a safetensors file ({error}). Was it copied completely?") from error
    if (metadata.get("kind"), metadata.get("format_version")) != ("refine", FORMAT_VERSION):
        raise FileFormatError(f"{path}: not a network of `supercuts refine` of this version. Fit one again.")
    try:
        config = RefineConfig.model_validate_json(metadata["config"])
        channels, precision = int(metadata["channels"]), choose_precision(config.precision, device)
        if config.n_convolutions > len(tensors):
            raise ValueError(f"n_convolutions={config.n_convolutions}, but {len(tensors)} arrays of weights")
        check_extent(lambda: KanezakiCNN(config, channels, precision), tensors)
        network = KanezakiCNN(config, channels, precision)
        network.load_state_dict(tensors)
        images = [str(name) for name in json.loads(metadata["images"])]
    except (KeyError, ValueError, ValidationError, RuntimeError, TypeError, OverflowError) as error:
        raise FileFormatError(f"{path}: its weights and its settings do not fit: {error}. Fit it again.") from error
    network.use_statistics(config.statistics)
    return network.to(device).eval(), config, images
