import pytest
import torch

from supercuts.core.precision import autocast, fastest

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True, "avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32), ({}, torch.float32)],
    ids=["bfloat16", "avx2", "none"],
)
def test_bfloat16_only_where_the_processor_has_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fastest(CPU) == expected
    with torch.autocast("cpu", dtype=torch.bfloat16), autocast(CPU):  # whatever a caller has switched on
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_gpus_are_asked_whether_they_have_it(monkeypatch):
    for answer, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, answer=answer: answer)
        assert fastest(torch.device("cuda")) == expected


def test_other_devices_compute_in_float32():
    assert fastest(torch.device("mps")) == torch.float32
