"""Judge a network on the way: the superpixels that the pipeline makes with it, against all annotators.

In   a network in eval mode, images and their truths
Out  Judged: scores by name; a picture of the superpixels
Not  no tuning, no hierarchy scores, no files
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8
from torch.utils.data import Dataset

from supercuts.datasets.base import Sample
from supercuts.evaluate.superpixels import score_superpixels
from supercuts.images.bands import preview, read_channels
from supercuts.images.draw import draw_boundaries
from supercuts.networks.network import Network, Pixels
from supercuts.networks.predict import predict
from supercuts.settings import default_config
from supercuts.superpixels.leaves import make_leaves

_SCORES = ("asa", "undersegmentation_error", "boundary_recall", "compactness")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One image's scores: of each number of superpixels, and the ASA over all of them.

    scores  "val_asa_200", ... -> mean over annotators
    asa     mean of the ASA over the numbers of superpixels
    labels  (H, W) int32, the superpixels of the first number
    """

    image: np.ndarray
    labels: np.ndarray
    scores: dict[str, float]
    asa: float


class ValidationImages(Dataset[tuple[np.ndarray, list[np.ndarray]]]):
    """Images and truths, read again each time: they are needed rarely."""

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
    """Score the superpixels of one image, for each of `counts` of them."""
    config = default_config(network)
    maps = predict(image, network)
    labels = [make_leaves(maps, min(count, maps.boundary.size), network, config)[0] for count in counts]
    figures = [score_superpixels(one, truths).over("mean") for one in labels]
    scores = {
        f"val_{name}_{count}": float(getattr(one, name))
        for count, one in zip(counts, figures, strict=True)
        for name in _SCORES
    }
    return Judged(preview(image), labels[0], scores, float(np.mean([one.asa for one in figures])))


def picture(judged: Sequence[Judged]) -> UInt8[np.ndarray, "height width 3"]:
    """Return the images one below the other with the borders of their superpixels."""
    drawn = [draw_boundaries(one.image, one.labels) for one in judged]
    width = max(one.shape[1] for one in drawn)
    return np.concatenate([np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0))) for one in drawn])
