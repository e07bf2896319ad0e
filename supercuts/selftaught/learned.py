"""Networks trained on a data set to segment: one interface, their files, and the maps for building a tree."""

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float32, Int32, UInt8
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from supercuts.core.errors import FileFormatError
from supercuts.core.files import atomic_path, atomic_paths
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import color_features
from supercuts.images.draw import random_colors
from supercuts.images.io import write_labels_png, write_png
from supercuts.networks.backbones.weights import check_extent
from supercuts.networks.maps import PixelMaps
from supercuts.selftaught.classifier import Autoencoder, AutoencoderConfig, Classifier, ClassifierConfig
from supercuts.selftaught.wnet import WNet, WNetConfig

LearnedConfig = Annotated[ClassifierConfig | AutoencoderConfig | WNetConfig, Field(discriminator="method")]
Learned = Classifier | Autoencoder | WNet

_FORMAT_VERSION = "1"
_EMBEDDING_SCALE = 5.0  # SSN features: two certain classes are then as far apart as 27 units of Lab
_ADAPTER: TypeAdapter[ClassifierConfig | AutoencoderConfig | WNetConfig] = TypeAdapter(LearnedConfig)


def make_learned(config: LearnedConfig, is_pretrained: bool = True) -> Learned:
    """Return the network that the configuration describes; with is_pretrained=False, nothing is downloaded."""
    if isinstance(config, ClassifierConfig):
        return Classifier(config, is_pretrained)
    return Autoencoder(config) if isinstance(config, AutoencoderConfig) else WNet(config)


def save_learned(path: str | os.PathLike[str], network: Learned) -> None:
    """Write weights and configuration to one .safetensors file, atomically."""
    metadata = {"learned_version": _FORMAT_VERSION, "config": network.config.model_dump_json()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_learned(path: str | os.PathLike[str]) -> Learned:
    """Return the network of a file in eval mode.

    Parameters
    ----------
    path
        The model.safetensors of a ``supercuts refine train`` run.

    Returns
    -------
    Classifier, Autoencoder or WNet
        The network.

    Raises
    ------
    FileFormatError
        If the file does not exist or does not hold such a network.

    References
    ----------
    .. [1] Xia & Kulis, "W-Net: A deep model for fully unsupervised image segmentation", 2017.

    Examples
    --------
    >>> save_learned("model.safetensors", make_learned(WNetConfig(classes=2, widths=(4, 4)), is_pretrained=False))
    >>> network = load_learned("model.safetensors")
    >>> network.training
    False
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file. Give the model.safetensors of a `supercuts refine train` run.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path}: not a safetensors file ({error}). Was it copied completely?") from error
    if (version := metadata.get("learned_version")) != _FORMAT_VERSION:
        raise FileFormatError(
            f"{path}: learned_version {version or 'missing'}, expected {_FORMAT_VERSION}. Give the model.safetensors "
            "of a `supercuts refine train` run; one of `supercuts train` goes to `supercuts segment`."
        )
    try:
        config = _ADAPTER.validate_json(metadata["config"])
        check_extent(lambda: make_learned(config, is_pretrained=False), tensors)
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # whatever the host has set
            network = make_learned(config, is_pretrained=False).float()
        network.load_state_dict(tensors)
    except (
        KeyError,
        ValidationError,
        RuntimeError,
        TypeError,
        OverflowError,
    ) as error:  # torch raises RuntimeError for weights that do not fit
        raise FileFormatError(
            f"{path}: weights and config do not fit: {error} Train again with this version."
        ) from error
    return network.eval()


def class_probabilities(
    image: UInt8[np.ndarray, "height width 3"], network: Learned
) -> Float32[np.ndarray, "classes height width"]:
    """Return the probability of each class at each pixel.

    The image is padded for the network and the result cropped.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    network
        Network of `load_learned`.

    Returns
    -------
    float32 (K, H, W)
        Probabilities, 0..1, which sum to 1 at each pixel.

    Examples
    --------
    >>> network = make_learned(WNetConfig(classes=2, widths=(4, 4)), is_pretrained=False).eval()
    >>> class_probabilities(np.zeros((5, 6, 3), np.uint8), network).shape
    (2, 5, 6)
    """
    height, width = image.shape[:2]
    device = next(network.parameters()).device
    pixels = rearrange(torch.from_numpy(image.astype(np.float32) / 255), "h w c -> 1 c h w").to(device)
    stride = network.config.stride
    padded = F.pad(pixels, (0, -width % stride, 0, -height % stride), mode="replicate")
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        probabilities = network.probabilities(padded)[0, :, :height, :width]
    return probabilities.cpu().numpy()


def pixel_maps(
    image: UInt8[np.ndarray, "height width 3"], probabilities: Float32[np.ndarray, "classes height width"]
) -> PixelMaps:
    """Return the maps for superpixels and their graph: colour, boundaries of the classes, and probabilities.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    probabilities
        (K, H, W) float32, 0..1, such as those of `class_probabilities`.

    Returns
    -------
    PixelMaps
        Input of `supercuts.pipeline.segment_by_maps`.

    Raises
    ------
    InputError
        If the probabilities are of another size than the image.

    Examples
    --------
    >>> probabilities = np.array([[[1, 0]], [[0, 1]]], np.float32)
    >>> pixel_maps(np.zeros((1, 2, 3), np.uint8), probabilities).boundary.tolist()
    [[1.0, 1.0]]
    """
    return PixelMaps(
        color=color_features(image),
        boundary=class_boundary(probabilities),
        embeddings=np.ascontiguousarray(probabilities) * np.float32(_EMBEDDING_SCALE),
    )


def class_boundary(
    probabilities: Float32[np.ndarray, "classes height width"],
) -> Float32[np.ndarray, "height width"]:
    """Return the change of class probabilities across each pixel, 0..1: the total variation between two neighbours.

    The larger value of the vertical and the horizontal pair counts; at the frame a pixel is its own neighbour.

    >>> one_class = np.array([[[1, 1, 0, 0]]], np.float32)
    >>> class_boundary(np.concatenate([one_class, 1 - one_class])).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """
    padded = np.pad(probabilities, ((0, 0), (1, 1), (1, 1)), mode="edge")
    vertical = np.abs(padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]).sum(0)
    horizontal = np.abs(padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]).sum(0)
    changed: np.ndarray = np.minimum(np.maximum(vertical, horizontal) / 2, 1)
    return changed


def write_classes(
    stem: str | os.PathLike[str], classes: Int32[np.ndarray, "height width"], h: Hierarchy | None = None
) -> None:
    """Write STEM_labels.png, 16 bit, STEM_colors.png and, last, the hierarchy as STEM.npz, or none of them.

    A class has the same colour in all images.
    """
    palette = random_colors(np.arange(int(classes.max()) + 1, dtype=np.int32)[None])[0]
    suffixes = ("_labels.png", "_colors.png", ".npz") if h is not None else ("_labels.png", "_colors.png")
    with atomic_paths(f"{os.fspath(stem)}{suffix}" for suffix in suffixes) as staged:
        write_labels_png(staged[0], classes)
        write_png(staged[1], palette[classes])
        if h is not None:
            h.save(staged[2])
