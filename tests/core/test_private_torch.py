import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from supercuts.core import private_torch
from supercuts.core.private_torch import (
    autocast,
    fastest,
    has_bfloat16,
    is_watched,
    sigmoid,
    stable_conv2d,
    tensors_of,
    version_of,
    will_have_bfloat16,
)


@pytest.mark.parametrize("answer", [True, False])
def test_torch_before_2_11_reports_bfloat16_differently(monkeypatch, answer):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: answer, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert has_bfloat16() == answer


def test_without_a_report_bfloat16_is_not_used(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not has_bfloat16()


@pytest.mark.parametrize("limit", [None, "AVX2", "AVX512_CORE", "AVX512_CORE_AMX"])
def test_bfloat16_is_known_before_torch_is_imported(monkeypatch, limit):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    # torch's own answer depends on the variable at its import
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert will_have_bfloat16() == has_bfloat16()
    if limit in ("AVX2", "AVX512_CORE"):
        assert not has_bfloat16()


@pytest.fixture(params=["fused", "public"])
def fallback(request, monkeypatch):
    """Remove the private functions in one of two runs."""
    if request.param == "public":
        monkeypatch.setattr(private_torch, "fused_conv2d", lambda: None)


@pytest.mark.usefixtures("fallback")
@pytest.mark.parametrize(("function", "bounds"), [("none", ()), ("relu", ()), ("hardtanh", (0.0, 6.0))])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation", "groups"),
    [(1, 1, 0, 1, 1), (3, 2, 1, 1, 1), (3, 1, 4, 4, 1), (3, 1, 6, 6, 8), (3, 1, "same", 1, 1)],
)
def test_convolution_is_that_of_torch(size, stride, padding, dilation, groups, function, bounds):
    x, weight = torch.randn(1, 8, 25, 38), torch.randn(8, 8 // groups, size, size)
    sides = padding if isinstance(padding, str) else [padding] * 2
    y = stable_conv2d(x, weight, None, [stride] * 2, sides, [dilation] * 2, groups, function, bounds)
    expected = F.conv2d(x, weight, None, stride, padding, dilation, groups)
    limits = {"none": (None, torch.inf), "relu": (0, torch.inf), "hardtanh": (0, 6)}[function]
    torch.testing.assert_close(y, expected.clamp(*limits), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("other", [None, lambda x: x, lambda x, *_: x])
def test_without_a_fused_convolution_plain_layers_are_used(monkeypatch, other):
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", other)
    assert private_torch.fused_conv2d.__wrapped__() is None


def test_this_torch_convolves_and_rectifies_at_once():
    assert private_torch.fused_conv2d() is not None


@pytest.mark.parametrize("dilation", [1, 2, 4, 6, 8])
def test_sums_do_not_depend_on_threads_and_rows(dilation):
    x = torch.randn(1, 24, 25, 38).contiguous(memory_format=torch.channels_last)
    weight, n_threads, both = torch.randn(24, 24, 3, 3), torch.get_num_threads(), [dilation] * 2
    padded = F.pad(x, (0, 0, dilation, dilation))
    results = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            results.append(stable_conv2d(x, weight, None, [1, 1], both, both, 1))
            parts = [padded[:, :, y : y + 5 + 2 * dilation] for y in range(0, 25, 5)]
            rows = [stable_conv2d(part, weight, None, [1, 1], [0, dilation], both, 1) for part in parts]
            results.append(torch.cat(rows, 2))
    finally:
        torch.set_num_threads(n_threads)
    assert all(torch.equal(sums, results[0]) for sums in results[1:])


def test_a_module_is_watched_while_a_hook_is_there():
    module = nn.Linear(2, 2)
    assert not is_watched(module)
    handle = module.register_forward_hook(lambda *_: None)
    assert is_watched(module)
    handle.remove()
    assert not is_watched(module)


def test_tensors_are_parameters_and_buffers():
    modules = list(nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2)).modules())
    expected = {id(tensor) for tensor in (*modules[0].parameters(), *modules[0].buffers())}
    assert {id(tensor) for tensor in tensors_of(modules)} == expected
    assert len(expected) == 6


def test_versions_grow_with_changes():
    tensor = torch.zeros(2)
    before = version_of(tensor)
    tensor.add_(1)
    assert version_of(tensor) > before
    with torch.inference_mode():
        assert version_of(torch.zeros(2)) == 0


def test_tensors_and_versions_without_private_attributes():
    class Public:
        """Has the public methods of a module."""

        def __init__(self, module):
            self.parameters, self.buffers = module.parameters, module.buffers

    norm = nn.BatchNorm2d(2)
    assert [id(tensor) for tensor in tensors_of([Public(norm)])] == [id(tensor) for tensor in tensors_of([norm])]


def test_no_other_module_uses_private_names_of_torch():
    package = Path(__file__).parents[2] / "supercuts"
    plain = r"\btorch\.(\w+\.)*_[a-z]\w*|\btorch\._C|\._(parameters|buffers|modules|version|forward_(pre_)?hooks)\b"
    private = re.compile(plain + r"|getattr\([^\n]*, \"_[a-z]")
    uses = {path.name for path in package.rglob("*.py") if private.search(path.read_text(encoding="utf-8"))}
    assert uses == {"private_torch.py"}


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True, "avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32), ({}, torch.float32)],
    ids=["bfloat16", "avx2", "none"],
)
def test_bfloat16_only_where_the_processor_has_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert fastest(CPU) == expected
    with torch.autocast("cpu", dtype=torch.bfloat16), autocast(CPU):  # whatever modes a caller has switched on
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_gpus_are_asked_whether_they_have_it(monkeypatch):
    for answer, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, answer=answer: answer)
        assert fastest(torch.device("cuda")) == expected


def test_other_devices_compute_in_float32():
    assert fastest(torch.device("mps")) == torch.float32


def test_a_limit_of_onednn_is_obeyed():
    program = "import torch; from supercuts.core.private_torch import fastest; print(fastest(torch.device('cpu')))"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.float32"


def test_probabilities_depend_on_each_logit_alone():
    logits = 4 * torch.randn(3, 211, 301, generator=torch.Generator().manual_seed(0))
    whole, n_threads = sigmoid(logits), torch.get_num_threads()
    torch.testing.assert_close(whole, logits.sigmoid(), rtol=1e-6, atol=0)
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            assert torch.equal(sigmoid(logits), whole)
            assert torch.equal(sigmoid(logits.permute(2, 1, 0)).permute(2, 1, 0), whole)
            assert torch.equal(sigmoid(logits[:, 5:110, 3:150]), whole[:, 5:110, 3:150])
    finally:
        torch.set_num_threads(n_threads)
    assert sigmoid(logits[:0]).shape == (0, 211, 301)
