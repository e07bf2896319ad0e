"""`python train_ssn_dino.py` as a user runs it: on BSDS500, with an official file of weights, killed, started again."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch

from supercuts.networks.files import load_network

SCRIPT = Path(__file__).parents[1] / "train_ssn_dino.py"
SMALL = (  # otherwise the recipe of the default configuration
    "max_steps=6",
    "checkpoint_steps=2",
    "batch_size=2",
    "data.crop_px=96",
    "validation.every_steps=6",
    "validation.images=1",
    "validation.superpixels=[200]",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of ViT-S/16 in the official file's format: a plain state dict."""
    path = tmp_path_factory.mktemp("official") / "dino_deitsmall16_pretrain.pth"
    torch.manual_seed(3)
    torch.save(timm.create_model("vit_small_patch16_224.dino", num_classes=0).state_dict(), path)
    return path


def start(data_root: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), f"out={out}", f"data.root={data_root}", *arguments]
    # one thread: sums are then taken in the same order in every run
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors


@pytest.mark.dataset
@pytest.mark.timeout(600)
def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(data_root, weights, tmp_path):
    arguments = (*SMALL, f"backbone_weights={weights}")
    finish(start(data_root, tmp_path / "whole", *arguments))
    checkpoint = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    process = start(data_root, tmp_path / "cut", *arguments)
    while not checkpoint.is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    assert torch.load(checkpoint, weights_only=True)["global_step"] < 6
    finish(start(data_root, tmp_path / "cut", *arguments))
    whole, cut = (load_network(tmp_path / name / "model.safetensors")[0].state_dict() for name in ("whole", "cut"))
    for name, value in whole.items():
        assert torch.equal(cut[name], value), name
    start_weights = torch.load(weights, weights_only=True)
    block = "blocks.{}.attn.qkv.weight"
    prefix = "backbone.vit.model."
    assert torch.equal(whole[prefix + block.format(9)], start_weights[block.format(9)])  # frozen
    assert not torch.equal(whole[prefix + block.format(10)], start_weights[block.format(10)])  # fine-tuned


@pytest.mark.dataset
def test_without_network_and_file_it_stops_at_once_with_a_remedy(data_root, tmp_path, monkeypatch, capfd):
    started = time.monotonic()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), f"out={tmp_path / 'run'}", f"data.root={data_root}"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    errors = capfd.readouterr().err
    assert stop.value.code == 2
    assert "backbone_weights=PATH" in errors
    assert "https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth" in errors
    assert "Traceback" not in errors
    assert time.monotonic() - started < 60
    assert not (tmp_path / "run").exists()
