"""Functions of torch that are not public, each with what is done without it.

In   nothing
Out  what the processor can do
Not  no computing
"""


def has_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16 and oneDNN, which convolves for torch, uses them."""
    import torch  # takes long

    capabilities = getattr(torch.cpu, "get_capabilities", None)  # public since torch 2.11
    if capabilities is not None:
        has_instructions = bool(capabilities().get("avx512_bf16", False))
    else:
        has_instructions = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
    # torch's own compiler asks this; ONEDNN_MAX_CPU_ISA decides it as well
    return has_instructions and bool(getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)())
