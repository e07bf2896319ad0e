"""A training run of an SSN on Lightning's Trainer, from the configuration to the weights.

In   TrainConfig
Out  the run's folder: config.yaml, checkpoints, logs, validation.csv, pictures, model.safetensors and its card model.md
Not  no calibration of levels, no benchmark figures (benchmarks/)
"""

import logging
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from supercuts.core.config import save_resolved
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path, package_version, remove_leftovers
from supercuts.core.private_torch import fastest
from supercuts.networks.files import load_network, make_ssn, save_network
from supercuts.networks.ssn_config import SSNConfig
from supercuts.networks.torch_network import TorchNetwork
from supercuts.training.callbacks import (
    Averaging,
    KeepBest,
    KeepLast,
    SafeCheckpoints,
    StepBar,
    StopEarly,
    ValidationReport,
)
from supercuts.training.module import SSNTraining
from supercuts.training.samples import (
    CropStream,
    ValidationImages,
    make_dataset,
    training_samples,
    validation_samples,
)
from supercuts.training.training_config import TrainConfig


def write_card(
    config: TrainConfig, curve: Sequence[Mapping[str, float]], steps: int, seconds: float, n_images: int
) -> Path:
    """Write the model card and return its path; `seconds` count from the last start of the run."""
    path = config.out / "model.md"
    with atomic_path(path) as temporary:
        temporary.write_text(_card(config, curve, steps, seconds, n_images), encoding="utf-8")
    return path


def _card(config: TrainConfig, curve: Sequence[Mapping[str, float]], steps: int, seconds: float, n_images: int) -> str:
    facts = {
        "network": f"SSN on {config.model.backbone}",
        "data": f"{config.data.split}, {n_images} images",
        "steps": f"{steps} of {config.batch_size} crops of {config.data.crop_px} px",
        "seed": config.seed,
        "started from": config.init or "new weights",
        "time": f"{seconds / 60:.0f} minutes since the last start, on {_device()}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "code": f"supercuts {package_version()}, commit {_commit()}",
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    recipe = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return (
        f"# {config.out.name}\n\n| | |\n|---|---|\n{rows}\n\n{_scores(curve)}\n"
        f'Load it with `supercuts.load("{config.out / "model.safetensors"}")`.\n\n## Recipe\n\n```yaml\n{recipe}```\n'
    )


def _scores(curve: Sequence[Mapping[str, float]]) -> str:
    if not curve:
        return "No validation: the weights are the averaged ones of the last step.\n"
    best = max(curve, key=lambda point: point["val_asa"])
    names = [name for name in best if name != "step"]
    rows = "\n".join(f"| {name.removeprefix('val_')} | {best[name]:.4f} | {curve[-1][name]:.4f} |" for name in names)
    head = f"| validation | step {best['step']:.0f} (these) | step {curve[-1]['step']:.0f} (last) |\n|---|---|---|"
    return (
        "The weights are the averaged ones with the best ASA on the validation split, mean over all annotators.\n\n"
        f"{head}\n{rows}\n"
    )


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, threads: {torch.get_num_threads()}"


def _commit() -> str:
    """Return the commit of the code if it runs from a checkout."""
    folder = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return result.stdout.strip() if result.returncode == 0 else "unknown"


_EXPECTED = (
    "Checkpoint directory .* exists and is not empty",  # a resumed run finds its own checkpoints
    ".*does not have many workers",  # crops are quick to make, and each worker holds all photographs
    ".*in eval mode at the start of training",  # frozen blocks stay in eval mode on purpose
    ".*LeafSpec.* is deprecated",
)


def train_ssn(config: TrainConfig) -> Path:
    """Train as configured, resuming from the run's last checkpoint if there is one; return model.safetensors.

    The weights are averaged over steps. They come from the best validation or, without validation, from the last step.
    Processes started by torchrun share each batch; the result does not depend on their number.
    """
    _check_parts(config)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # at INFO it advertises other products
    is_judged = config.validation.every_steps is not None and config.data.split == "train"
    if is_judged:  # the problems of both splits in one list
        make_dataset(config.data, "train+val")
    samples = training_samples(config.data, is_checked=is_judged)
    judges = validation_samples(config.data, is_checked=True)[: config.validation.images] if is_judged else ()
    checkpoints = config.out / "checkpoints"
    last = checkpoints / "last.ckpt"
    L.seed_everything(config.seed, verbose=False)
    # before the photographs are read, so that unavailable weights stop the run at once
    network = make_network(config, is_resumed=last.is_file())
    stream = CropStream(samples, config.data, config.seed)
    _check_channels(network, stream)
    config.out.mkdir(parents=True, exist_ok=True)
    save_resolved(config, config.out / "config.yaml")
    module = SSNTraining(config, network, stream, ValidationImages(judges) if judges else None)
    if config.compile:
        network.compile()  # in place, so that the names of its weights stay the same
    trainer = _make_trainer(config, bool(judges), _plan(config, len(samples), len(judges)))
    started = time.monotonic()
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        if trainer.is_global_zero:
            for folder in (config.out, checkpoints, config.out / "pictures"):
                remove_leftovers(folder)
        trainer.fit(module, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    final = config.out / "model.safetensors"
    if trainer.is_global_zero:
        if judges and (checkpoints / "best.ckpt").is_file():
            best = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)
            module.load_state_dict(best["state_dict"])
        save_network(final, module.network, levels={})
        write_card(config, module.curve, trainer.global_step, time.monotonic() - started, len(samples))
    return final


def _check_channels(network: TorchNetwork, stream: CropStream) -> None:
    if (n_channels := len(stream.images[0])) != network.config.channels:
        raise InputError(
            f"images of {n_channels} channels do not fit a network for {network.config.channels}. Give images of "
            f"{network.config.channels} channels, or train with model.channels={n_channels}."
        )


def _plan(config: TrainConfig, n_images: int, n_judged: int) -> dict[str, object]:
    """Return facts on a run by name, for the user."""
    every = f", {n_judged} for validation every {config.validation.every_steps} steps" if n_judged else ""
    return {
        "data": f"{config.data.folder or 'BSDS500'}, split {config.data.split}: {n_images} images{every}",
        "device": f"{_device()}, {_precision(config)}",
        "run": config.out,
    }


def make_network(config: TrainConfig, is_resumed: bool = False) -> TorchNetwork:
    """Return the network to train: the one of `init`, or a new one with the pretrained weights of its backbone.

    A resumed run takes all weights from its checkpoint, so no pretrained weights are read.
    """
    if config.init is not None:
        network, _ = load_network(config.init)
        return (network if config.model in (SSNConfig(), network.config) else _extend(network, config)).train()
    network = make_ssn(config.model)
    load = getattr(network.backbone, "load_pretrained", None)
    if load is not None and not is_resumed and config.backbone_weights != "random":
        load(config.backbone_weights)
    return network.train()


def _extend(network: TorchNetwork, config: TrainConfig) -> TorchNetwork:
    """Return a network with the settings `config.model` and all weights of `network`; added parts are new."""
    larger = make_ssn(config.model)
    tensors, expected = network.state_dict(), larger.state_dict()
    if any(name not in expected or expected[name].shape != value.shape for name, value in tensors.items()):
        raise InputError(
            f"init={config.init} is a network with {network.config}, but model asks for {config.model}. "
            "Leave out one of the two, or let the model only add parts (context_channels, region_channels)."
        )
    larger.load_state_dict(tensors, strict=False)
    return larger


def _precision(config: TrainConfig) -> Any:
    """Return the precision in Lightning's terms, "auto" resolved for the device that it will choose."""
    if config.precision != "auto":
        return config.precision
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return "32-true" if fastest(device) == torch.float32 else "bf16-mixed"


def _make_trainer(config: TrainConfig, is_judged: bool, plan: Mapping[str, object] = MappingProxyType({})) -> L.Trainer:
    local, world = _processes()
    on_cpus = world > 1 and not torch.cuda.is_available()
    plugins: list[Any] = [SafeCheckpoints()]
    if on_cpus:
        from supercuts.training.callbacks import GlooSync

        plugins.append(GlooSync())
    every = config.validation.every_steps
    return L.Trainer(
        max_steps=config.max_steps,
        max_epochs=-1,
        precision=_precision(config),
        accelerator="auto",
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        sync_batchnorm=world > 1 and not on_cpus,
        plugins=plugins,
        accumulate_grad_batches=config.accumulate,
        val_check_interval=every * config.accumulate if every and is_judged else None,
        limit_val_batches=None if is_judged else 0,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=[StepBar(plan), *_callbacks(config, is_judged)],
        logger=[TensorBoardLogger(config.out / "tensorboard", name=""), CSVLogger(config.out / "csv", name="")],
        log_every_n_steps=config.log_steps,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _callbacks(config: TrainConfig, is_judged: bool) -> list[Callback]:
    folder = config.out / "checkpoints"
    callbacks: list[Callback] = [Averaging(config.ema_decay)]
    if is_judged:
        callbacks += [ValidationReport(config.out), KeepBest(folder)]
        if config.validation.patience is not None:
            callbacks.append(StopEarly(config.validation.patience))
    judged_every = (config.validation.every_steps or 0) if is_judged else 0
    return [*callbacks, KeepLast(folder, config.checkpoint_steps, judged_every, config.max_steps)]


def _processes() -> tuple[int, int]:
    """Return the number of processes that torchrun started on this machine, and in total."""
    world = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    return (int(os.environ["LOCAL_WORLD_SIZE"]) if world > 1 else 1), world


def _check_parts(config: TrainConfig) -> None:
    _, world = _processes()
    if config.batch_size % (world * config.accumulate):
        raise InputError(
            f"batch_size={config.batch_size} cannot be shared by {world} processes in accumulate={config.accumulate} "
            f"parts. Give a multiple of {world * config.accumulate}."
        )
