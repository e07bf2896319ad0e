"""The number type that convolutions and products are fastest in.

In   a device of torch; logits
Out  torch.bfloat16 where the processor or GPU computes with it, else torch.float32; a context that computes in it;
     probabilities, each of which depends on its logit alone
Not  no casting of weights
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# fewer values than torch divides among threads, and a multiple of the number that it computes at once
_PIECE, _AT_ONCE = 1 << 14, 64


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


def sigmoid(logits: "torch.Tensor") -> "torch.Tensor":
    """Return the sigmoid of float32 logits, rounded the same for any layout, number of values and number of threads.

    Torch computes most values several at once. The last ones of each thread, and those of maps whose pixels do not lie
    side by side, it computes one by one, which rounds 4 % of them differently.
    """
    import torch

    if logits.device.type != "cpu":
        return logits.sigmoid()
    flat = logits.contiguous().view(-1)
    n_whole = flat.numel() // _AT_ONCE * _AT_ONCE
    out = torch.empty(n_whole + _AT_ONCE)
    for start in range(0, n_whole, _PIECE):
        end = min(start + _PIECE, n_whole)
        torch.sigmoid(flat[start:end], out=out[start:end])
    rest = torch.zeros(_AT_ONCE)
    rest[: flat.numel() - n_whole] = flat[n_whole:]
    torch.sigmoid(rest, out=out[n_whole:])
    return out[: flat.numel()].view(logits.shape)
