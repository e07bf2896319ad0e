"""Networks on disk: safetensors files whose metadata holds the network's config and its calibration."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from supercuts.core.errors import FileFormatError, InputError
from supercuts.core.files import atomic_path
from supercuts.networks.backbones.weights import check_extent
from supercuts.networks.network import (
    FORMAT_VERSION,
    LEARNED,
    TORCH_SUFFIXES,
    Calibration,
    parse_config,
    parse_levels,
)
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import OriginalConfig, SSNConfig
from supercuts.networks.torch_network import TorchNetwork


def save_network(
    path: str | os.PathLike[str],
    network: TorchNetwork,
    levels: dict[str, float],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the network's weights as `dtype`, its config and `levels` (level name -> altitude) to one file."""
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "config": network.config.model_dump_json(),
        "levels": json.dumps(levels),
    }
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))  # save_file would make the file private to its owner


def load_network(path: str | os.PathLike[str]) -> tuple[TorchNetwork, dict[str, float]]:
    """Return the network of a file in eval mode, float32, and its levels.

    Raise FileFormatError, which names the mismatch, if the file does not hold a network. A checkpoint of the original
    SSN_DINO is read with the defaults of OriginalConfig and has no levels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file. Give a .safetensors file written by `supercuts train`.")
    if path.suffix in TORCH_SUFFIXES:
        return load_original(path), {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if not name.startswith(LEARNED)]  # noqa: SIM118 (no mapping)
            tensors = {name: file.get_tensor(name).float() for name in names}
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path}: not a safetensors file ({error}). Was it copied completely?") from error
    config = parse_config(path, metadata)
    try:
        check_extent(lambda: make_ssn(config), tensors)
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # whatever the host has set
            network = make_ssn(config).float()
        wrong = network.load_state_dict(tensors, strict=False)
    except (
        InputError,
        RuntimeError,
        TypeError,
        OverflowError,
    ) as error:  # torch refuses a tensor of another shape with RuntimeError
        raise FileFormatError(
            f"{path}: its weights and its config do not fit: {error} Train again with this version."
        ) from error
    missing = [name for name in wrong.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or wrong.unexpected_keys:
        raise FileFormatError(
            f"{path}: weights do not fit the network: missing {missing or 'none'}, "
            f"unexpected {wrong.unexpected_keys or 'none'}. Train again with this version."
        )
    return network.eval(), parse_levels(path, metadata.get("levels", "{}"))


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Write a calibration into a network's file, replacing any earlier one; the weights are unchanged."""
    with safe_open(Path(path), framework="pt") as file:
        metadata = (file.metadata() or {}) | {
            "levels": json.dumps(calibration.levels),
            "calibrated_on": calibration.source,
            "gnn_config": calibration.gnn_config,
        }
        network_names = [name for name in file.keys() if not name.startswith(LEARNED)]  # noqa: SIM118 (no mapping)
        tensors = {name: file.get_tensor(name) for name in network_names}
    tensors |= {name: torch.from_numpy(values) for name, values in calibration.arrays.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_original(path: str | os.PathLike[str], original: OriginalConfig | None = None) -> TorchNetwork:
    """Return the network of a checkpoint of the original SSN_DINO in eval mode.

    Parameters
    ----------
    path
        Checkpoint that holds the tensors backbone.* and output_conv.*, with or without the prefix "module.", at the top
        level or in a dict under "state_dict" or "model".
    original
        Settings of its training; if None, those of the released checkpoints.

    Returns
    -------
    TorchNetwork
        The network.

    Raises
    ------
    FileFormatError
        If the file does not exist or does not hold such a network on ViT-S/16.
    """
    from supercuts.networks.backbones.weights import read_tensors
    from supercuts.networks.original import config_of, rename  # imports timm

    path = Path(path)
    checkpoint = read_tensors(path)
    tensors = rename(checkpoint)
    if tensors is None:
        raise FileFormatError(
            f"{path} holds {len(checkpoint)} tensors ({', '.join(list(checkpoint)[:3])}, ...): expected a checkpoint "
            "of the original SSN_DINO, with backbone.* and output_conv.*. A network of `supercuts train` is its run's "
            "model.safetensors; weights of a backbone alone go into training as backbone_weights=PATH."
        )
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        network = make_ssn(config_of(tensors, original or OriginalConfig())).float()
    expected = network.state_dict()
    wrong = {
        "missing": [name for name in expected.keys() - tensors.keys() if not name.endswith("num_batches_tracked")],
        "unexpected": tensors.keys() - expected.keys(),
        "of another shape": [n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape],
    }
    if any(wrong.values()):
        problems = "; ".join(f"{problem}: {_some(names)}" for problem, names in wrong.items() if names)
        raise FileFormatError(
            f"{path} is not an SSN_DINO on ViT-S/16 ({problems}). No other network of the original can be read."
        )
    network.load_state_dict(tensors, strict=False)
    return network.eval()


def _some(names: Iterable[str]) -> str:
    first, *rest = sorted(names)
    return f"{first} and {len(rest)} more" if rest else first


def make_ssn(config: SSNConfig) -> TorchNetwork:
    """Return the network of a config, with random weights."""
    if config.head == "original":
        from supercuts.networks.original import OriginalSSNDINO  # imports timm

        return OriginalSSNDINO(config)
    return SSN(config)
