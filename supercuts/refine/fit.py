"""Fit a network to images with its own labels as targets: the loop of the Kanezaki family.

In   Examples: images (H, W, C) of any sizes, with superpixels (method sp), scribbles or initial labels
Out  the network, a record of each step
Not  no files, no reading, no superpixels

At each step the labels of the response become its targets: unchanged (ST) or by majority vote within superpixels (SP),
and replaced by the user's classes on scribbles. Each image of a batch is normalised by its own statistics and the
losses are averaged. So images may differ in size, and an image is normalised in training as it is for labelling.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float32, Int, Int32

from supercuts.core.errors import InputError
from supercuts.refine.objective import Terms, classify, objective, pixel_weights
from supercuts.refine.refine_config import RefineConfig
from supercuts.refine.refiner import KanezakiCNN, choose_precision
from supercuts.superpixels.grid import connected_pieces


def majority_vote(
    labels: Int[np.ndarray, "*shape"], superpixels: Int[np.ndarray, "*shape"], n_classes: int
) -> Int32[np.ndarray, "*shape"]:
    """Return the most frequent label of each pixel's superpixel; ties go to the smallest label.

    >>> majority_vote(np.array([3, 1, 1, 2, 0]), np.array([0, 0, 0, 1, 1]), 4).tolist()
    [1, 1, 1, 0, 0]
    """
    n_superpixels = int(superpixels.max()) + 1
    votes = np.bincount(
        superpixels.ravel().astype(np.int64) * n_classes + labels.ravel(), minlength=n_superpixels * n_classes
    )
    winner: np.ndarray = votes.reshape(n_superpixels, n_classes).argmax(axis=1).astype(np.int32)
    voted: np.ndarray = winner[superpixels]
    return voted


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An image with optional label maps.

    image        (H, W, C) float32  0..1
    superpixels  (H, W) int32       ids from 0, required by method sp
    scribbles    (H, W) int32       classes marked by the user, -1 elsewhere
    initial      (H, W) int32       initial labels, from 0
    """

    image: Float32[np.ndarray, "height width channels"]
    superpixels: Int32[np.ndarray, "superpixels_height superpixels_width"] | None = None
    scribbles: Int32[np.ndarray, "scribbles_height scribbles_width"] | None = None
    initial: Int32[np.ndarray, "initial_height initial_width"] | None = None

    def __post_init__(self) -> None:
        """Raise InputError if a label map differs in size from the image."""
        for name in ("superpixels", "scribbles", "initial"):
            labels = getattr(self, name)
            if labels is not None and labels.shape != self.image.shape[:2]:
                raise InputError(
                    f"{name} {labels.shape} and image {self.image.shape[:2]} differ in size: give a map of this image."
                )


class Step(NamedTuple):
    """Record of one step.

    number    int              number of the step, from 0
    of        int              maximum number of steps
    loss      float            mean over the batch
    n_labels  int              number of labels, maximum over the images of the batch
    terms     Terms            terms of the last image of the batch
    labels    (H, W) int32     labels of that image before the step
    """

    number: int
    of: int
    loss: float
    n_labels: int
    terms: Terms
    labels: Int32[np.ndarray, "height width"]


Watch = Callable[[Step], None]


class _Ready(NamedTuple):
    """An example prepared for the loop."""

    example: Example
    image: torch.Tensor
    weights: Float32[np.ndarray, "height width"]
    is_marked: np.ndarray


@torch.inference_mode(False)  # the host may have disabled gradients
def fit(
    examples: Sequence[Example],
    config: RefineConfig,
    watch: Watch | None = None,
    device: torch.device | str = "cpu",
) -> KanezakiCNN:
    """Return a network fitted to the images, in eval mode; `watch` is called after each step.

    With one image, epochs are steps, as in the programs of 2018 and 2020. With several, one network is fitted to all,
    in batches of a new order each epoch. Stops early once no image has more than min_classes labels.
    """
    check_examples(examples, config)
    device = torch.device(device)
    network = new_network(config, examples[0].image.shape[2], device)
    optimizer = torch.optim.SGD(
        network.parameters(), config.learning_rate, config.momentum, weight_decay=config.weight_decay
    )
    ready = [_prepare(example, config, device) for example in examples]
    halves = [_prepare(_half(example), config, device) for example in examples] if config.half_steps else ready
    stops = [_min_classes(example, config) for example in examples]
    counts = np.full(len(examples), config.n_classes)
    n_pixels = max(example.image[..., 0].size for example in examples)
    scratch = torch.empty(n_pixels * config.n_classes, dtype=torch.float32, device="cpu")
    rng = np.random.default_rng(config.seed)
    n_batches = -(-len(examples) // config.batch_size)
    n_steps, index = config.epochs * n_batches * config.updates, 0
    network.train()
    for _ in range(config.epochs):
        for batch in np.array_split(rng.permutation(len(examples)), n_batches):
            for _ in range(config.updates):
                loss = 0.0
                optimizer.zero_grad()
                inputs = halves if index < config.half_steps else ready
                for i in batch:
                    part, counts[i], terms, labels = _backward(network, inputs[i], config, index, batch.size, scratch)
                    loss += part / batch.size
                optimizer.step()
                if watch is not None:
                    picture = _enlarged(labels, examples[batch[-1]].image.shape[:2])
                    watch(Step(index, n_steps, loss, int(counts[batch].max()), terms, picture))
                index += 1
        if (counts <= stops).all() and index > config.half_steps:
            break
    network.use_statistics(config.statistics)
    return network.eval()


def respond(network: KanezakiCNN, image: Float32[np.ndarray, "height width channels"]) -> torch.Tensor:
    """Return the response (1, K, H, W) of an image, on the network's device, without a gradient."""
    if image.shape[2] != network.channels:
        raise InputError(
            f"the image has {image.shape[2]} channels, the network takes {network.channels}: give images like those it "
            "was fitted to."
        )
    with torch.inference_mode():
        response: torch.Tensor = network(_to_tensor(image, network.classify.weight.device))
        return response


def label(network: KanezakiCNN, example: Example, config: RefineConfig) -> Int32[np.ndarray, "height width"]:
    """Return the class of each pixel: the scribbled class on scribbles, else the network's.

    With method sp and `snap`, classes are constant within superpixels. Scribbles are applied last, so a superpixel that
    contains one may have two classes. A number means the same class in all images, except with `connected`, which
    numbers connected pieces.
    """
    labels = classify(respond(network, example.image)).labels
    if config.method == "sp" and config.snap and example.superpixels is not None:
        labels = majority_vote(labels, example.superpixels, config.n_classes)
    if example.scribbles is not None:
        labels = np.where(example.scribbles >= 0, example.scribbles, labels)
    return connected_pieces(labels, np.zeros_like(labels)) if config.connected else labels


def new_network(config: RefineConfig, channels: int, device: torch.device) -> KanezakiCNN:
    """Return a network with random weights that depend only on the seed."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(config.seed)
        network = KanezakiCNN(config, channels, choose_precision(config.precision, device))
    return network.to(device)


def check_examples(examples: Sequence[Example], config: RefineConfig) -> None:
    """Raise InputError, before any work, if the examples do not fit the settings."""
    if not examples:
        raise InputError("no image to fit a network to: give at least one.")
    channels = examples[0].image.shape[2]
    for example in examples:
        if example.image.shape[2] != channels:
            raise InputError(f"images of {channels} and of {example.image.shape[2]} channels: give images of one kind.")
        if config.method == "sp" and example.superpixels is None:
            raise InputError("method=sp votes within superpixels: give each image's label map, or method=st.")
        for name in ("scribbles", "initial"):
            labels = getattr(example, name)
            if labels is not None and labels.max() >= config.n_classes:
                raise InputError(
                    f"{name} hold class {labels.max()}, outside 0..{config.n_classes - 1}: renumber them, or set "
                    f"n_classes={labels.max() + 1}."
                )


def _backward(
    network: KanezakiCNN, ready: _Ready, config: RefineConfig, index: int, n_batch: int, scratch: torch.Tensor
) -> tuple[float, int, Terms, np.ndarray]:
    """Add the gradient of one image; return its loss, its number of labels, the terms and the labels."""
    example, response = ready.example, network(ready.image)
    classified = classify(response, scratch)
    targets = classified.labels
    if example.initial is not None and index < config.initial_steps:
        targets = example.initial
    elif config.method == "sp" and example.superpixels is not None:
        targets = majority_vote(classified.labels, example.superpixels, config.n_classes)
    if example.scribbles is not None:
        targets = np.where(ready.is_marked, example.scribbles, targets)
    loss, terms = objective(response, classified, targets, ready.weights, config)
    (loss / n_batch if n_batch > 1 else loss).backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), classified.n_labels, terms, classified.labels


def _prepare(example: Example, config: RefineConfig, device: torch.device) -> _Ready:
    scribbles = np.full(example.image.shape[:2], -1, np.int32) if example.scribbles is None else example.scribbles
    return _Ready(example, _to_tensor(example.image, device), pixel_weights(scribbles, config), scribbles >= 0)


def _half(example: Example) -> Example:
    """Return the example at half the size: means of 2 x 2 pixels, and the first label of each 2 x 2."""
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(example.image)), "h w c -> 1 c h w")
    mean = F.avg_pool2d(pixels, 2, ceil_mode=True, count_include_pad=False)[0].permute(1, 2, 0)
    maps = (example.superpixels, example.scribbles, example.initial)
    return Example(
        np.ascontiguousarray(mean.numpy()), *(m if m is None else np.ascontiguousarray(m[::2, ::2]) for m in maps)
    )


def _enlarged(labels: Int32[np.ndarray, "_ _"], shape: tuple[int, ...]) -> Int32[np.ndarray, "height width"]:
    """Return labels at full size: half-size labels are doubled, full-size labels unchanged."""
    if labels.shape == shape:
        return labels
    return labels.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def _min_classes(example: Example, config: RefineConfig) -> int:
    """Return the number of labels at which fitting stops (0: never): with scribbles, their number of classes."""
    if example.scribbles is None or config.min_classes == 0:
        return config.min_classes
    return np.unique(example.scribbles[example.scribbles >= 0]).size or config.min_classes


def _to_tensor(image: np.ndarray, device: torch.device) -> torch.Tensor:
    # (H, W, C) viewed as (C, H, W) is already channels last
    return rearrange(torch.from_numpy(np.ascontiguousarray(image)), "h w c -> 1 c h w").to(device)
