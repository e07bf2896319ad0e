"""Random training crops, and the images used for validation.

A crop is a pure function of (seed, index), so a resumed run gets the same data in the same order.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int32, UInt8
from torch.utils.data import Dataset, Sampler

from supercuts.core.errors import FileFormatError
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.label_folder import LabelFolder
from supercuts.datasets.sample import Sample, data_root
from supercuts.evaluate.superpixels import score_superpixels
from supercuts.images.convert import preview
from supercuts.images.draw import contact_sheet, draw_boundaries
from supercuts.images.io import read_channels, read_pixels
from supercuts.networks.network import Network, Pixels
from supercuts.networks.predict import predict
from supercuts.settings import default_config
from supercuts.superpixels.leaves import make_leaves
from supercuts.training.training_config import DataConfig

NEAR_PX = 2  # annotators draw the same boundary a pixel or two apart


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """One random crop.

    image           (C, S, S) float32 in 0..1
    boundary_share  (1, S, S) float32 in 0..1   share of annotators with a boundary at the pixel
    near_share      (1, S, S) float32 in 0..1   share of annotators with a boundary within NEAR_PX along both axes
    labels          (S, S) int64                regions of one random annotator, ids 0..R-1
    """

    image: torch.Tensor
    boundary_share: torch.Tensor
    near_share: torch.Tensor
    labels: torch.Tensor


class CropStream(Dataset[TrainingSample]):
    """An endless stream of random crops; item i depends on (seed, i) alone."""

    def __init__(self, samples: Sequence[Sample], config: DataConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        # decoded once: a few hundred photographs fit in memory and decoding would cost more than the augmentation
        self.images = [torch.from_numpy(read_pixels(sample.image_path)).permute(2, 0, 1) for sample in samples]
        self.truths = [_read_truths(*pair) for pair in zip(samples, self.images, strict=True)]

    def __deepcopy__(self, memo: dict[int, object]) -> "CropStream":
        return self  # weight averaging copies the module that holds the stream: the photographs need no second copy

    def __getitem__(self, index: int) -> TrainingSample:
        """Return crop `index`; every epoch visits each image once, in a new random order."""
        epoch, position = divmod(index, len(self.images))
        chosen = int(np.random.default_rng((self.seed, epoch)).permutation(len(self.images))[position])
        rng = np.random.default_rng((self.seed, epoch, position))
        return random_crop(self.images[chosen], self.truths[chosen], self.config, rng)


class ProcessSampler(Sampler[int]):
    """The endless crop indices of one process: its share of each batch over all processes, in order.

    start  index of the first crop over all processes
    local  crops per process in a batch
    """

    def __init__(self, start: int, local: int, rank: int = 0, n_processes: int = 1) -> None:
        self.start, self.local, self.rank, self.n_processes = start, local, rank, n_processes

    def __iter__(self) -> Iterator[int]:
        n_used = self.local * self.n_processes
        for batch in itertools.count(self.start, n_used):
            yield from range(batch + self.rank * self.local, batch + (self.rank + 1) * self.local)


def _read_truths(sample: Sample, image: torch.Tensor) -> torch.Tensor:
    """Return the annotators' label maps (A, H, W), int16 if their ids fit; raise FileFormatError on size mismatch."""
    truths = sample.truths
    size = tuple(image.shape[-2:])
    if wrong := [truth.shape for truth in truths if truth.shape != size]:
        raise FileFormatError(
            f"{sample.truth_path} is {wrong[0]} but image {sample.name} is {size} (rows, columns). The two belong to "
            "different images: give each image its own annotation."
        )
    stacked = np.stack(truths)
    return torch.from_numpy(stacked.astype(np.int16 if stacked.max() < 2**15 else np.int32))


def random_crop(
    image: torch.Tensor, truths: torch.Tensor, config: DataConfig, rng: np.random.Generator
) -> TrainingSample:
    """Draw one crop of image (C, H, W) and truths (A, H, W): flip, rotation, scale, place, colour, annotator.

    The image is uint8, uint16, or float32 in 0..1.
    """
    grid = _random_grid(image.shape[-2], image.shape[-1], config, rng)
    # reflection: a rotated crop may extend beyond the frame, and a mirror image adds no border there
    pixels = F.grid_sample(_to_unit(image)[None], grid, "bilinear", "reflection", align_corners=False)[0]
    warped = F.grid_sample(truths[None].float(), grid, "nearest", "reflection", align_corners=False)[0].long()
    annotator = warped[rng.integers(len(warped))]
    labels = torch.unique(annotator, return_inverse=True)[1]
    boundaries = region_boundaries(warped).float()
    near_boundary = F.max_pool2d(boundaries[None], 2 * NEAR_PX + 1, 1, NEAR_PX)[0]
    share, near_share = (boundary.mean(0, keepdim=True) for boundary in (boundaries, near_boundary))
    if config.boundary == "annotator":
        share = region_boundaries(labels)[None].float()
    return TrainingSample(_jitter_color(pixels, config.color_jitter, rng), share, near_share, labels)


def _random_grid(height: int, width: int, config: DataConfig, rng: np.random.Generator) -> torch.Tensor:
    """Return the sampling grid (1, S, S, 2) of a random similarity transform, in grid_sample's -1..1 coordinates."""
    side = config.crop_px
    scale = math.exp(rng.uniform(*np.log(config.scale)))
    angle = math.radians(rng.uniform(-config.rotation_deg, config.rotation_deg))
    flip = rng.choice([-1.0, 1.0])
    half = side / 2 / scale
    # keep the centre half a crop away from the frame; if the image is too small, use the image's centre
    margin_y, margin_x = min(half, height / 2), min(half, width / 2)
    center_y, center_x = rng.uniform(margin_y, height - margin_y), rng.uniform(margin_x, width - margin_x)
    offsets = (torch.arange(side, dtype=torch.float32) + 0.5 - side / 2) / scale
    dy, dx = torch.meshgrid(offsets, offsets * flip, indexing="ij")
    ys = center_y + math.cos(angle) * dy - math.sin(angle) * dx
    xs = center_x + math.sin(angle) * dy + math.cos(angle) * dx
    return torch.stack([2 * xs / width - 1, 2 * ys / height - 1], dim=-1)[None]


def _to_unit(image: torch.Tensor) -> torch.Tensor:
    return image if image.is_floating_point() else image.float() / (255 if image.dtype == torch.uint8 else 65535)


def _jitter_color(pixels: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Change gamma, brightness, contrast, saturation and, slightly, the balance of the channels (C, H, W).

    Saturation is the distance of channels from their mean, so it does not change single-channel images.
    """
    gamma, contrast, saturation = np.exp(rng.uniform(-strength, strength, 3))
    balance = torch.from_numpy(
        np.exp(rng.uniform(-strength, strength) + rng.normal(0, strength / 6, len(pixels)))
    ).float()
    pixels = pixels.clamp(1e-6, 1) ** float(gamma) * balance[:, None, None]
    mean = pixels.mean()
    grey = pixels.mean(0, keepdim=True)
    pixels = grey + (pixels - grey) * float(saturation)
    return (mean + (pixels - mean) * float(contrast)).clamp(0, 1)


def region_boundaries(labels: torch.Tensor) -> torch.Tensor:
    """Return a mask of pixels whose label differs from a 4-neighbour's: two pixels wide, centred on the border."""
    is_boundary = torch.zeros_like(labels, dtype=torch.bool)
    vertical = labels[..., 1:, :] != labels[..., :-1, :]
    horizontal = labels[..., :, 1:] != labels[..., :, :-1]
    is_boundary[..., 1:, :] |= vertical
    is_boundary[..., :-1, :] |= vertical
    is_boundary[..., :, 1:] |= horizontal
    is_boundary[..., :, :-1] |= horizontal
    return is_boundary


def collate(samples: list[TrainingSample]) -> TrainingSample:
    """Stack samples along a new first axis."""
    return TrainingSample(
        torch.stack([s.image for s in samples]),
        torch.stack([s.boundary_share for s in samples]),
        torch.stack([s.near_share for s in samples]),
        torch.stack([s.labels for s in samples]),
    )


def make_dataset(config: DataConfig, split: str, is_checked: bool = False) -> Sequence[Sample]:
    """Return one split of the configured data set, after checking that it is complete unless that has been done."""
    samples: BSDS500 | LabelFolder
    if config.folder is not None:
        samples = LabelFolder(config.folder, split, config.val_fraction)
    else:
        samples = BSDS500(data_root(config.root), split)
    if not is_checked:
        samples.check()
    return samples


def training_samples(config: DataConfig, is_checked: bool = False) -> Sequence[Sample]:
    """Return the training images; raise FileFormatError, naming those whose annotations are missing."""
    return make_dataset(config, config.split, is_checked)


def validation_samples(config: DataConfig, is_checked: bool = False) -> Sequence[Sample]:
    """Return the validation images of a run on the train split; none if the run trains on them."""
    return make_dataset(config, "val", is_checked) if config.split == "train" else ()


_SCORES = ("asa", "undersegmentation_error", "boundary_recall", "compactness")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Scores of one image for each number of superpixels, and the mean ASA.

    scores  "val_asa_200", ... -> mean over annotators
    asa     mean of the ASA over the numbers of superpixels
    labels  (H, W) int32, superpixels for the first number
    name    name of the image
    """

    image: np.ndarray
    labels: np.ndarray
    scores: dict[str, float]
    asa: float
    name: str = ""


class ValidationImages(Dataset[tuple[np.ndarray, list[np.ndarray]]]):
    """Images and truths, read from disk at each access because they are rarely needed."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __deepcopy__(self, memo: dict[int, object]) -> "ValidationImages":
        return self

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the image, RGB uint8 or bands float32, and its annotators' (H, W) segmentations."""
        return read_channels(self.samples[index].image_path), self.samples[index].truths


def judge(
    network: Network,
    image: Pixels,
    truths: Sequence[Int32[np.ndarray, "height width"]],
    counts: Sequence[int],
) -> Judged:
    """Return the scores of one image's superpixels, for each number of superpixels in `counts`."""
    config = default_config(network)
    maps = predict(image, network)
    labels = [make_leaves(maps, min(count, maps.boundary.size), network, config) for count in counts]
    figures = [score_superpixels(label_map, truths).over("mean") for label_map in labels]
    scores = {
        f"val_{name}_{count}": float(getattr(label_map, name))
        for count, label_map in zip(counts, figures, strict=True)
        for name in _SCORES
    }
    return Judged(preview(image), labels[0], scores, float(np.mean([label_map.asa for label_map in figures])))


def draw_judged(judged: Sequence[Judged]) -> UInt8[np.ndarray, "height width 3"]:
    """Return the images one below the other, with the borders of their superpixels drawn and captions."""
    pictures = [draw_boundaries(sample.image, sample.labels) for sample in judged]
    captions = [f"{sample.name}: {sample.labels.max() + 1} superpixels, ASA {sample.asa:.3f}" for sample in judged]
    return contact_sheet(pictures, captions, columns=1)
