"""The network of the Kanezaki family: convolution, ReLU, normalisation, and a last 1 x 1 convolution, normalised.

In   images (B, C, H, W) float32 in 0..1
Out  the response (B, K, H, W) float32, channels last in memory; labels are its argmax
Not  no loss, no training loop

Kanezaki, "Unsupervised image segmentation by backpropagation", ICASSP 2018; Kim, Kanezaki & Tanaka, "Unsupervised
learning of image segmentation based on differentiable feature clustering", IEEE TIP 2020. The normalisation of the
response is what keeps several classes alive.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from supercuts.core.errors import FileFormatError
from supercuts.core.files import atomic_path
from supercuts.core.precision import fastest
from supercuts.networks.backbones.weights import check_extent
from supercuts.refine.config import NetworkConfig, RefineConfig
from supercuts.refine.normalise import Normalise, Statistics


class KanezakiCNN(nn.Module):
    """[3 x 3 convolution, ReLU, normalisation] n_convolutions times, 1 x 1 convolution, normalisation."""

    def __init__(self, config: NetworkConfig, channels: int, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.precision = precision
        layers: list[nn.Module] = []
        for i in range(config.n_convolutions):
            width = config.n_features if i else channels
            layers += [nn.Conv2d(width, config.n_features, 3, padding=1), nn.ReLU(), Normalise(config.n_features)]
        self.hidden = nn.Sequential(*layers)
        self.classify = nn.Conv2d(config.n_features, config.n_classes, 1)
        self.normalise = Normalise(config.n_classes)
        self.to(memory_format=torch.channels_last)

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        return int(self.hidden[0].in_channels)  # type: ignore[arg-type]

    def forward(self, x: Float[torch.Tensor, "batch channels height width"]) -> torch.Tensor:
        """Return the response (B, K, H, W), in float32 unless the network is of float64."""
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32):
            for convolution, normalise in zip(self.hidden[::3], self.hidden[2::3], strict=True):
                x = normalise(convolution(x), rectify=True)
            x = self.classify(x)
        response: torch.Tensor = self.normalise(x, dtype=torch.promote_types(x.dtype, torch.float32))
        return response.contiguous(memory_format=torch.channels_last)

    def use_statistics(self, statistics: Statistics) -> None:
        """Choose what normalises images while the network is not trained."""
        for module in self.modules():
            if isinstance(module, Normalise):
                module.statistics = statistics


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type that convolutions run in: bfloat16 unless asked only where the processor computes with it."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    return fastest(device)


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
