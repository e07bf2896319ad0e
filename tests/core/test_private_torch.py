import pytest
import torch

from supercuts.core.private_torch import has_bfloat16


@pytest.mark.parametrize("answer", [True, False])
def test_torch_before_2_11_is_asked_for_bfloat16_in_another_way(monkeypatch, answer):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: answer, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert has_bfloat16() == answer


def test_without_an_answer_there_is_no_bfloat16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not has_bfloat16()
