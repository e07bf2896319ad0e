"""Networks on disk: safetensors whose metadata rebuilds the network and holds its calibration.

In   an SSN and its levels, or a file; also a checkpoint (.pth, .pt, .ckpt) of the original SSN_DINO
Out  a .safetensors file written atomically, or the SSN and its levels
Not  no pickle of anything but tensors and plain values, no download
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from supercuts.backbones.weights import check_extent
from supercuts.core.errors import FileFormatError, InputError
from supercuts.core.files import atomic_path
from supercuts.superpixels.ssn import SSN, OriginalConfig, SSNConfig

FORMAT_VERSION = 1
_LEARNED = ("affinity.", "gnn.", "figure_ground.")  # prefixes of arrays that are no weights of the network
TORCH_SUFFIXES = (".pth", ".pt", ".ckpt")  # of the original's checkpoints


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is learned for a trained network, and kept with it.

    levels      name -> altitude
    arrays      those of the affinity as affinity.NAME, of the graph neural network as gnn.NAME, of what tells objects
                from background as figure_ground.NAME
    source      the images it was learned on
    gnn_config  the settings of the graph neural network, as JSON
    """

    levels: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: str = ""
    gnn_config: str = "{}"

    def of(self, kind: str) -> dict[str, np.ndarray]:
        """Return the arrays of "affinity", "gnn" or "figure_ground"; none if it has not been learned."""
        prefix = f"{kind}."
        return {name.removeprefix(prefix): x for name, x in self.arrays.items() if name.startswith(prefix)}


def save_network(
    path: str | os.PathLike[str],
    network: SSN,
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


def load_network(path: str | os.PathLike[str]) -> tuple[SSN, dict[str, float]]:
    """Return the network of a file in eval mode, float32, and its levels; FileFormatError says what does not fit.

    A checkpoint of the original SSN_DINO is read with the defaults of OriginalConfig, and has no levels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file. Give a .safetensors file written by `supercuts train`.")
    if path.suffix in TORCH_SUFFIXES:
        return load_original(path), {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if not name.startswith(_LEARNED)]  # noqa: SIM118 (no mapping)
            tensors = {name: file.get_tensor(name).float() for name in names}
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path}: not a safetensors file ({error}). Was it copied completely?") from error
    config = _read_config(path, metadata)
    try:
        check_extent(lambda: SSN(config), tensors)
        network = SSN(config)
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
    return network.eval(), _read_levels(path, metadata.get("levels", "{}"))


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Return what a file that load_network reads was calibrated to; an original's checkpoint has nothing."""
    path = Path(path)
    if path.suffix in TORCH_SUFFIXES:
        return Calibration()
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if name.startswith(_LEARNED)]  # noqa: SIM118 (no mapping)
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # TypeError: of bfloat16, unknown to numpy
        raise FileFormatError(f"{path}: its calibration cannot be read ({error}). Calibrate it again.") from error
    levels = _read_levels(path, metadata.get("levels", "{}"))
    return Calibration(levels, arrays, metadata.get("calibrated_on", ""), metadata.get("gnn_config", "{}"))


def write_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Put a calibration into a file, in place of another; its weights stay as they are."""
    with safe_open(Path(path), framework="pt") as file:
        metadata = (file.metadata() or {}) | {
            "levels": json.dumps(calibration.levels),
            "calibrated_on": calibration.source,
            "gnn_config": calibration.gnn_config,
        }
        kept = [name for name in file.keys() if not name.startswith(_LEARNED)]  # noqa: SIM118 (no mapping)
        tensors = {name: file.get_tensor(name) for name in kept}
    tensors |= {name: torch.from_numpy(values) for name, values in calibration.arrays.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_original(path: str | os.PathLike[str], original: OriginalConfig | None = None) -> SSN:
    """Return the network of a checkpoint of the original SSN_DINO in eval mode, run as `original` says.

    The file holds the tensors backbone.* and output_conv.*, with or without "module." before them, plain or in a dict
    under "state_dict" or "model".
    """
    from supercuts.backbones.weights import read_tensors
    from supercuts.superpixels.original import config_of, rename  # imports timm

    path = Path(path)
    found = read_tensors(path)
    tensors = rename(found)
    if tensors is None:
        raise FileFormatError(
            f"{path} holds {len(found)} tensors ({', '.join(list(found)[:3])}, ...): expected a checkpoint of the "
            "original SSN_DINO, with backbone.* and output_conv.*. A network of `supercuts train` is its run's "
            "model.safetensors; weights of a backbone alone go into training as backbone_weights=PATH."
        )
    network = SSN(config_of(tensors, original or OriginalConfig()))
    expected = network.state_dict()
    wrong = {
        "missing": [name for name in expected.keys() - tensors.keys() if not name.endswith("num_batches_tracked")],
        "unexpected": tensors.keys() - expected.keys(),
        "of another shape": [n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape],
    }
    if any(wrong.values()):
        problems = "; ".join(f"{what}: {_some(names)}" for what, names in wrong.items() if names)
        raise FileFormatError(
            f"{path} is no SSN_DINO on ViT-S/16 ({problems}). Of the original's networks only that one can be read."
        )
    network.load_state_dict(tensors, strict=False)
    return network.eval()


def _some(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first


def _read_levels(path: Path, text: str) -> dict[str, float]:
    try:
        levels = {str(name): float(altitude) for name, altitude in json.loads(text).items()}
        if not all(0 <= altitude <= 1 for altitude in levels.values()):  # NaN is not
            raise ValueError("an altitude outside 0..1")
        return levels
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FileFormatError(
            f"{path}: its levels are not names with altitudes ({error}): {text:.80}. Was the file edited by hand?"
        ) from error


def _read_config(path: Path, metadata: dict[str, str]) -> SSNConfig:
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
