"""Record the functions that a torch network applies during one run on a small image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(slots=True, eq=False)
class RecordedStep:
    """One call: `function(*args, **kwargs)` returned a tensor of shape `shape`.

    function  None for the example itself
    module    the innermost watched module that made the call
    """

    function: Callable[..., Any] | None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    module: nn.Module | None = None

    @property
    def name(self) -> str:
        """The function's name, which is the same for a function, a method, an operator and in-place variants."""
        name = getattr(self.function, "__name__", str(self.function))
        if name.startswith("__") and name.endswith("__"):
            name = name.strip("_")
            return name[1:] if name in ("iadd", "isub", "imul", "itruediv") else name
        return name.removesuffix("_")

    @property
    def is_padding(self) -> bool:
        """Whether the step is torch.nn.functional.pad()."""
        return self.function is not None and self.name == "pad"

    @property
    def inputs(self) -> list["RecordedStep"]:
        """The steps whose tensors this step takes."""
        return [argument for argument in _flat((self.args, self.kwargs)) if isinstance(argument, RecordedStep)]

    @property
    def constants(self) -> list[torch.Tensor]:
        """The tensors that do not depend on the example, such as weights."""
        return [argument for argument in _flat((self.args, self.kwargs)) if isinstance(argument, torch.Tensor)]


class _Recorded(torch.Tensor):
    """A tensor that records the functions applied to it."""

    plain: torch.Tensor
    step: RecordedStep
    log: Any  # a _Log

    @classmethod
    def __torch_function__(
        cls, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        log = next(argument for argument in _flat((args, kwargs)) if isinstance(argument, cls)).log
        unwrapped = _mapped((args, kwargs), lambda argument: argument.plain if isinstance(argument, cls) else argument)
        result = function(*unwrapped[0], **unwrapped[1])
        for argument in _flat((args, kwargs)):
            if isinstance(argument, cls) and result is argument.plain:  # changed in place
                argument.step = log.add(function, args, kwargs, result)
                return argument
        if isinstance(result, torch.Tensor):
            return log.wrap(result, log.add(function, args, kwargs, result))
        if isinstance(result, tuple | list) and any(isinstance(argument, torch.Tensor) for argument in result):
            return log.wrap_all(result, function, args, kwargs)
        return result  # such as a size or a type, which does not depend on the values


class _Log:
    def __init__(self) -> None:
        self.steps: list[RecordedStep] = []
        self.modules: list[nn.Module] = []  # modules that are running, innermost last

    def add(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> RecordedStep:
        args, kwargs = _mapped((args, kwargs), lambda x: x.step if isinstance(x, _Recorded) else x)
        shape = tuple(result.shape) if isinstance(result, torch.Tensor) else ()
        self.steps.append(RecordedStep(function, args, kwargs, shape, self.modules[-1] if self.modules else None))
        return self.steps[-1]

    def wrap(self, tensor: torch.Tensor, step: RecordedStep) -> _Recorded:
        recorded = tensor.as_subclass(_Recorded)
        recorded.plain, recorded.step, recorded.log = tensor, step, self
        return recorded

    def wrap_all(self, results: Sequence[Any], function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        call = self.add(function, args, kwargs, None)
        parts = []
        for i, result in enumerate(results):
            self.steps.append(RecordedStep(_part, (call, i), {}, tuple(result.shape), call.module))
            parts.append(self.wrap(result, self.steps[-1]))
        return parts if isinstance(results, list) else tuple(parts)


def record(
    function: Callable[[torch.Tensor], Any], example: torch.Tensor, watched: nn.Module | None = None
) -> tuple[list[RecordedStep], list[RecordedStep]]:
    """Return the steps in order, the example first, and the steps whose tensors the function returns.

    watched: a module whose submodules are recorded with the steps; no other thread may run it during the recording.
    """
    log = _Log()
    log.steps.append(RecordedStep(None, shape=tuple(example.shape)))
    handles = []

    def leave(*_: Any) -> None:
        log.modules.pop()

    for module in [] if watched is None else watched.modules():
        handles.append(module.register_forward_pre_hook(lambda value, _: log.modules.append(value)))
        handles.append(module.register_forward_hook(leave))
    try:
        with torch.inference_mode():
            outputs = function(log.wrap(example, log.steps[0]))
    finally:
        for handle in handles:
            handle.remove()
    return log.steps, [value.step for value in _flat(outputs) if isinstance(value, _Recorded)]


def users(steps: Sequence[RecordedStep]) -> dict[RecordedStep, list[RecordedStep]]:
    """Return, for each step, the steps that take its tensor."""
    users_of: dict[RecordedStep, list[RecordedStep]] = {step: [] for step in steps}
    for step in steps:
        for source in step.inputs:
            users_of[source].append(step)
    return users_of


def convolution(step: RecordedStep) -> nn.Conv2d | None:
    """Return a conv2d step as a layer that pads opposite sides equally; None if that is not possible.

    Unequal padding by the step's module, as in TensorFlow, becomes rows and columns of zeros in the kernel.
    """
    arguments = named(step, "input weight bias stride padding dilation groups")
    if step.name != "conv2d" or not isinstance(arguments["weight"], torch.Tensor):
        return None
    weight, bias, dilation = arguments["weight"].clone(), arguments.get("bias"), as_pair(arguments.get("dilation", 1))
    sides = _padding(step, arguments)
    if sides is None or any((after - before) % d for (before, after), d in zip(sides, dilation, strict=True)):
        return None
    extra = [(after - before) // d for (before, after), d in zip(sides, dilation, strict=True)]
    (above, below), (left, right) = ((max(n, 0), max(-n, 0)) for n in extra)
    weight = F.pad(weight, (left, right, above, below))
    padding, stride, groups = (
        as_pair([max(side) for side in sides]),
        as_pair(arguments.get("stride", 1)),
        arguments.get("groups", 1),
    )
    n_out, n_in, size = weight.shape[0], weight.shape[1], as_pair(weight.shape[2:])
    layer = nn.Conv2d(n_in * groups, n_out, size, stride, padding, dilation, groups, bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return layer.eval()


def _padding(step: RecordedStep, arguments: Mapping[str, Any]) -> list[tuple[int, int]] | None:
    """Return the number of zeros before and after each of both axes; None if other values are padded."""
    padding, source = arguments.get("padding", 0), step.inputs[0]
    if isinstance(padding, str):
        return None
    sides = [(pad, pad) for pad in as_pair(padding)]
    if not source.is_padding or source.module is not step.module:
        return sides
    pad = named(source, "input pad mode value")
    if pad.get("mode", "constant") != "constant" or pad.get("value") or len(pad["pad"]) != 4 or min(pad["pad"]) < 0:
        return None
    left, right, top, bottom = pad["pad"]
    return [(sides[0][0] + top, sides[0][1] + bottom), (sides[1][0] + left, sides[1][1] + right)]


def named(step: RecordedStep, names: str) -> dict[str, Any]:
    """Return the arguments of a step by name; omitted arguments are missing."""
    return dict(zip(names.split(), step.args, strict=False)) | dict(step.kwargs)


def as_pair(value: Any) -> tuple[int, int]:
    """Return a size as a pair of both axes; layers may hold it as one number."""
    first, last = (value, value) if isinstance(value, int) else (tuple(value) * 2)[:2]
    return int(first), int(last)


def _part(results: Sequence[torch.Tensor], i: int) -> torch.Tensor:
    return results[i]


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, Mapping):
        yield from _flat(list(value.values()))
    else:
        yield value


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, tuple | list):
        mapped = [_mapped(item, function) for item in value]
        return mapped if isinstance(value, list) else tuple(mapped)
    if isinstance(value, Mapping):
        return {name: _mapped(item, function) for name, item in value.items()}
    return function(value)
