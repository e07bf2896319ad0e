import os
import subprocess
import sys

import pytest
import torch

from supercuts.core.precision import autocast, fastest, sigmoid

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True, "avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32), ({}, torch.float32)],
    ids=["bfloat16", "avx2", "none"],
)
def test_bfloat16_only_where_the_processor_has_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert fastest(CPU) == expected
    with torch.autocast("cpu", dtype=torch.bfloat16), autocast(CPU):  # whatever a caller has switched on
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_gpus_are_asked_whether_they_have_it(monkeypatch):
    for answer, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, answer=answer: answer)
        assert fastest(torch.device("cuda")) == expected


def test_other_devices_compute_in_float32():
    assert fastest(torch.device("mps")) == torch.float32


def test_a_limit_of_onednn_is_obeyed():
    program = "import torch; from supercuts.core.precision import fastest; print(fastest(torch.device('cpu')))"
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
