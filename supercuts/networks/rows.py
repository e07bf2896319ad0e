"""Pass an image through a network from top to bottom in bounded memory, each pixel once.

Every layer keeps the rows that its next output needs. Nothing is computed twice, unlike around tiles, and memory holds
a few hundred rows, because the coarsest layers have large windows and rows of fine layers wait for them. The layers are
derived from a recorded run of the network on a small image.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Shaped

from supercuts.core.errors import InputError
from supercuts.core.private_torch import autocast, sigmoid
from supercuts.images.convert import to_unit
from supercuts.networks.layers import Layer, Layers, UpsamplingLayer, WholeImage, WindowLayer, layers_of
from supercuts.networks.network import Maps, Tile
from supercuts.networks.recording import record
from supercuts.networks.ssn_config import SSNConfig

_BLOCK_PIXELS = 1 << 19  # approximate pixels in a block of rows, so that its maps stay in the cache

# least output rows of a window, and the width from which one row suffices: for fewer values oneDNN may choose a kernel
# with another order of summation, while long rows that wait cost much memory
_LEAST_ROWS, _LONG_ROW = 4, 512

Rows = torch.Tensor | None  # (1, C, rows, W), None for no rows


@runtime_checkable
class Dense(Protocol):
    """The part of a network that turns images into maps of the same size or a fixed fraction of it."""

    config: SSNConfig

    @property
    def multiple(self) -> int:
        """Sides of the images are multiples of this number of pixels."""
        ...

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        ...

    @property
    def device(self) -> str:
        """Device that the network runs on."""
        ...

    def dense(self, padded: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return embeddings and boundary logit (B, D + 1, H, W) and, if any, strength logits and regions."""
        ...


def derive(network: Dense) -> Layers:
    """Return the layers of a network; raise InputError if one of them needs the whole image."""
    device, multiple = torch.device(network.device), network.multiple
    plans = []
    try:
        for height, width in ((2, 3), (3, 2)):
            size = height * multiple, width * multiple
            example = torch.zeros(1, network.channels, *size, dtype=torch.float32, device=device)
            with autocast(device):
                plans.append(layers_of(*record(network.dense, example)))
        if [layer.key for layer in plans[0].layers] != [layer.key for layer in plans[1].layers]:
            raise WholeImage("its layers depend on the size of the image")
    except WholeImage as error:
        raise InputError(f"the backbone {network.config.backbone} works only on whole images: {error}") from error
    return plans[0]


def predict_rows(
    pixels: Shaped[np.ndarray, "height width bands"], network: Dense, layers: Layers
) -> Iterator[tuple[Tile, Maps]]:
    """Yield groups of rows, as tiles as wide as the image, with the network's maps.

    The maps equal those for the whole image. Tiles start at multiples of the largest stride.
    """
    height, width = pixels.shape[:2]
    multiple, device = network.multiple, torch.device(network.device)
    n_rows = max(_BLOCK_PIXELS // width // multiple, 1) * multiple
    stream, top, start = _Stream(layers, multiple, n_rows), 0, 0
    while not stream.is_finished:
        end = min(start + n_rows, height)
        with torch.inference_mode(), autocast(device):
            block = None if start == height else _block(pixels[start:end], multiple, end == height).to(device)
            ready = stream(block, end == height)
        start = end
        if ready is None:
            continue
        bottom = min(top + ready[0].shape[2], height)
        yield Tile(top, bottom, 0, width), _arrays(ready, bottom - top, width, layers)
        top = bottom


def _block(rows: np.ndarray, multiple: int, is_last: bool) -> torch.Tensor:
    """Return rows (1, C, h, w) in 0..1, padded to multiples by replication: right, and below the last rows."""
    is_rgb = rows.dtype == np.uint8 and rows.shape[2] == 3
    block = torch.from_numpy(rows.astype(np.float32) if is_rgb else np.array(to_unit(rows)))
    if is_rgb:
        block.div_(255)
    block = block.permute(2, 0, 1)[None]
    below = -block.shape[2] % multiple if is_last else 0
    return F.pad(block, (0, -block.shape[3] % multiple, 0, below), mode="replicate").contiguous(
        memory_format=torch.channels_last
    )


def _arrays(ready: Sequence[torch.Tensor], height: int, width: int, layers: Layers) -> Maps:
    """Return boundary, embeddings and region maps without the padding."""
    output, *of_regions = ready
    output = output[0, :, :height, :width]
    # one pass, also from bfloat16; the channels of a pixel are contiguous
    embeddings = output[:-1].permute(1, 2, 0).to(torch.float32, memory_format=torch.contiguous_format)
    maps = [sigmoid(output[-1].float()), embeddings.contiguous().permute(2, 0, 1)]
    if of_regions:
        stride = layers.strides[layers.outputs[1]]
        strength, regions = (x[0, :, : -(-height // stride), : -(-width // stride)].float() for x in of_regions)
        maps += [sigmoid(strength[0]), regions]
    return [(x if i == 1 else x.contiguous()).cpu().numpy() for i, x in enumerate(maps)]


class _Stream:
    """A network that receives rows in one block after another, then None until it is finished."""

    def __init__(self, layers: Layers, multiple: int, n_rows: int) -> None:
        """Create a stream for blocks of `n_rows` rows of an image."""
        self.layers, self.outputs = layers.layers, layers.outputs
        n_last = max(n_rows, _LEAST_ROWS * multiple)
        self.steps = [_step(layer, n_last // layers.strides[i + 1]) for i, layer in enumerate(self.layers)]
        last = {i: number for number, layer in enumerate(self.layers) for i in layer.inputs}
        # a map is deleted once the last layer has taken it
        self.done: list[list[int]] = [[] for _ in self.layers]
        for i, number in last.items():
            if i not in self.outputs:
                self.done[number].append(i)
        self.is_complete = [False] * (len(self.layers) + 1)  # maps whose last row has been returned
        # in groups of `multiple` image rows, like the blocks, so that tiles start at multiples of every stride
        self.together = _Together([multiple // layers.strides[i] for i in self.outputs])

    @property
    def is_finished(self) -> bool:
        """Whether all rows have been returned."""
        return all(self.is_complete)

    def __call__(self, block: Rows, is_last: bool) -> list[torch.Tensor] | None:
        """Return rows of the outputs; None while none are ready."""
        maps: dict[int, Rows] = {0: block}
        self.is_complete[0] = is_last
        for number, (layer, step) in enumerate(zip(self.layers, self.steps, strict=True)):
            rows: Rows = None
            if not self.is_complete[number + 1]:
                is_end = all(self.is_complete[i] for i in layer.inputs)
                rows = step([maps[i] for i in layer.inputs], is_end)
                self.is_complete[number + 1] = is_end and step.is_empty()
            maps[number + 1] = rows
            for i in self.done[number]:
                del maps[i]
        return self.together([maps[i] for i in self.outputs])


def _step(layer: Layer, n_last: int) -> "_Step":
    if isinstance(layer, WindowLayer):
        return _Window(layer)
    if isinstance(layer, UpsamplingLayer):
        return _Upsampling(layer)
    return _Local(layer, n_last)


class _Step(ABC):
    """A layer that keeps the rows that its next output needs."""

    @abstractmethod
    def __call__(self, rows: list[Rows], is_last: bool) -> Rows:
        """Return the rows that are ready after these, the next ones of each input; None if none are."""

    def is_empty(self) -> bool:
        """Return whether all rows have been returned, once the last ones of the inputs have been given."""
        return True


class _Local(_Step):
    """A function of each row; rows of several maps wait for each other.

    The rows that wait for the end of the image leave in groups of about `n_last`: together, they would take more memory
    than all others.
    """

    def __init__(self, layer: Layer, n_last: int) -> None:
        self.run, self.n_last = layer.run, n_last
        self.together = _Together([1] * len(layer.inputs)) if len(layer.inputs) > 1 else None

    def __call__(self, rows: list[Rows], is_last: bool) -> Rows:
        ready = rows if self.together is None else self.together(rows, self.n_last if is_last else None)
        return None if ready is None or ready[0] is None else self.run(*ready)

    def is_empty(self) -> bool:
        return self.together is None or self.together.is_empty()


class _Window(_Step):
    """A convolution or a pooling layer; rows are padded above the first and below the last."""

    def __init__(self, layer: WindowLayer) -> None:
        self.layer = layer
        self.held: Rows = None

    def __call__(self, rows: list[Rows], is_last: bool) -> Rows:
        layer, (x,) = self.layer, rows
        if x is not None:
            x = _padded(x, layer.above, 0, layer.fill) if self.held is None else torch.cat([self.held, x], 2)
        else:
            x = self.held
        if x is None:
            return None
        if is_last:
            x = _padded(x, 0, layer.below, layer.fill)
        n = (x.shape[2] - layer.reach - 1) // layer.stride + 1
        if not is_last:
            n = min(n, x.shape[2] // layer.stride)  # the next output may start beyond the end of this one
        if n < (1 if is_last or x.shape[3] >= _LONG_ROW else _LEAST_ROWS):
            self.held = x
            return None
        self.held = x[:, :, n * layer.stride :].clone()  # a view would keep the whole block in memory
        return layer.run(x[:, :, : (n - 1) * layer.stride + layer.reach + 1])


def _padded(rows: torch.Tensor, above: int, below: int, fill: float) -> torch.Tensor:
    return F.pad(rows, (0, 0, above, below), value=fill) if above or below else rows


class _Upsampling(_Step):
    """An upsampling layer; bilinear ones also use the adjacent rows."""

    def __init__(self, layer: UpsamplingLayer) -> None:
        self.layer = layer
        self.held: Rows = None
        self.n_above = 0  # number of held rows whose outputs have been returned

    def __call__(self, rows: list[Rows], is_last: bool) -> Rows:
        (x,) = rows
        if not self.layer.is_smooth:
            return None if x is None else self.layer.run(x)
        if self.held is not None:
            x = self.held if x is None else torch.cat([self.held, x], 2)
        if x is None:
            return None
        if is_last:  # the first row is not repeated, because its outputs would round unlike those of the whole map
            x = torch.cat([x, x[:, :, -1:]], 2)
        n_above, self.held = self.n_above, x[:, :, -2:].clone()
        if x.shape[2] < n_above + 2:
            return None
        self.n_above = 1
        return self.layer.run(x)[:, :, n_above * self.layer.factor : -self.layer.factor]


class _Together:
    """A queue that returns rows of several maps once all of them have arrived."""

    def __init__(self, rates: Sequence[int]) -> None:
        """Create empty queues; rates are the numbers of rows of each map that belong together."""
        self.rates = rates
        self.waiting: list[list[torch.Tensor]] = [[] for _ in rates]

    def __call__(self, maps: Sequence[Rows], n_most: int | None = None) -> list[torch.Tensor] | None:
        """Return all rows that are ready, or `n_most` if there are at least twice as many."""
        for queue, rows in zip(self.waiting, maps, strict=True):
            if rows is not None:
                queue.append(rows)
        ready = [sum(rows.shape[2] for rows in queue) for queue in self.waiting]
        n = min(count // rate for count, rate in zip(ready, self.rates, strict=True))
        if n_most is not None and n >= 2 * n_most:
            n = n_most
        return [_take(queue, n * rate) for queue, rate in zip(self.waiting, self.rates, strict=True)] if n else None

    def is_empty(self) -> bool:
        """Return whether no row is ready."""
        return not all(self.waiting)


def _take(queue: list[torch.Tensor], n: int) -> torch.Tensor:
    """Remove the first n rows of a queue and return them."""
    pieces = []
    while n > 0:
        rows = queue.pop(0)
        if rows.shape[2] > n:
            queue.insert(0, rows[:, :, n:])
            rows = rows[:, :, :n]
        pieces.append(rows)
        n -= rows.shape[2]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 2)
