"""Layers of a network as functions of rows of their input, derived from a recorded run."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from supercuts.networks.recording import RecordedStep, as_pair, named

# functions that work on each pixel alone, provided that their other tensors are the same for all pixels
_OF_A_PIXEL = frozenset("""
abs add batch_norm cat clamp clamp_max clamp_min clone contiguous detach div dropout dropout2d elu exp float gelu
getitem hardsigmoid hardswish hardtanh layer_norm leaky_relu linear log mish mul neg permute pow radd relu relu6 rmul
rsub selu sigmoid silu softplus sqrt square sub tanh to true_divide truediv type
""".split())  # fmt: skip  # noqa: SIM905 (as a list it takes forty lines)
_TO_CHANNELS_LAST, _TO_CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


class WholeImage(Exception):
    """Raised if a network needs more than some rows at once; the message names the step."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A local layer: `run` takes the same rows of all its inputs and returns as many rows.

    inputs  numbers of the input layers; 0 is the image
    axis    axis of the rows in the output
    key     settings that must be equal in two recorded runs of one network
    """

    run: Callable[..., torch.Tensor]
    inputs: tuple[int, ...]
    axis: int
    key: tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class WindowLayer(Layer):
    """A layer whose output row y depends on the input rows `stride * y - above + (0 ... reach)`.

    `run` takes rows that include padding: `above` rows before the first and `below` rows after the last row of the
    image, all filled with `fill`.
    """

    above: int
    below: int
    reach: int
    stride: int
    fill: float


@dataclass(frozen=True, slots=True, eq=False)
class UpsamplingLayer(Layer):
    """A layer that returns `factor` rows for each row; if `is_smooth`, it interpolates between adjacent rows."""

    factor: int
    is_smooth: bool


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Layers in the order in which they run, numbered from 1; number 0 is the image.

    outputs  numbers of the layers that the network returns
    strides  pixels of the image per row of a layer's output; the first is that of the image
    """

    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def reach(self) -> int:
        """Number of pixels above and below a range of image rows that may affect the output for these rows."""
        reaches = [(0, 0)]  # pixels above and below those that a row covers, per layer
        for layer, stride in zip(self.layers, self.strides[1:], strict=True):
            before = self.strides[layer.inputs[0]]
            up, down = (max(reaches[i][side] for i in layer.inputs) for side in (0, 1))
            if isinstance(layer, WindowLayer):
                up, down = up + layer.above * before, down + max(layer.reach + 1 - layer.above, 0) * before - stride
                down = max(down, 0)
            elif isinstance(layer, UpsamplingLayer):
                # a coarse row covers several finer rows; interpolated ones also depend on the adjacent coarse row
                margin = before - stride + (before - stride * (layer.factor // 2) if layer.is_smooth else 0)
                up, down = up + margin, down + margin
            reaches.append((up, down))
        return max(max(reaches[i]) for i in self.outputs)


def layers_of(steps: Sequence[RecordedStep], outputs: Sequence[RecordedStep]) -> Layers:
    """Return the layers of a recorded run; raise WholeImage if one needs more than some rows."""
    return _Derivation(steps, outputs).derive()


class _Derivation:
    def __init__(self, steps: Sequence[RecordedStep], outputs: Sequence[RecordedStep]) -> None:
        self.outputs = outputs
        needed, waiting = set(outputs), list(outputs)
        while waiting:
            new = [step_before for step_before in waiting.pop().inputs if step_before not in needed]
            needed.update(new)
            waiting += new
        self.steps = [step for step in steps if step in needed]
        self.image = steps[0]
        self.number = {self.image: 0}
        self.axes, self.strides = [2], [1]
        self.layers: list[Layer] = []

    def derive(self) -> Layers:
        for step in self.steps:
            if step.function is None or step.is_padding:  # padding belongs to the next step
                continue
            if step.name in ("add", "radd") and _is_zero(step.args[-1]):  # the initial value of sum()
                self.number[step] = self.number[step.inputs[0]]
                continue
            layer = self._layer(step)
            self.layers.append(layer)
            self.axes.append(layer.axis)
            self.strides.append(self._stride(step, layer.axis))
            self.number[step] = len(self.layers)
            self._check(step, layer)
        return Layers(tuple(self.layers), tuple(self.number[step] for step in self.outputs), tuple(self.strides))

    def _layer(self, step: RecordedStep) -> Layer:
        folded = getattr(step.function, "__self__", None)
        if isinstance(folded, nn.Conv2d):
            return self._convolution(step, folded)
        if step.name == "conv2d":
            arguments = named(step, "input weight bias stride padding dilation groups")
            return self._convolution(step, None, **arguments)
        if step.name in ("max_pool2d", "avg_pool2d"):
            return self._pool(step)
        if step.name == "interpolate":
            return self._upsampling(step)
        if step.name in _OF_A_PIXEL:
            return self._local(step)
        raise WholeImage(f"{step.name}() may depend on the whole image")

    def _stride(self, step: RecordedStep, axis: int) -> int:
        (height, width), rows, columns = self.image.shape[2:], step.shape[axis], step.shape[axis + 1]
        if len(step.shape) != 4 or height % rows or width % columns or height // rows != width // columns:
            raise WholeImage(f"{step.name}() returns {step.shape} for an image of {self.image.shape}")
        return height // rows

    def _check(self, step: RecordedStep, layer: Layer) -> None:
        """Raise WholeImage if the rows of a layer's output are not aligned with those of its inputs."""
        before = {self.strides[i] for i in layer.inputs}
        if isinstance(layer, WindowLayer):
            expected = {1 / layer.stride}
            if (layer.above + layer.below - layer.reach - 1) // layer.stride != -1:
                raise WholeImage(f"{step.name}() changes the size of its input")
        else:
            expected = {float(layer.factor) if isinstance(layer, UpsamplingLayer) else 1.0}
        if {value / self.strides[-1] for value in before} != expected:
            raise WholeImage(f"{step.name}() joins maps of different sizes, or cuts them")

    def _source(self, step: RecordedStep) -> tuple[int, tuple[int, int, int, int], float]:
        """Return the input layer of a window, its padding (left, right, above, below), and the padding value."""
        (source,) = step.inputs
        margins, fill = (0, 0, 0, 0), 0.0
        if source.is_padding:
            arguments = named(source, "input pad mode value")
            pad = (*arguments["pad"], 0, 0)
            margins, fill = pad[:4], float(arguments.get("value") or 0)
            if arguments.get("mode", "constant") != "constant" or min(pad) < 0 or any(pad[4:]):
                raise WholeImage("pad() repeats or crops its input")
            (source,) = source.inputs
        if source.is_padding:
            raise WholeImage("pad() follows pad()")
        number = self.number[source]
        if self.axes[number] != 2:
            raise WholeImage(f"{step.name}() along other axes")
        return number, margins, fill

    def _convolution(self, step: RecordedStep, folded: nn.Conv2d | None, **arguments: Any) -> Layer:
        number, margins, fill = self._source(step)
        layer: Any = folded
        if folded is None:
            weight, bias = arguments["weight"], arguments.get("bias")
            stride, dilation, groups = (
                as_pair(arguments.get("stride", 1)),
                as_pair(arguments.get("dilation", 1)),
                arguments.get("groups", 1),
            )
            size, padding = tuple(weight.shape[2:]), arguments.get("padding", 0)
        else:
            size, stride, dilation, padding = layer.kernel_size, layer.stride, layer.dilation, layer.padding
        reaches = tuple((k - 1) * d for k, d in zip(size, dilation, strict=True))
        if isinstance(padding, str):
            both_sides = (0, 0) if padding == "valid" else reaches
            before, after = tuple(n // 2 for n in both_sides), tuple(n - n // 2 for n in both_sides)
        else:
            before = after = as_pair(padding)
        if fill != 0:
            raise WholeImage("pad() before a convolution is not with zeros")
        left, right, top, bottom = margins
        if before[1] != after[1]:
            left, right, before = left + before[1], right + after[1], (before[0], 0)
        aside = (0, before[1])

        def run(rows: torch.Tensor) -> torch.Tensor:
            rows = F.pad(rows, (left, right)) if left or right else rows
            if folded is not None:
                convolved: torch.Tensor = layer.convolve(rows, aside)
                return convolved
            return F.conv2d(rows, weight, bias, stride, aside, dilation, groups)

        key = (step.name, number, size, stride, dilation, padding, margins)
        if (*size, *stride, left, right, top, bottom, *before) == (1, 1, 1, 1, 0, 0, 0, 0, 0, 0):
            return Layer(run, (number,), 2, key)
        return WindowLayer(run, (number,), 2, key, top + before[0], bottom + after[0], reaches[0], stride[0], 0.0)

    def _pool(self, step: RecordedStep) -> Layer:
        number, (left, right, top, bottom), fill = self._source(step)
        is_max = step.name == "max_pool2d"
        names = "input kernel_size stride padding " + (
            "dilation ceil_mode return_indices" if is_max else "ceil_mode count_include_pad divisor_override"
        )
        args = named(step, names)
        size, padding = as_pair(args["kernel_size"]), as_pair(args.get("padding", 0))
        stride, dilation = as_pair(args.get("stride") or size), as_pair(args.get("dilation", 1))
        unusual = {name: args[name] for name in ("ceil_mode", "count_include_pad", "divisor_override") if name in args}
        neutral = -float("inf") if is_max else 0.0
        is_padded = any((left, right, top, bottom))
        if is_padded and padding != (0, 0) and fill != neutral:
            raise WholeImage(f"{step.name}() pads twice, with different values")
        fill = fill if is_padded else neutral
        reach, above, below = (size[0] - 1) * dilation[0], top + padding[0], bottom + padding[0]
        if args.get("ceil_mode"):  # windows may extend beyond the end
            below = max(below, reach + 1 - stride[0] - above)
        missing = below - bottom - padding[0]
        if not is_max and (missing or (padding != (0, 0) and not args.get("count_include_pad", True))):
            raise WholeImage("avg_pool2d() does not count the padding")

        def run(rows: torch.Tensor) -> torch.Tensor:
            rows = F.pad(rows, (left, right), value=fill) if left or right else rows
            if is_max:
                return F.max_pool2d(rows, size, stride, (0, padding[1]), dilation, args.get("ceil_mode", False))
            return F.avg_pool2d(rows, size, stride, (0, padding[1]), **unusual)

        key = (step.name, number, size, stride, dilation, padding, (left, right, top, bottom), fill)
        return WindowLayer(run, (number,), 2, key, above, below, reach, stride[0], fill)

    def _upsampling(self, step: RecordedStep) -> Layer:
        (source,) = step.inputs
        arguments = named(step, "input size scale_factor mode align_corners recompute_scale_factor antialias")
        mode = arguments.get("mode", "nearest")
        number = self.number.get(source)
        if (
            number is None
            or self.axes[number] != 2
            or mode not in ("nearest", "nearest-exact", "bilinear")
            or arguments.get("align_corners")
        ):
            raise WholeImage(f"interpolate(mode={mode!r}) does not scale by whole factors")
        factor = step.shape[2] // source.shape[2]
        sizes = tuple(factor * n for n in source.shape[2:])
        if factor < 1 or sizes != step.shape[2:] or arguments.get("antialias"):
            raise WholeImage("interpolate() does not scale by whole factors")
        if factor == 1:
            return Layer(lambda rows: rows, (number,), 2, ("same", number))
        corners = False if mode == "bilinear" else None

        def run(rows: torch.Tensor) -> torch.Tensor:
            return F.interpolate(rows, scale_factor=factor, mode=mode, align_corners=corners)

        return UpsamplingLayer(run, (number,), 2, (mode, number, factor), factor, mode == "bilinear")

    def _local(self, step: RecordedStep) -> Layer:
        if any(source.is_padding for source in step.inputs):
            raise WholeImage(f"{step.name}() follows pad()")
        numbers = tuple(self.number[source] for source in step.inputs)
        axes = {self.axes[i] for i in numbers}
        axis = axes.pop()
        if axes or (len(numbers) > 1 and axis != 2) or not _is_of_a_pixel(step, axis):
            raise WholeImage(f"{step.name}() may depend on the whole image")
        if step.name == "permute":
            axis = 3 - axis
        constants = tuple(tuple(source.shape) for source in step.constants)
        numbers_given = tuple(source for source in step.args if isinstance(source, int | float))
        return Layer(_bound(step), numbers, axis, (step.name, numbers, constants, numbers_given))


def _is_of_a_pixel(step: RecordedStep, axis: int) -> bool:
    """Return whether a function of _OF_A_PIXEL works on each pixel alone with the arguments of this step."""
    name = step.name
    arguments = dict(step.kwargs)
    if name in ("batch_norm", "dropout", "dropout2d"):
        return not arguments.get("training", name != "batch_norm") and axis == 2
    if name in ("layer_norm", "linear"):
        shape = arguments.get("normalized_shape", step.args[1] if len(step.args) > 1 else ())
        return axis == 1 and (name == "linear" or len(shape) == 1)
    if name == "permute":
        order = tuple(arguments.get("dims", step.args[1] if len(step.args) == 2 else step.args[1:]))
        return order == (_TO_CHANNELS_LAST if axis == 2 else _TO_CHANNELS_FIRST)
    if name == "cat":
        return arguments.get("dim", step.args[1] if len(step.args) > 1 else 0) in (1, -3) and axis == 2
    if name == "getitem":
        index = step.args[1]
        is_channels = isinstance(index, tuple) and len(index) == 2 and isinstance(index[1], slice)
        return is_channels and index[0] == slice(None) and axis == 2
    return all(_is_same_everywhere(constant, axis) for constant in step.constants)


def _is_zero(value: object) -> bool:
    return isinstance(value, int) and value == 0


def _is_same_everywhere(constant: torch.Tensor, axis: int) -> bool:
    shape = (1,) * (4 - constant.ndim) + tuple(constant.shape)
    return shape[axis] == shape[axis + 1] == 1


def _bound(step: RecordedStep) -> Callable[..., torch.Tensor]:
    """Return the step as a function of its inputs that does not change them in place."""
    function, kwargs = step.function, dict(step.kwargs)
    assert function is not None
    name = getattr(function, "__name__", "")
    if name.startswith("__i"):
        function = getattr(operator, step.name)
    elif name.endswith("_") and not name.startswith("__"):
        function = getattr(torch.Tensor, step.name)
    if "inplace" in kwargs:
        kwargs["inplace"] = False
    rest = step.args[1:]
    if step.name == "cat":
        return lambda *rows: function(rows, *rest, **kwargs)
    places = [i for i, argument in enumerate(step.args) if isinstance(argument, RecordedStep)]
    if len(places) != len(step.inputs):
        raise WholeImage(f"{step.name}() takes its maps in an unsupported way")
    if places == [0]:
        return lambda rows: function(rows, *rest, **kwargs)
    template = list(step.args)

    def run(*rows: torch.Tensor) -> torch.Tensor:
        args = template.copy()
        for place, argument in zip(places, rows, strict=True):
            args[place] = argument
        result: torch.Tensor = function(*args, **kwargs)
        return result

    return run
