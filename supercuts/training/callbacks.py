"""What happens beside the steps of a run: averaging, checkpoints, stopping, the report of each validation.

In   Lightning's hooks
Out  checkpoints/last.ckpt and best.ckpt, validation.csv, pictures/step_NNNNNN.png
Not  no losses, no scores
"""

import csv
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim.swa_utils import get_ema_multi_avg_fn

from supercuts.core.files import atomic_path
from supercuts.images.io import write_png
from supercuts.training.module import SSNTraining
from supercuts.training.validation import picture

MONITOR = "val_asa"


class SafeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there: a kill leaves the old one whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the checkpoint; Lightning's own writer moves it from another file system, which is a copy."""
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)


class Averaging(WeightAveraging):
    """Exponential moving average of the weights and statistics, used for validation and in the end."""

    def __init__(self, decay: float) -> None:
        # not Lightning's EMAWeightAveraging: its formula moves even weights that never change, by rounding
        super().__init__(use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the average once more: a finished run started again trains no step and would keep the last weights."""
        self.on_train_end(trainer, pl_module)


class KeepLast(ModelCheckpoint):
    """last.ckpt, for going on."""

    def __init__(self, folder: Path, every_steps: int, judged_every: int = 0) -> None:
        """Take the steps between checkpoints, and between validations; 0: there are none."""
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
        """Leave a step to on_validation_end that is judged: a run killed between the two would never judge it."""
        if not self.judged_every or trainer.global_step % self.judged_every:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it after a validation of the same step, which would else be missing from the curve."""
        if trainer.global_step % self.every_steps == 0:
            trainer.save_checkpoint(str(Path(str(self.dirpath)) / "last.ckpt"))


class KeepBest(ModelCheckpoint):
    """best.ckpt, the one with the best validation ASA."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, filename="best", monitor=MONITOR, mode="max", enable_version_counter=False)


class StopEarly(EarlyStopping):
    """Ends a run that has not become better for `patience` validations; such a run, started again, stays ended."""

    def __init__(self, patience: int) -> None:
        super().__init__(MONITOR, mode="max", patience=patience)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop at once if the run had ended."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class Report(Callback):
    """Adds each validation to the curve, and writes it with a picture of some of the superpixels."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write validation.csv anew and one picture more; the checkpoints, written after this, hold the curve too."""
        assert isinstance(pl_module, SSNTraining)
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")}
        curve, drawn = pl_module.curve, pl_module.drawn
        curve.append({"step": trainer.global_step, **scores})
        if trainer.is_global_zero:
            with atomic_path(self.out / "validation.csv") as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(curve[-1]))
                writer.writeheader()
                writer.writerows(curve)
            if drawn:
                sheet = picture(drawn)
                write_png(self.out / "pictures" / f"step_{trainer.global_step:06d}.png", sheet)
                for logger in trainer.loggers:
                    if isinstance(logger, TensorBoardLogger):
                        logger.experiment.add_image("superpixels", sheet, trainer.global_step, dataformats="HWC")
        drawn.clear()
