"""A training run of W-Net, the classifier approach or the autoencoder approach on Lightning's Trainer."""

import logging
import math
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
import numpy as np
import torch
from jaxtyping import UInt8
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch.utils.data import DataLoader, Dataset

from supercuts.core.config import save_resolved
from supercuts.core.errors import InputError
from supercuts.datasets.label_folder import UNLABELLED, LabelledImage, LabelledImages, open_labelled
from supercuts.datasets.sample import data_root
from supercuts.selftaught.classifier import (
    SIDE_PX,
    Autoencoder,
    Classifier,
    ClassifierConfig,
    TargetConfig,
    image_superpixels,
)
from supercuts.selftaught.learned import (
    Learned,
    LearnedConfig,
    class_probabilities,
    make_learned,
    save_learned,
    write_classes,
)
from supercuts.selftaught.wnet import WNet, WNetConfig
from supercuts.training.callbacks import KeepLast, SafeCheckpoints, StepBar
from supercuts.training.samples import ProcessSampler

SHOWN = {"cifar10": "test", "stl10": "test", "voc": "val", "bsds500": "val", "folder": "test"}  # split of the pictures


class LearnedDataConfig(BaseModel, frozen=True, extra="forbid"):
    """Training images, and how samples are made from them."""

    dataset: Literal["cifar10", "stl10", "voc", "bsds500", "folder"] = "cifar10"
    root: Path | None = None  # folder that holds the data set; None: $SUPERCUTS_DATA, else ./data
    split: Literal["train", "val", "trainval", "train+val", "unlabeled"] = "train"  # test splits are for reporting only
    limit: PositiveInt | None = None  # number of images, spread evenly over the split; None: all
    side_px: PositiveInt = 32  # images are resized to this square
    flip: bool = True  # half of the samples are mirrored
    rotation_deg: float = Field(default=0.0, ge=0, le=45)  # rotations are uniform in -rotation..rotation
    workers: NonNegativeInt = 0  # processes that prepare samples


class LearnedSample(NamedTuple):
    """One image, or a batch of images with a leading axis B.

    image        (3, S, S) float32 in 0..1
    label        () int64      class of the image, -1 if it has none
    superpixels  (S, S) int64  superpixels of the image after flip and rotation, 0..N-1
    """

    image: torch.Tensor
    label: torch.Tensor
    superpixels: torch.Tensor


class ImageStream(Dataset[LearnedSample]):
    """An endless stream of samples; every epoch visits each image once, in a new random order."""

    def __init__(
        self, images: LabelledImages, config: LearnedDataConfig, target: TargetConfig | None, seed: int
    ) -> None:
        """Set the kind of targets; if `target` is None, superpixels are all 0."""
        self.images, self.config, self.target, self.seed = images, config, target, seed

    def __getitem__(self, index: int) -> LearnedSample:
        """Return sample `index`."""
        epoch, position = divmod(index, len(self.images))
        chosen = int(np.random.default_rng((self.seed, epoch)).permutation(len(self.images))[position])
        rng = np.random.default_rng((self.seed, epoch, position))
        sample = self.images.samples[chosen]
        pixels = vary(read_square(sample, self.config.side_px), self.config, rng)
        superpixels = np.zeros(pixels.shape[:2]) if self.target is None else image_superpixels(pixels, self.target)
        return LearnedSample(
            torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1),
            torch.tensor(sample.label),
            torch.from_numpy(superpixels.astype(np.int64)),
        )


def open_images(config: LearnedDataConfig, split: str, limit: int | None) -> LabelledImages:
    """Return at most `limit` images of a split, spread evenly because class folders list one class after another."""
    images = open_labelled(config.dataset, data_root(config.root), split)
    if limit is None or limit >= len(images):
        return images
    chosen = np.arange(limit) * len(images) // limit
    return LabelledImages(tuple(images.samples[i] for i in chosen), images.class_names)


def read_square(sample: LabelledImage, side_px: int) -> UInt8[np.ndarray, "side side 3"]:
    """Return the image resized to a square, ignoring its aspect ratio as the published codes do."""
    pixels = sample.read()
    if pixels.shape[:2] == (side_px, side_px):
        return pixels
    return np.array(Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BILINEAR))


def vary(
    pixels: UInt8[np.ndarray, "side side 3"], config: LearnedDataConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the image after a random flip and rotation; pixels from outside the frame are mirrored."""
    if config.flip and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if config.rotation_deg:
        side = len(pixels)
        margin = math.ceil(side * (math.sqrt(2) - 1) / 2)
        wide = Image.fromarray(np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric"))
        angle = rng.uniform(-config.rotation_deg, config.rotation_deg)
        pixels = np.array(wide.rotate(angle, Image.Resampling.BILINEAR))[margin : margin + side, margin : margin + side]
    return np.ascontiguousarray(pixels)


_EXPECTED = (
    "Checkpoint directory .* exists and is not empty",  # a resumed run finds its own checkpoints
    ".*does not have many workers",
    "(?s)Using ModelCheckpoint with manual optimization.*AFTER optimization",  # resuming needs it
    ".*LeafSpec.* is deprecated",
)


class LearnedTrainConfig(BaseModel, frozen=True, extra="forbid"):
    """A training run of a network that segments without annotations of regions."""

    out: Path  # folder of the run
    model: LearnedConfig = Field(discriminator="method")  # its method: wnet, classifier or autoencoder
    data: LearnedDataConfig = LearnedDataConfig()
    epochs: PositiveFloat = 30.0  # value of the thesis
    batch_size: PositiveInt = 50
    optimizer: Literal["adam", "sgd"] = "adam"  # sgd has momentum 0.9
    learning_rate: PositiveFloat = 1e-3
    lr_decay: float = Field(default=0.1, gt=0, le=1)  # factor of the learning rate every lr_decay_steps
    lr_decay_steps: PositiveInt | None = None  # None: never
    pictures: NonNegativeInt = 8  # images of test or val, else training images, segmented after training
    checkpoint_steps: PositiveInt = 200
    log_steps: PositiveInt = 10
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _side_fits(self) -> "LearnedTrainConfig":
        side, model = self.data.side_px, self.model
        if isinstance(model, ClassifierConfig):
            if model.layout != "voc" and side != SIDE_PX[model.layout]:
                raise ValueError(f"data.side_px={side}: layout {model.layout} takes {SIDE_PX[model.layout]}")
        elif side % (stride := model.stride if isinstance(model, WNetConfig) else 16):
            raise ValueError(f"data.side_px={side}: {model.method} takes a multiple of {stride}")
        return self


class LearnedTraining(L.LightningModule):
    """The steps of a run, which train `network` on `stream`."""

    def __init__(self, config: LearnedTrainConfig, network: Learned, stream: ImageStream) -> None:
        super().__init__()
        self.automatic_optimization = False  # W-Net takes two steps per batch
        self.config, self.network, self.stream = config, network, stream

    def train_dataloader(self) -> DataLoader[LearnedSample]:
        """Return the batches, starting at the current step."""
        size, workers = self.config.batch_size, self.config.data.workers
        order = ProcessSampler(self.trainer.global_step * size, size)
        return DataLoader(self.stream, size, sampler=order, num_workers=workers, persistent_workers=workers > 0)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return an optimiser of all weights; for W-Net, preceded by one of the encoder."""
        parts = [self.network.encoder, self.network] if isinstance(self.network, WNet) else [self.network]
        if self.config.optimizer == "adam":
            return [torch.optim.Adam(part.parameters(), self.config.learning_rate) for part in parts]
        return [torch.optim.SGD(part.parameters(), self.config.learning_rate, momentum=0.9) for part in parts]

    def training_step(self, batch: LearnedSample, batch_idx: int) -> None:
        """Take the steps of one batch and log the loss terms."""
        config, optimizer_list = self.config, self.optimizers()
        optimizers: list[Any] = optimizer_list if isinstance(optimizer_list, list) else [optimizer_list]
        decay = config.lr_decay ** (self.global_step // config.lr_decay_steps) if config.lr_decay_steps else 1.0
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * decay
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(hash((config.seed, self.global_step)))  # a resumed run drops the same units
            terms = self._step(batch, optimizers)
        self.log_dict(terms, prog_bar=True, batch_size=len(batch.image))

    def _step(self, batch: LearnedSample, optimizers: list[Any]) -> dict[str, torch.Tensor]:
        network = self.network
        if isinstance(network, WNet):
            of_encoder, of_all = optimizers
            ncut = network.ncut_loss(batch.image)
            # the plain optimiser, because Lightning would count two steps per batch
            self._descend(ncut, of_encoder.optimizer)
            reconstruction = network.reconstruction_loss(batch.image)
            self._descend(reconstruction, of_all)
            return {"ncut": ncut.detach(), "reconstruction": reconstruction.detach()}
        terms = _terms(network, batch)
        total = torch.stack(list(terms.values())).sum()
        self._descend(total, optimizers[0])
        return {"loss": total.detach(), **{name: value.detach() for name, value in terms.items()}}

    def _descend(self, loss: torch.Tensor, optimizer: Any) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


def train_refiner(config: LearnedTrainConfig) -> Path:
    """Train as configured, resuming from the run's last checkpoint if there is one; return model.safetensors."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # at INFO it advertises other products
    images = open_images(config.data, config.data.split, config.data.limit)
    pictures = open_images(config.data, SHOWN[config.data.dataset], config.pictures) if config.pictures else None
    if isinstance(config.model, ClassifierConfig):
        _check_classes(config.model, images)
    last = config.out / "checkpoints" / "last.ckpt"
    L.seed_everything(config.seed, verbose=False)
    network = make_learned(config.model, is_pretrained=not last.is_file()).train()
    target = None if isinstance(config.model, WNetConfig) else config.model.target
    module = LearnedTraining(config, network, ImageStream(images, config.data, target, config.seed))
    config.out.mkdir(parents=True, exist_ok=True)
    save_resolved(config, config.out / "config.yaml")
    n_steps = max(math.ceil(config.epochs * len(images) / config.batch_size), 1)
    trainer = _make_trainer(config, n_steps, len(images))
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        trainer.fit(module, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    trainer.save_checkpoint(last)  # a finished run, when restarted, has nothing left to do
    network.cpu().eval()
    for sample in pictures.samples if pictures else ():
        pixels = read_square(sample, config.data.side_px)
        winners = class_probabilities(pixels, network).argmax(0).astype(np.int32)
        write_classes(config.out / "segmentations" / sample.name.replace("/", "_"), winners)
    final = config.out / "model.safetensors"
    save_learned(final, network)
    return final


def _check_classes(model: ClassifierConfig, images: LabelledImages) -> None:
    n_unlabelled = sum(sample.label == UNLABELLED for sample in images.samples)
    if n_unlabelled or len(images.class_names) != model.image_classes:
        raise InputError(
            f"model.image_classes={model.image_classes}, but the data have {len(images.class_names)} classes and "
            f"{n_unlabelled} of {len(images)} images without one. The classifier needs the class of every image: set "
            "model.image_classes to their number, or take method autoencoder or wnet."
        )


def _terms(network: Classifier | Autoencoder, batch: LearnedSample) -> dict[str, torch.Tensor]:
    if isinstance(network, Classifier):
        return network.loss_terms(*batch)
    return network.loss_terms(batch.image, batch.superpixels)


def _make_trainer(config: LearnedTrainConfig, n_steps: int, n_images: int) -> L.Trainer:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, threads: {torch.get_num_threads()}"
    data = config.data
    where = f"{data.dataset} in {data_root(data.root)}"
    plan = {"data": f"{where}, split {data.split}: {n_images} images", "device": device, "run": config.out}
    return L.Trainer(
        max_steps=n_steps,
        max_epochs=-1,
        accelerator="auto",
        devices=1,
        plugins=[SafeCheckpoints()],
        limit_val_batches=0,
        num_sanity_val_steps=0,
        callbacks=[StepBar(plan), KeepLast(config.out / "checkpoints", config.checkpoint_steps, max_steps=n_steps)],
        logger=[TensorBoardLogger(config.out / "tensorboard", name=""), CSVLogger(config.out / "csv", name="")],
        log_every_n_steps=config.log_steps,
        enable_model_summary=False,
    )
