"""One step of training and of validation, as Lightning's Trainer calls them, and the loss terms of an SSN."""

import copy
import math
import time
from dataclasses import fields, replace
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch.utils.data import DataLoader, Dataset

from supercuts.networks.ssn import color_features
from supercuts.networks.ssn_config import SSNConfig
from supercuts.networks.torch_network import TorchNetwork
from supercuts.superpixels.grid import make_grid
from supercuts.superpixels.kmeans_torch import (
    CellLayout,
    make_layout,
    pixel_features,
    pool,
    soft_kmeans,
    spread,
    to_cells,
)
from supercuts.training.samples import (
    CropStream,
    Judged,
    ProcessSampler,
    TrainingSample,
    ValidationImages,
    collate,
    judge,
)
from supercuts.training.training_config import LossConfig, TrainConfig


def boundary_loss(logits: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return class-balanced cross-entropy (Xie & Tu, HED, ICCV 2015, equation 2) of (B, 1, H, W) boundary logits.

    A pixel is positive with weight `share`, the share of annotators who draw a boundary there, and negative where no
    annotator does. Both classes weigh the same in every image.
    """
    negative = (share == 0).to(logits.dtype)
    n_positive = share.sum((1, 2, 3), keepdim=True)
    n_negative = negative.sum((1, 2, 3), keepdim=True)
    total = (n_positive + n_negative).clamp_min(1)
    positive_term = F.softplus(-logits) * share * (n_negative / total)
    negative_term = F.softplus(logits) * negative * (n_positive / total)
    # normalised by the balanced mass, so that an image with few boundaries weighs as much as any other
    mass = (2 * n_positive * n_negative / total).clamp_min(torch.finfo(logits.dtype).tiny)
    return ((positive_term + negative_term) / mass).sum((1, 2, 3)).mean()


def strength_loss(logits: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of (B, 1, h, w) logits with (B, 1, H, W) shares of annotators, averaged to h x w.

    Not balanced: the prediction is a probability, to be averaged over the borders between regions.
    """
    return F.binary_cross_entropy_with_logits(
        logits, F.adaptive_avg_pool2d(share, (logits.shape[-2], logits.shape[-1]))
    )


def pair_loss(
    embeddings: torch.Tensor, labels: torch.Tensor, n_pairs: int, distance_px: tuple[float, float], seed: int
) -> torch.Tensor:
    """Return the cross-entropy for whether pairs of pixels share a region, with probability exp(-|x - y|^2).

    embeddings (B, R, h, w), labels (B, H, W). Pair directions are uniform, distances are log-uniform.
    """
    batch, _, rows, cols = embeddings.shape
    stride = labels.shape[-1] / cols
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(4, batch, n_pairs, generator=generator).to(embeddings.device)
    low, high = distance_px
    distance = low * (high / low) ** u[2]
    angle = 2 * torch.pi * u[3]
    first = torch.stack([u[0] * rows, u[1] * cols])
    second = first + torch.stack([angle.sin(), angle.cos()]) * distance / stride
    size = torch.tensor([rows, cols], device=u.device).view(2, 1, 1)
    inside = ((second >= 0) & (second < size)).all(0)
    p, q = (place.long().clamp_min(0).minimum(size - 1) for place in (first, second))
    image = torch.arange(batch, device=u.device)[:, None]
    squared = (embeddings[image, :, p[0], p[1]] - embeddings[image, :, q[0], q[1]]).square().sum(-1)
    p, q = (((place + 0.5) * stride).long() for place in (p, q))
    same = labels[image, p[0], p[1]] == labels[image, q[0], q[1]]
    # log(1 - exp(-d)), exact for small d; the clamp bounds its slope, which is infinite at d = 0
    log_apart = (-torch.expm1(-squared.clamp_min(1e-4))).log()
    return (torch.where(same, squared, -log_apart) * inside).sum() / inside.sum().clamp_min(1)


def reconstruction_loss(weights: torch.Tensor, labels: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return the cross-entropy of labels mapped to superpixels by Q and back (Jampani et al., section 4.3).

    weights (B, N, 9, P) are Q, labels (B, N, P) are int64; both are in cell-major form.
    """
    one_hot = F.one_hot(labels, int(labels.max()) + 1).to(weights.dtype).movedim(-1, 2)
    means, _ = pool(weights, one_hot, layout)
    carried = spread(weights, means, layout).gather(2, labels[:, :, None])[:, :, 0]
    return -(carried.clamp_min(1e-8).log() * layout.is_pixel).sum() / (layout.is_pixel.sum() * len(weights))


def compactness_loss(weights: torch.Tensor, positions: torch.Tensor, layout: CellLayout) -> torch.Tensor:
    """Return the mean squared distance of pixels to the soft centroid of their hard superpixel, in cell sides.

    positions (B, N, 2, P) are pixel coordinates in cell-major form, in pixels.
    """
    centroids, _ = pool(weights, positions, layout)
    largest = (weights == weights.amax(2, keepdim=True)).to(weights.dtype)
    chosen = spread(largest / largest.sum(2, keepdim=True), centroids, layout)  # argmax is slow along this axis
    squared = (positions - chosen).square().sum(2) / layout.grid.step_px**2
    return (squared * layout.is_pixel).sum() / (layout.is_pixel.sum() * len(weights))


class SSNTraining(L.LightningModule):
    """Losses and optimiser of a run; `network` is the trained network, `curve` holds the scores of validations."""

    def __init__(
        self, config: TrainConfig, network: TorchNetwork, stream: CropStream, validation: ValidationImages | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.stream = stream
        self.validation = validation
        self.network = network
        self.network.to(memory_format=torch.channels_last)
        self.curve: list[dict[str, float]] = []
        self.drawn: list[Judged] = []

    def train_dataloader(self) -> DataLoader[TrainingSample]:
        """Return this process's share of the batches, starting at the current step."""
        config = self.config
        world = self.trainer.world_size
        n_drawn = self.trainer.global_step * config.batch_size
        local = config.batch_size // (config.accumulate * world)
        return DataLoader(
            self.stream,
            local,
            sampler=ProcessSampler(n_drawn, local, self.trainer.global_rank, world),
            num_workers=config.data.workers,
            collate_fn=collate,
            persistent_workers=config.data.workers > 0,
            worker_init_fn=_one_thread,
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return this process's share of the validation images, one at a time."""
        if self.validation is None:
            return []
        own_indices = range(self.trainer.global_rank, len(self.validation), self.trainer.world_size)
        part: Dataset[Any] = torch.utils.data.Subset(self.validation, own_indices)
        return DataLoader(part, batch_size=None, collate_fn=_as_is)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        """Move the tensors of a training batch; validation images stay where the pipeline reads them."""
        if not isinstance(batch, TrainingSample):
            return batch
        return TrainingSample(*(getattr(batch, f.name).to(device) for f in fields(batch)))

    def training_step(self, batch: TrainingSample, batch_idx: int) -> torch.Tensor:
        """Return the weighted sum of the loss terms."""
        terms = self.losses(batch)
        self.log_dict(terms, prog_bar=True, sync_dist=True, batch_size=len(batch.image))
        return terms["loss"]

    def seconds_per_step(self) -> float:
        """Return the time of a step, from the second of two steps of a copy of the network."""
        config = self.config
        network, self.network = self.network, copy.deepcopy(self.network)
        crops = (self.stream[i] for i in range(config.batch_size // config.accumulate))
        batch = self.transfer_batch_to_device(collate(list(crops)), self.device, 0)
        try:
            with torch.random.fork_rng(), self.trainer.precision_plugin.forward_context():
                for _ in range(2):
                    start = time.perf_counter()
                    loss = self.losses(batch)["loss"]
                    loss.backward()  # type: ignore[no-untyped-call]
                    loss.item()  # waits for a GPU
        finally:
            self.network = network
        return (time.perf_counter() - start) * config.accumulate

    def losses(self, batch: TrainingSample) -> dict[str, torch.Tensor]:
        """Return the loss terms of a batch, after their weighted sum "loss"."""
        weights = self.config.loss
        prediction = self.network(batch.image.contiguous(memory_format=torch.channels_last))
        with torch.autocast(self.device.type, enabled=False):  # the k-means needs float32
            boundary = boundary_loss(prediction.boundary_logits, batch.boundary_share)
            # seeded by the step alone, so that all processes and all parts of a batch have the same number of cells
            rng = np.random.default_rng((self.config.seed, self.global_step))
            reconstruction, compactness = superpixel_losses(
                batch, prediction.embeddings, weights, self.network.config, rng
            )
            terms = {"boundary": boundary, "reconstruction": reconstruction, "compactness": compactness}
            if prediction.strength_logits is not None and prediction.region_embeddings is not None:
                terms["strength"] = strength_loss(prediction.strength_logits, batch.near_share)
                seed = int(rng.integers(2**31))
                pair_settings = (weights.n_pairs, weights.pair_distance_px, seed)
                terms["pairs"] = pair_loss(prediction.region_embeddings, batch.labels, *pair_settings)
        total = torch.stack([value * getattr(weights, name) for name, value in terms.items()]).sum()
        return {"loss": total, **terms}

    def validation_step(self, batch: tuple[np.ndarray, list[np.ndarray]], batch_idx: int) -> None:
        """Score the averaged weights on one image, as the pipeline uses them."""
        judged = judge(self.network, *batch, self.config.validation.superpixels)
        self.log_dict(judged.scores, sync_dist=True, batch_size=1)
        self.log("val_asa", judged.asa, sync_dist=True, batch_size=1, prog_bar=True)
        if batch_idx < self.config.validation.pictures and self.validation is not None:
            name = self.validation.samples[self.trainer.global_rank + batch_idx * self.trainer.world_size].name
            self.drawn.append(replace(judged, name=name))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the curve, which a resumed run continues."""
        checkpoint["curve"] = self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curve from the checkpoint."""
        self.curve = list(checkpoint.get("curve", []))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW with linear warm-up and cosine decay to zero."""
        config = self.config
        optimizer = torch.optim.AdamW(
            _parameter_groups(self.network, config), lr=config.learning_rate, weight_decay=config.weight_decay
        )

        def factor(step: int) -> float:
            warm = min((step + 1) / max(config.warmup_steps, 1), 1.0)
            return warm * 0.5 * (1 + math.cos(math.pi * min(step / config.max_steps, 1.0)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def superpixel_losses(
    batch: TrainingSample, embeddings: torch.Tensor, config: LossConfig, ssn: SSNConfig, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the reconstruction and compactness losses on a random part of the crops, with a random number of cells.

    embeddings (B, D, S, S) are the network's output for the crops.
    """
    side = min(config.ssn_crop_px, embeddings.shape[-1])
    y, x = rng.integers(embeddings.shape[-1] - side + 1, size=2)
    part = (..., slice(y, y + side), slice(x, x + side))
    grid = make_grid(side, side, int(rng.integers(config.ssn_cells[0], config.ssn_cells[1] + 1)))
    layout = make_layout(grid, embeddings.device)
    # one image at a time stays in the processor's cache; a GPU is faster with all images at once
    n_parts = 1 if embeddings.is_cuda else len(embeddings)
    images, labels, learned = (x[part].chunk(n_parts) for x in (batch.image, batch.labels, embeddings))
    positions = to_cells(_positions(side, embeddings.device), layout)
    losses = [
        torch.stack(_losses_of(*example, positions, layout, config.ssn_iterations, ssn))
        for example in zip(images, labels, learned, strict=True)
    ]
    reconstruction, compactness = torch.stack(losses).mean(0)
    return reconstruction, compactness


def _losses_of(
    images: torch.Tensor,
    labels: torch.Tensor,
    embeddings: torch.Tensor,
    positions: torch.Tensor,
    layout: CellLayout,
    n_iterations: int,
    ssn: SSNConfig,
) -> tuple[torch.Tensor, torch.Tensor]:
    cells = to_cells(pixel_features(color_features(images), embeddings, layout.grid, ssn), layout)
    soft = soft_kmeans(cells, layout, n_iterations)
    truth = to_cells(_compress(labels)[:, None], layout)[:, :, 0]
    positions = positions.expand(len(labels), -1, -1, -1)
    return reconstruction_loss(soft.weights, truth, layout), compactness_loss(soft.weights, positions, layout)


def _parameter_groups(network: TorchNetwork, config: TrainConfig) -> list[dict[str, Any]]:
    """Return the trainable parameters; a pretrained part, if there is one, has its own learning rate."""
    pretrained = getattr(network.backbone, "pretrained", None)
    of_others = set() if pretrained is None else {id(parameter) for parameter in pretrained.parameters()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    rest = [parameter for parameter in trained if id(parameter) not in of_others]
    trunk = [parameter for parameter in trained if id(parameter) in of_others]
    groups: list[dict[str, Any]] = [{"params": rest}]
    return [*groups, {"params": trunk, "lr": config.learning_rate * config.backbone_lr_scale}] if trunk else groups


def _positions(side: int, device: torch.device) -> torch.Tensor:
    axis = torch.arange(side, device=device, dtype=torch.float32)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"))[None]


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)  # the trainer needs the cores


def _as_is(item: Any) -> Any:
    return item  # the loader's default would convert it to tensors


def _compress(labels: torch.Tensor) -> torch.Tensor:
    """Renumber each label map of (B, H, W) to 0..R-1, so that one-hot maps have no empty channels."""
    return torch.stack([(label_map.flatten().bincount() > 0).cumsum(0)[label_map] - 1 for label_map in labels])
