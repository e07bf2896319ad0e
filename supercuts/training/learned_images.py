"""What networks that segment without annotations are trained on: whole images of one size, each with its class.

In   LearnedDataConfig, LabelledImages
Out  samples of images, classes and superpixels, item i a pure function of (seed, i), so a resumed run sees the same
Not  no network, no loss, no annotations of regions
"""

import math
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt
from torch.utils.data import Dataset

from supercuts.datasets.base import data_root
from supercuts.datasets.labelled_images import LabelledImage, LabelledImages, open_labelled
from supercuts.selftaught.slic_targets import TargetConfig, image_superpixels

SHOWN = {"cifar10": "test", "stl10": "test", "voc": "val", "bsds500": "val", "folder": "test"}  # of the pictures


class LearnedDataConfig(BaseModel, frozen=True, extra="forbid"):
    """Which images, and how a sample is made of one."""

    dataset: Literal["cifar10", "stl10", "voc", "bsds500", "folder"] = "cifar10"
    root: Path | None = None  # folder that holds the data set; None: $SUPERCUTS_DATA, else ./data
    split: Literal["train", "val", "trainval", "train+val", "unlabeled"] = "train"  # test splits are for reporting only
    limit: PositiveInt | None = None  # so many images, spread evenly over the split; None: all
    side_px: PositiveInt = 32  # images are resized to this square
    flip: bool = True  # half of the samples are mirrored
    rotation_deg: float = Field(default=0.0, ge=0, le=45)  # rotations are uniform in -rotation..rotation
    workers: NonNegativeInt = 0  # processes that prepare samples


class LearnedSample(NamedTuple):
    """One image, or with a leading axis B a batch of them.

    image        (3, S, S) float32 in 0..1
    label        () int64      class of the image, -1 without one
    superpixels  (S, S) int64  of this very image, after flip and rotation; 0..N-1
    """

    image: torch.Tensor
    label: torch.Tensor
    superpixels: torch.Tensor


class ImageStream(Dataset[LearnedSample]):
    """An endless stream of samples; every epoch visits each image once, in an order of its own."""

    def __init__(
        self, images: LabelledImages, config: LearnedDataConfig, target: TargetConfig | None, seed: int
    ) -> None:
        """Take the form of the targets; without one, superpixels are all 0."""
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
    """Return at most `limit` images of a split, spread evenly: class folders list one class after the other."""
    images = open_labelled(config.dataset, data_root(config.root), split)
    if limit is None or limit >= len(images):
        return images
    chosen = np.arange(limit) * len(images) // limit
    return LabelledImages(tuple(images.samples[i] for i in chosen), images.class_names)


def read_square(sample: LabelledImage, side_px: int) -> UInt8[np.ndarray, "side side 3"]:
    """Return the image as a square, its aspect given up, as the published codes do."""
    pixels = sample.read()
    if pixels.shape[:2] == (side_px, side_px):
        return pixels
    return np.array(Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BILINEAR))


def vary(
    pixels: UInt8[np.ndarray, "side side 3"], config: LearnedDataConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the image under a random flip and rotation; what turns in from outside is its mirror image."""
    if config.flip and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if config.rotation_deg:
        side = len(pixels)
        margin = math.ceil(side * (math.sqrt(2) - 1) / 2)
        wide = Image.fromarray(np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric"))
        angle = rng.uniform(-config.rotation_deg, config.rotation_deg)
        pixels = np.array(wide.rotate(angle, Image.Resampling.BILINEAR))[margin : margin + side, margin : margin + side]
    return np.ascontiguousarray(pixels)
