"""Callbacks of a training run: weight averaging, checkpoints, early stopping, validation reports."""

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, ProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from supercuts.core.files import atomic_path
from supercuts.images.io import write_png
from supercuts.training.module import SSNTraining
from supercuts.training.samples import draw_judged

MONITOR = "val_asa"


class SafeCheckpoints(TorchCheckpointIO):
    """Write each checkpoint to a temporary file next to it and rename it, so that a kill leaves the old one intact."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the checkpoint; Lightning's own writer moves it from another file system, which copies it."""
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)


class Averaging(WeightAveraging):
    """Exponential moving average of the weights and statistics, used for validation and as the final weights."""

    def __init__(self, decay: float) -> None:
        # not Lightning's EMAWeightAveraging: its formula moves even weights that never change, by rounding
        super().__init__(use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Use the average again: a finished run, when restarted, trains no step and would keep the last weights."""
        self.on_train_end(trainer, pl_module)


class KeepLast(ModelCheckpoint):
    """Keep last.ckpt, from which a run resumes.

    It is written every `every_steps` steps and after the last step. A shorter run writes it ten times, so an
    interruption costs a tenth of the run.
    """

    def __init__(self, folder: Path, every_steps: int, judged_every: int = 0, max_steps: int | None = None) -> None:
        """Set the number of steps between checkpoints, between validations (0: none) and in all."""
        if max_steps is not None and max_steps < every_steps:
            every_steps = max(max_steps // 10, 1)
        super().__init__(
            folder,
            filename="last",
            every_n_train_steps=every_steps,
            save_last=False,
            enable_version_counter=False,
            save_top_k=1,
        )
        self.every_steps = every_steps
        self.judged_every = judged_every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leave validated steps to on_validation_end: a run killed in between would never validate them."""
        if not self.judged_every or trainer.global_step % self.judged_every:
            if trainer.global_step % self.every_steps and trainer.global_step == trainer.max_steps:
                self._save(trainer)  # here, as the end of the training replaces the weights by their average
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after the validation of the same step, which would otherwise be missing from the curve."""
        if trainer.global_step % self.every_steps == 0 or trainer.global_step == trainer.max_steps:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(str(Path(str(self.dirpath)) / "last.ckpt"))


class KeepBest(ModelCheckpoint):
    """Keep best.ckpt, the checkpoint with the best validation ASA."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, filename="best", monitor=MONITOR, mode="max", enable_version_counter=False)


class StopEarly(EarlyStopping):
    """End a run that has not improved for `patience` validations; it stays ended when restarted."""

    def __init__(self, patience: int) -> None:
        super().__init__(MONITOR, mode="max", patience=patience)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop at once if the run had already ended."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class StepBar(ProgressBar):
    """The plan of a run before its first step, then a bar of all steps in a terminal, elsewhere a line a minute."""

    def __init__(self, plan: Mapping[str, object]) -> None:
        super().__init__()
        self.plan = plan
        self.is_enabled = True

    def disable(self) -> None:
        """Show nothing; Lightning calls this in all processes but the first."""
        self.is_enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the plan and show the bar."""
        if not self.is_enabled:
            return
        step, total = trainer.global_step, trainer.max_steps
        plan = {**self.plan, "steps": f"{step} to {total} (resumed)" if step else f"{total}"}
        # a run of seconds, or one of several processes, has no trial
        if isinstance(pl_module, SSNTraining) and total - step > _FEW_STEPS and trainer.world_size == 1:
            plan["time"] = f"about {_minutes(pl_module.seconds_per_step() * (total - step))}, without validation"
        sys.stderr.write("".join(f"{name:8}{value}\n" for name, value in plan.items()))
        self._is_terminal = sys.stderr.isatty()
        options: dict[str, Any] = {"unit": "step", "dynamic_ncols": True, "mininterval": 0, "file": sys.stderr}
        self._bar = tqdm(total=total, initial=step, disable=not self._is_terminal, **options)
        self._first = (step, time.monotonic())
        self._written = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar, or write a line."""
        if not self.is_enabled:
            return
        shown = {name: f"{value:.3f}" for name, value in trainer.progress_bar_metrics.items()}
        if self._is_terminal and trainer.global_step > self._bar.n:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)
        elif not self._is_terminal and time.monotonic() - self._written > _SECONDS_A_LINE:
            self._written = time.monotonic()
            step, total, (first, start) = trainer.global_step, trainer.max_steps, self._first
            left = (self._written - start) / max(step - first, 1) * (total - step)
            losses = ", ".join(f"{name} {value}" for name, value in shown.items())
            sys.stderr.write(f"step {step} of {total}: {losses}; {_minutes(left)} left\n")

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Show the number of the validation image."""
        if self.is_enabled:
            self._bar.set_description(f"validating {batch_idx + 1}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show that training continues."""
        if self.is_enabled:
            self._bar.set_description("")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the bar as it is."""
        if hasattr(self, "_bar"):
            self._bar.close()


_FEW_STEPS = 100
_SECONDS_A_LINE = 60


def _minutes(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


class ValidationReport(Callback):
    """Add each validation to the curve, and write the curve with a picture of the superpixels of some images."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rewrite validation.csv and add a picture; checkpoints are written later and also contain the curve."""
        assert isinstance(pl_module, SSNTraining)
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")}
        curve, pictures = pl_module.curve, pl_module.drawn
        curve.append({"step": trainer.global_step, **scores})
        if trainer.is_global_zero:
            with atomic_path(self.out / "validation.csv") as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(curve[-1]))
                writer.writeheader()
                writer.writerows(curve)
            if pictures:
                sheet = draw_judged(pictures)
                write_png(self.out / "pictures" / f"step_{trainer.global_step:06d}.png", sheet)
                for logger in trainer.loggers:
                    if isinstance(logger, TensorBoardLogger):
                        logger.experiment.add_image("superpixels", sheet, trainer.global_step, dataformats="HWC")
        pictures.clear()


class GlooBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d with statistics and gradients over the batches of all processes, which must be of equal size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised batch (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        wide = x.float()  # half precision would lose the variance
        n = wide.numel() / wide.shape[1] * dist.get_world_size()
        mean = _sum(wide.sum((0, 2, 3))) / n
        centred = wide - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / n
        self._keep(mean.detach(), variance.detach() * n / max(n - 1, 1))
        scale = (variance + self.eps).rsqrt() * self.weight
        normalised: torch.Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _keep(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """Sum over all processes; the gradient is summed over all processes too."""

    @staticmethod
    def forward(_: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum(values: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Sum.apply(values)
    return total


class GlooSync(LayerSync):
    """Replace BatchNorm2d by GlooBatchNorm during a run."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Return the model with synchronised layers."""
        return _replace(model, nn.BatchNorm2d, GlooBatchNorm)

    def revert(self, model: nn.Module) -> nn.Module:
        """Return the model with its original layers."""
        return _replace(model, GlooBatchNorm, nn.BatchNorm2d)


def _replace(model: nn.Module, old: type[nn.BatchNorm2d], new: type[nn.BatchNorm2d]) -> nn.Module:
    """Replace layers of class `old` by layers of class `new` with the same parameters and buffers."""
    replaced: dict[nn.Module, nn.Module] = {}  # a layer may be part of several modules
    for module in list(model.modules()):
        for name, layer in module.named_children():
            if type(layer) is old:  # timm's subclasses override forward
                if layer not in replaced:
                    replaced[layer] = _as(layer, new)
                setattr(module, name, replaced[layer])
    return model


def _as(layer: nn.BatchNorm2d, kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    twin = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats, device="meta")
    for name, value in (*layer.named_parameters(), *layer.named_buffers()):
        setattr(twin, name, value)
    return twin.train(layer.training)
