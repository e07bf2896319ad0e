"""Use private functions of torch, each with a public fallback, and choose the fastest number type for convolutions.

Written for torch 2.6 to 2.14. If a later version lacks one of these functions, results stay correct, but computation is
slower or `stable_conv2d` loses its fixed order of sums.
"""

import functools
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from llvmlite.binding import get_host_cpu_features

if TYPE_CHECKING:
    import torch
    from torch import nn


def has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 instructions and oneDNN, torch's convolution library, uses them."""
    import torch  # slow to import

    capabilities = getattr(torch.cpu, "get_capabilities", None)  # public since torch 2.11
    if capabilities is not None:
        has_instructions = bool(capabilities().get("avx512_bf16", False))
    else:
        has_instructions = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
    # torch's compiler calls this too; it is also true of processors on which oneDNN emulates bfloat16
    is_supported = bool(getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)())
    return has_instructions and is_supported and _permits_bfloat16()


def will_have_bfloat16() -> bool:
    """Return what has_bfloat16 will return, without importing torch."""
    return bool(get_host_cpu_features().get("avx512bf16", False)) and _permits_bfloat16()


def _permits_bfloat16() -> bool:
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()  # the best instructions that oneDNN may use
    return limit in ("", "ALL", "DEFAULT") or any(name in limit for name in ("BF16", "FP16", "AMX", "AVX10"))


@functools.cache
def fused_conv2d() -> Any:
    """Return oneDNN's convolution that applies an elementwise function to its result, or None if there is none.

    Torch's compiler calls this function. Return None too if its arguments are not those of torch 2.6 to 2.14.
    """
    import torch

    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    function: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None) if has_onednn else None
    x, weight = (torch.ones(1, 1, side, side, dtype=torch.float32, device="cpu") for side in (2, 1))
    try:
        results = [function(x, sign * weight, None, [0, 0], [1, 1], [1, 1], 1, "relu", [], "") for sign in (1, -1)]
    except Exception:  # a later torch may raise any type
        return None
    return function if torch.equal(results[0], x) and not results[1].any() else None


def stable_conv2d(
    x: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None", stride: Sequence[int],
    padding: str | Sequence[int], dilation: Sequence[int], groups: int, function: str = "none",
    bounds: Sequence[float] = (),
) -> "torch.Tensor":  # fmt: skip
    """Return torch.nn.functional.conv2d with an order of sums that depends on neither threads nor the map's size.

    In float32 torch chooses between two libraries by the number of threads and the size of the map, and oneDNN chooses
    the order of a dilated convolution by the share of padding in the map. In bfloat16 only oneDNN is available.

    function, bounds  function applied to the result: "none", "relu", or "hardtanh" with its bounds
    """
    import torch
    import torch.nn.functional as F

    is_fusable = x.device.type == "cpu" and x.dtype == weight.dtype and not torch.compiler.is_compiling()
    fused = fused_conv2d() if is_fusable else None
    in_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if fused is None or isinstance(padding, str) or not (in_float32 or function != "none"):
        y = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        if function == "none":
            return y
        return y.relu_() if function == "relu" else y.clamp_(*bounds)
    if in_float32 and max(dilation) > 1:
        x, padding = F.pad(x, (padding[1], padding[1], padding[0], padding[0])), (0, 0)
    convolved: torch.Tensor = fused(x, weight, bias, padding, stride, dilation, groups, function, list(bounds), "")
    return convolved


def is_watched(module: "nn.Module") -> bool:
    """Return whether a module has forward hooks."""
    return any(getattr(module, name, None) for name in ("_forward_hooks", "_forward_pre_hooks"))


def tensors_of(modules: "Sequence[nn.Module]") -> "list[torch.Tensor]":
    """Return the modules' own parameters and buffers, several times faster than nn.Module.parameters()."""
    tensors: list[torch.Tensor] = []
    for module in modules:
        parameters, buffers = getattr(module, "_parameters", None), getattr(module, "_buffers", None)
        if parameters is None or buffers is None:
            tensors += [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        else:
            tensors += [tensor for tensor in (*parameters.values(), *buffers.values()) if tensor is not None]
    return tensors


def version_of(tensor: "torch.Tensor") -> int:
    """Return a number that grows with each in-place change of a tensor; 0 if torch does not count changes."""
    return 0 if tensor.is_inference() else int(getattr(tensor, "_version", 0))


# fewer values than torch splits among threads; a multiple of the vector length
_PIECE, _AT_ONCE = 1 << 14, 64


def fastest(device: "torch.device") -> "torch.dtype":
    """Return bfloat16 if the device has instructions for it, else float32.

    Without them torch emulates bfloat16, which takes eight times as long as float32 on processors with only AVX2.
    ONEDNN_MAX_CPU_ISA can prevent oneDNN, torch's convolution library, from using them.
    """
    import torch  # slow to import

    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_fast = device.type == "cpu" and has_bfloat16()
    return torch.bfloat16 if is_fast else torch.float32


def autocast(device: "torch.device") -> AbstractContextManager[None]:
    """Return a context in which torch computes in the fastest type, whatever the caller's context."""
    import torch

    dtype = fastest(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def sigmoid(logits: "torch.Tensor") -> "torch.Tensor":
    """Return the sigmoid of float32 logits, rounded the same for any layout, number of values and number of threads.

    Torch computes most values in vectors. It computes the last values of each thread, and those of non-contiguous maps,
    one by one, which rounds 4 % of them differently.
    """
    import torch

    if logits.device.type != "cpu":
        return logits.sigmoid()
    flat = logits.contiguous().view(-1)
    n_whole = flat.numel() // _AT_ONCE * _AT_ONCE
    out = flat.new_empty(n_whole + _AT_ONCE)  # the host's default type or device may be another
    for start in range(0, n_whole, _PIECE):
        end = min(start + _PIECE, n_whole)
        torch.sigmoid(flat[start:end], out=out[start:end])
    rest = flat.new_zeros(_AT_ONCE)
    rest[: flat.numel() - n_whole] = flat[n_whole:]
    torch.sigmoid(rest, out=out[n_whole:])
    return out[: flat.numel()].view(logits.shape)
