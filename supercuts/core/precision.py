"""The number type that convolutions and products are fastest in.

In   a device of torch
Out  torch.bfloat16 where the processor or GPU computes with it, else torch.float32; a context that computes in it
Not  no casting of weights
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def fastest(device: "torch.device") -> "torch.dtype":
    """Return bfloat16 where there are instructions for it, else float32.

    Without them torch emulates bfloat16: on processors that have AVX2 alone that takes eight times as long as float32.
    ONEDNN_MAX_CPU_ISA can keep oneDNN, which convolves for torch, from using them.
    """
    import torch  # takes long

    from supercuts.core.private_torch import has_bfloat16

    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_fast = device.type == "cpu" and has_bfloat16()
    return torch.bfloat16 if is_fast else torch.float32


def autocast(device: "torch.device") -> AbstractContextManager[None]:
    """Return a context in which torch computes in the fastest type, whatever the caller's context says."""
    import torch

    dtype = fastest(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
