"""What a file of a network says beside its weights: its config, its levels, what it was calibrated to.

In   a .safetensors file, or texts of its metadata
Out  Calibration, SSNConfig, levels
Not  no weights (checkpoint.py), no torch
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from supercuts.core.errors import FileFormatError
from supercuts.networks.ssn_config import SSNConfig

FORMAT_VERSION = 1
LEARNED = ("affinity.", "gnn.", "figure_ground.")  # prefixes of arrays that are no weights of the network
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


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Return what a file that load_network reads was calibrated to; an original's checkpoint has nothing."""
    path = Path(path)
    if path.suffix in TORCH_SUFFIXES:
        return Calibration()
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if name.startswith(LEARNED)]  # noqa: SIM118 (no mapping)
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # TypeError: of bfloat16, unknown to numpy
        raise FileFormatError(f"{path}: its calibration cannot be read ({error}). Calibrate it again.") from error
    levels = parse_levels(path, metadata.get("levels", "{}"))
    return Calibration(levels, arrays, metadata.get("calibrated_on", ""), metadata.get("gnn_config", "{}"))


def parse_levels(path: Path, text: str) -> dict[str, float]:
    """Return level name -> altitude; FileFormatError names the file."""
    try:
        levels = {str(name): float(altitude) for name, altitude in json.loads(text).items()}
        if not all(0 <= altitude <= 1 for altitude in levels.values()):  # NaN is not
            raise ValueError("an altitude outside 0..1")
        return levels
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FileFormatError(
            f"{path}: its levels are not names with altitudes ({error}): {text:.80}. Was the file edited by hand?"
        ) from error


def parse_config(path: Path, metadata: dict[str, str]) -> SSNConfig:
    """Return the config in a file's metadata; FileFormatError names the file."""
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
