"""Patch features of a vision transformer: any layer, any facet, any image size, on a grid."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from supercuts.core.checks import check_choice, check_in_range
from supercuts.core.errors import InputError
from supercuts.networks.ssn_config import Facet, Interpolation

_FACETS = {"query": 0, "key": 1, "value": 2}


class ViTFeatures(nn.Module):
    """The features of one layer of a timm VisionTransformer or Eva (DINO v1, v2, v3).

    layer          0 is the first block, -1 the last
    facet          key, query or value of the layer's attention, heads one after the other, before any rotation;
                   token: the output of the block
    stride         of the patches: the patch size, or a divisor of it for a finer grid of overlapping patches (Amir et
                   al., "Deep ViT Features as Dense Visual Descriptors", 2021); attention grows with its inverse to
                   the fourth
    interpolation  of learned position embeddings to other sizes: timm's (antialiased, by size), or DINO v1's original
                   (bicubic, by a scale factor with 0.1 added to the grid's side)
    """

    def __init__(
        self,
        model: Any,  # timm's classes share no type
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
        self.n_frozen = 0  # blocks that are run without gradients, with what comes before them

    def grid_shape(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of patches; patch (i, j) is centred at stride * (i, j) + patch / 2."""
        rows, columns = ((size - self.patch_px) // self.stride_px + 1 for size in (height, width))
        return rows, columns

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, C, h, w); H and W are at least the patch size, a remainder that fills no patch is left out."""
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
        """Return patch features at the centres of (rows, columns) cells of one stride: overlapping patches lie between.

        Beyond the outermost patch centres the nearest feature is repeated.
        """
        if self.stride_px == self.patch_px:
            return patches
        offset = (self.patch_px / self.stride_px - 1) / 2  # of the first patch's centre from the first cell's, in cells
        axes = [
            (torch.arange(n, device=patches.device) - offset) * 2 / max(size - 1, 1) - 1
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
        """Return the tokens before the first block, and how a block is run."""
        model = self.model
        patches = model.patch_embed.proj(images)  # B C h w
        patches = model.patch_embed.norm(rearrange(patches, "b c h w -> b h w c"))  # what timm's dynamic sizes expect
        if self.interpolation == "original":
            return model.norm_pre(self._embed_original(patches, rows, columns)), lambda block, x: block(x)
        embedded = model._pos_embed(patches)
        if isinstance(embedded, tuple):  # Eva: rotary embeddings, the same for every block
            x, rope = embedded
            return model.norm_pre(x), lambda block, x: block(x, rope=rope)
        return model.norm_pre(embedded), lambda block, x: block(x)

    def _embed_original(self, patches: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Return class token and patches with position embeddings as DINO v1's own code interpolates them."""
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
        """Return one third of the attention's projection, without the attention: nothing after it is computed."""
        index, x, attention = _FACETS[self.facet], block.norm1(x), block.attn
        if attention.qkv is None:  # Eva with projections of their own
            projected: torch.Tensor = (attention.q_proj, attention.k_proj, attention.v_proj)[index](x)
            return projected
        part = slice(index * self.channels, (index + 1) * self.channels)
        bias = attention.qkv.bias
        if getattr(attention, "q_bias", None) is not None:  # `_qkvb` models keep them outside of the layer
            bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
        return F.linear(x, attention.qkv.weight[part], None if bias is None else bias[part])
