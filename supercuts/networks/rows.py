"""What the network says of an image that passes through it from top to bottom: each pixel once, in bounded memory.

In   a picture (H, W, 3) uint8 or bands (H, W, C), an SSN of convolutions in eval mode
Out  its maps row by row, as tiles.predict_tiles gives them tile by tile
Not  no transformer, which sees the whole image at once; no engine but torch

Every layer keeps the rows its next output needs, so nothing is computed twice, as it is around tiles, and memory holds
a few hundred rows: the coarsest layers look far, and what fine layers have found waits for them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Shaped
from torch import nn

from supercuts.core.precision import autocast
from supercuts.images.bands import to_unit
from supercuts.networks.backbones.compact import CompactCNN, ResidualBlock
from supercuts.networks.folded import FoldedConv
from supercuts.networks.network import Tile
from supercuts.networks.ssn import SSN, Context
from supercuts.networks.torch_network import TorchNetwork

_BLOCK_PIXELS = 1 << 19  # rows are given to the network in blocks of about so many pixels: their maps stay in the cache

# a convolution waits for so many, unless they are long: for fewer values oneDNN may choose a kernel that adds up in
# another order; of long rows, each that waits costs much memory
_LEAST_ROWS, _LONG_ROW = 4, 512

Rows = torch.Tensor | None  # (1, C, rows, W), None for no rows
Step = Callable[[Rows, bool], Rows]  # rows that follow, whether they are the last -> rows that are ready


def predict_rows(
    pixels: Shaped[np.ndarray, "height width bands"], network: TorchNetwork
) -> Iterator[tuple[Tile, list[Float32[np.ndarray, "..."]]]]:
    """Yield some rows after the other, as tiles as wide as the image, and what the network says of them.

    They equal those of the whole image; tiles start at multiples of the largest stride.
    """
    height, width = pixels.shape[:2]
    multiple, stride = network.backbone.strides[-1], network.backbone.strides[0]
    n_rows = max(_BLOCK_PIXELS // width // multiple, 1) * multiple
    stream, top = _Stream(network.folded()), 0
    for start in range(0, height, n_rows):
        end = min(start + n_rows, height)
        with torch.inference_mode(), autocast(_device(network)):
            block = _block(pixels[start:end], multiple, end == height).to(_device(network))
            ready = stream(block, end == height)
        if ready is None:
            continue
        bottom = min(top + ready[0].shape[2], height)
        yield Tile(top, bottom, 0, width), _arrays(ready, bottom - top, width, stride)
        top = bottom


def _device(network: TorchNetwork) -> torch.device:
    return next(network.parameters()).device


def _block(rows: np.ndarray, multiple: int, is_last: bool) -> torch.Tensor:
    """Return rows (1, C, h, w) in 0..1, replicated to the right, and the last to the bottom, to multiples."""
    is_rgb = rows.dtype == np.uint8 and rows.shape[2] == 3
    block = torch.from_numpy(rows.astype(np.float32) if is_rgb else np.array(to_unit(rows)))
    if is_rgb:
        block.div_(255)
    block = block.permute(2, 0, 1)[None]
    below = -block.shape[2] % multiple if is_last else 0
    return F.pad(block, (0, -block.shape[3] % multiple, 0, below), mode="replicate").contiguous(
        memory_format=torch.channels_last
    )


def _arrays(ready: Sequence[torch.Tensor], height: int, width: int, stride: int) -> list[np.ndarray]:
    """Return boundary, embeddings and those of regions without what was replicated."""
    output, *of_regions = ready
    output = output[0, :, :height, :width].float()
    embeddings = output[:-1].permute(1, 2, 0).contiguous().permute(2, 0, 1)  # a pixel's channels stay side by side
    maps = [output[-1].sigmoid(), embeddings]
    if of_regions:
        strength, regions = (one[0, :, : -(-height // stride), : -(-width // stride)].float() for one in of_regions)
        maps += [strength[0].sigmoid(), regions]
    return [(one if i == 1 else one.contiguous()).cpu().numpy() for i, one in enumerate(maps)]


class _Stream:
    """An SSN with backbone "compact", whose rows come in one block after the other."""

    def __init__(self, network: TorchNetwork) -> None:
        assert isinstance(network, SSN)
        backbone, head = network.backbone, network.head
        assert isinstance(backbone, CompactCNN)
        self.backbone = backbone
        self.stem = _chain(backbone.stem)
        self.stages = [_chain(stage) for stage in backbone.stages]
        context = [_Context(head.context)] if isinstance(head.context, Context) else []
        self.coarsest = _Chain([*_steps(head.lateral[-1]), *context, *_steps(head.refine[-1])])
        self.lateral, self.refine = ([_chain(one) for one in of[:-1]] for of in (head.lateral, head.refine))
        self.down = [_Chain([*_steps(down), _Upsampling()]) for down in (head.to_stem, *head.down)]
        self.sums = [_Together(2) for _ in self.down]
        self.output = _Chain([*_steps(head.fuse), *_steps(head.output)])
        self.strength, self.regions = None, None
        if network.regions is not None:
            self.strength = _chain(network.regions.strength)
            self.regions = _Chain([*_steps(network.regions.embedding), _Upsampling()])
        # as the blocks, so that whatever is kept of several rows begins where tiles do
        multiple = backbone.strides[-1]
        rates = (multiple, *([multiple // backbone.strides[0]] * (2 if network.regions is not None else 0)))
        self.together = _Together(len(rates), rates)

    def __call__(self, block: torch.Tensor, is_last: bool) -> list[torch.Tensor] | None:
        """Return rows of the output, and of strength logits and region embeddings; None while none are ready."""
        x = stem = self.stem((block - self.backbone.mean) / self.backbone.std, is_last)
        maps = []
        for stage in self.stages:
            x = stage(x, is_last)
            maps.append(x)
        path = [self.coarsest(maps[-1], is_last)]
        for i in range(len(self.lateral) - 1, -1, -1):
            coarse = self.down[i + 1](path[0], is_last)
            path.insert(0, self.refine[i](_sum(self.sums[i + 1]([self.lateral[i](maps[i], is_last), coarse])), is_last))
        output = self.output(_sum(self.sums[0]([stem, self.down[0](path[0], is_last)])), is_last)
        if self.strength is None or self.regions is None:
            return self.together([output])
        return self.together([output, self.strength(path[0], is_last), self.regions(path[1], is_last)])


class _Chain:
    """Steps one after the other."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps

    def __call__(self, rows: Rows, is_last: bool) -> Rows:
        for step in self.steps:
            rows = step(rows, is_last)
        return rows


def _chain(module: nn.Module) -> _Chain:
    return _Chain(_steps(module))


def _steps(module: nn.Module) -> list[Step]:
    """Return the steps of a module: convolutions look at rows around, all else at one row alone."""
    if isinstance(module, nn.Sequential):
        return [step for one in module for step in _steps(one)]
    if isinstance(module, ResidualBlock):
        return [_Residual(module)]
    if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
        return [_Convolution(module)]
    return [lambda rows, _: None if rows is None else module(rows)]


class _Convolution:
    """A convolution; above the first row and below the last there are zeros."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv
        self.above, self.aside = (int(pad) for pad in conv.padding)
        self.stride = conv.stride[0]
        self.reach = (conv.kernel_size[0] - 1) * conv.dilation[0]
        self.held: Rows = None

    def __call__(self, rows: Rows, is_last: bool) -> Rows:
        if rows is not None:
            rows = F.pad(rows, (0, 0, self.above, 0)) if self.held is None else torch.cat([self.held, rows], 2)
        else:
            rows = self.held
        if rows is None:
            return None
        if is_last:
            rows = F.pad(rows, (0, 0, 0, self.above))
        n = (rows.shape[2] - self.reach - 1) // self.stride + 1
        if n < (1 if is_last or rows.shape[3] >= _LONG_ROW else _LEAST_ROWS):
            self.held = rows
            return None
        self.held = rows[:, :, n * self.stride :].clone()  # a view would keep the whole block
        seen = rows[:, :, : (n - 1) * self.stride + self.reach + 1]
        conv = self.conv
        if isinstance(conv, FoldedConv):
            return conv.convolve(seen, (0, self.aside))
        return F.conv2d(seen, conv.weight, conv.bias, conv.stride, (0, self.aside), conv.dilation)


class _Upsampling:
    """Twice as many rows and columns, bilinear as ssn._resize makes them."""

    def __init__(self) -> None:
        self.held: Rows = None

    def __call__(self, rows: Rows, is_last: bool) -> Rows:
        if rows is not None:
            # the first row is its own neighbour above, the last below
            rows = torch.cat([rows[:, :, :1] if self.held is None else self.held, rows], 2)
        else:
            rows = self.held
        if rows is None:
            return None
        if is_last:
            rows = torch.cat([rows, rows[:, :, -1:]], 2)
        self.held = rows[:, :, -2:].clone()
        if rows.shape[2] < 3:
            return None
        return F.interpolate(rows, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 2:-2]


class _Together:
    """Rows of several maps wait until all of them have come."""

    def __init__(self, n_maps: int, rates: Sequence[int] | None = None) -> None:
        """Rates: how many rows of each map belong together."""
        self.rates = rates or [1] * n_maps
        self.waiting: list[list[torch.Tensor]] = [[] for _ in range(n_maps)]

    def __call__(self, maps: Sequence[Rows]) -> list[torch.Tensor] | None:
        for queue, rows in zip(self.waiting, maps, strict=True):
            if rows is not None:
                queue.append(rows)
        ready = [sum(rows.shape[2] for rows in queue) for queue in self.waiting]
        n = min(count // rate for count, rate in zip(ready, self.rates, strict=True))
        return [_take(queue, n * rate) for queue, rate in zip(self.waiting, self.rates, strict=True)] if n else None


def _take(queue: list[torch.Tensor], n: int) -> torch.Tensor:
    """Remove the first n rows of a queue and return them."""
    taken = []
    while n > 0:
        rows = queue.pop(0)
        if rows.shape[2] > n:
            queue.insert(0, rows[:, :, n:])
            rows = rows[:, :, :n]
        taken.append(rows)
        n -= rows.shape[2]
    return taken[0] if len(taken) == 1 else torch.cat(taken, 2)


def _sum(maps: Sequence[torch.Tensor] | None) -> Rows:
    return None if maps is None else maps[0] + maps[1]


class _Residual:
    """A ResidualBlock."""

    def __init__(self, block: ResidualBlock) -> None:
        self.inner = _Chain([*_steps(block.first), *_steps(block.second)])
        self.together = _Together(2)

    def __call__(self, rows: Rows, is_last: bool) -> Rows:
        total = _sum(self.together([rows, self.inner(rows, is_last)]))
        return None if total is None else torch.relu(total)


class _Context:
    """A Context."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.wide = [step for conv in context.wide for step in _steps(conv)]
        self.together = _Together(1 + len(self.wide))

    def __call__(self, rows: Rows, is_last: bool) -> Rows:
        context = self.context
        reduced = None if rows is None else context.reduce(rows)
        maps = self.together([rows, *(conv(reduced, is_last) for conv in self.wide)])
        if maps is None:
            return None
        rows, *wide = maps
        return torch.relu(rows + context.norm(context.expand(torch.relu(functools.reduce(torch.add, wide)))))
