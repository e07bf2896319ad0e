"""The training loop of an SSN on Lightning's Trainer.

In   TrainConfig
Out  the run's folder: config.yaml, checkpoints, TensorBoard and CSV logs, model.safetensors
Not  no calibration of levels, no benchmark figures (benchmarks/)
"""

import math
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from skimage.color import rgb2lab
from torch.utils.data import DataLoader

from supercuts.backbones.registry import BACKBONES
from supercuts.core.config import save_resolved
from supercuts.core.errors import InputError
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.root import data_root
from supercuts.superpixels.checkpoint import load_network, save_network
from supercuts.superpixels.grid import make_grid
from supercuts.superpixels.soft_kmeans import make_layout, soft_kmeans, to_cells
from supercuts.superpixels.ssn import SSN, SSNConfig, pixel_features
from supercuts.training.config import TrainConfig
from supercuts.training.losses import boundary_loss, compactness_loss, reconstruction_loss
from supercuts.training.samples import CropStream, EndlessSampler, TrainingSample, collate


def train(config: TrainConfig) -> Path:
    """Train as `config` says, going on from the run's last checkpoint if there is one; return model.safetensors."""
    samples = BSDS500(data_root(config.data.root), config.data.split)
    samples.check()
    config.out.mkdir(parents=True, exist_ok=True)
    save_resolved(config, config.out / "config.yaml")
    L.seed_everything(config.seed, verbose=False)
    last = config.out / "checkpoints" / "last.ckpt"
    # before the photographs are read: weights that cannot be had should stop the run at once
    network = make_network(config, is_resumed=last.is_file())
    module = SSNTraining(config, network, CropStream(samples, config.data, config.seed))
    averaging = _Averaging(decay=config.ema_decay)
    trainer = _make_trainer(config, averaging)
    with warnings.catch_warnings():
        # a run that goes on finds its own checkpoints: nothing to warn of
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        trainer.fit(module, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    final = config.out / "model.safetensors"
    save_network(final, module.network, levels={})
    return final


def make_network(config: TrainConfig, is_resumed: bool = False) -> SSN:
    """Return the network to train: that of `init`, or a new one, whose backbone gets the weights it was pretrained to.

    A run that goes on takes all weights from its checkpoint, so none are read here.
    """
    if config.init is not None:
        network, _ = load_network(config.init)
        if config.model not in (SSNConfig(), network.config):
            raise InputError(
                f"init={config.init} is a network with {network.config}, but model asks for {config.model}. "
                "Leave out one of the two."
            )
        return network.train()
    network = SSN(config.model)
    if config.model.backbone not in BACKBONES and not is_resumed and config.backbone_weights != "random":
        from supercuts.backbones.pretrained import PretrainedBackbone

        if isinstance(network.backbone, PretrainedBackbone):
            network.backbone.load_pretrained(config.backbone_weights)
    return network.train()


class _Averaging(EMAWeightAveraging):
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # a finished run that is started again trains no step: without this line it would save the last weights
        self.on_train_end(trainer, pl_module)


def _make_trainer(config: TrainConfig, averaging: EMAWeightAveraging) -> L.Trainer:
    checkpoint = ModelCheckpoint(
        config.out / "checkpoints",
        filename="last",
        every_n_train_steps=config.checkpoint_steps,
        save_last=False,
        enable_version_counter=False,
        save_top_k=1,
    )
    return L.Trainer(
        max_steps=config.steps,
        max_epochs=-1,
        precision=config.precision,
        accelerator="auto",
        devices="auto",
        callbacks=[averaging, checkpoint, TQDMProgressBar(refresh_rate=20)],
        logger=[TensorBoardLogger(config.out / "tensorboard", name=""), CSVLogger(config.out / "csv", name="")],
        log_every_n_steps=20,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


class SSNTraining(L.LightningModule):
    """Losses and optimiser of a run; `network` is what is trained."""

    def __init__(self, config: TrainConfig, network: SSN, stream: CropStream) -> None:
        super().__init__()
        self.config = config
        self.stream = stream
        self.network = network
        self.network.to(memory_format=torch.channels_last)

    def train_dataloader(self) -> DataLoader[TrainingSample]:
        """Return the batches from the step at which the run stands."""
        done = self.trainer.global_step * self.config.batch_size
        return DataLoader(
            self.stream,
            self.config.batch_size,
            sampler=EndlessSampler(done),
            num_workers=self.config.data.workers,
            collate_fn=collate,
            persistent_workers=self.config.data.workers > 0,
            worker_init_fn=_one_thread,
        )

    def transfer_batch_to_device(self, batch: TrainingSample, device: torch.device, _: int) -> TrainingSample:
        """Move the tensors of a batch."""
        return TrainingSample(batch.image.to(device), batch.boundary_share.to(device), batch.labels.to(device))

    def training_step(self, batch: TrainingSample, batch_idx: int) -> torch.Tensor:
        """Return the weighted sum of the loss terms."""
        weights = self.config.loss
        prediction = self.network(batch.image.contiguous(memory_format=torch.channels_last))
        with torch.autocast(self.device.type, enabled=False):  # the k-means needs float32
            boundary = boundary_loss(prediction.boundary_logits, batch.boundary_share)
            reconstruction, compactness = self._superpixel_losses(batch, prediction.embeddings)
        terms = {"boundary": boundary, "reconstruction": reconstruction, "compactness": compactness}
        total = torch.stack([value * getattr(weights, name) for name, value in terms.items()]).sum()
        self.log_dict({"loss": total, **terms}, prog_bar=True)
        return total

    def _superpixel_losses(self, batch: TrainingSample, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return reconstruction and compactness on a random part of the crops, at a random number of cells."""
        config = self.config.loss
        rng = np.random.default_rng((self.config.seed, self.global_step))
        side = min(config.ssn_crop_px, embeddings.shape[-1])
        y, x = rng.integers(embeddings.shape[-1] - side + 1, size=2)
        part = (..., slice(y, y + side), slice(x, x + side))
        grid = make_grid(side, side, int(rng.integers(config.ssn_cells[0], config.ssn_cells[1] + 1)))
        layout = make_layout(grid, embeddings.device)
        lab = torch.from_numpy(rgb2lab(batch.image[part].cpu().numpy(), channel_axis=1)).float().to(embeddings.device)
        cells = to_cells(pixel_features(lab, embeddings[part], grid, self.network.config), layout)
        soft = soft_kmeans(cells, layout, config.ssn_iterations)
        labels = to_cells(_compress(batch.labels[part])[:, None], layout)[:, :, 0]
        positions = to_cells(_positions(side, len(labels), embeddings.device), layout)
        return reconstruction_loss(soft.weights, labels, layout), compactness_loss(soft.weights, positions, layout)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW with linear warm-up and a cosine to zero."""
        config = self.config
        optimizer = torch.optim.AdamW(
            _parameter_groups(self.network, config), lr=config.learning_rate, weight_decay=config.weight_decay
        )

        def factor(step: int) -> float:
            warm = min((step + 1) / max(config.warmup_steps, 1), 1.0)
            return warm * 0.5 * (1 + math.cos(math.pi * min(step / config.steps, 1.0)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _parameter_groups(network: SSN, config: TrainConfig) -> list[dict[str, Any]]:
    """Return what is trained: the pretrained part, if there is one, at its own learning rate."""
    pretrained = getattr(network.backbone, "pretrained", None)
    of_others = set() if pretrained is None else {id(parameter) for parameter in pretrained.parameters()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    ours = [parameter for parameter in trained if id(parameter) not in of_others]
    theirs = [parameter for parameter in trained if id(parameter) in of_others]
    groups: list[dict[str, Any]] = [{"params": ours}]
    return [*groups, {"params": theirs, "lr": config.learning_rate * config.backbone_lr_scale}] if theirs else groups


def _positions(side: int, batch: int, device: torch.device) -> torch.Tensor:
    axis = torch.arange(side, device=device, dtype=torch.float32)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"))[None].expand(batch, -1, -1, -1)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)  # the trainer needs the cores


def _compress(labels: torch.Tensor) -> torch.Tensor:
    """Renumber each of (B, H, W) label maps 0..R-1: one-hot maps then have no empty channels."""
    return torch.stack([torch.unique(one, return_inverse=True)[1] for one in labels])
