"""Time what SSN adds to a DINO backbone: in a training step, and when an image is described.

In   nothing: weights and images are random, which costs the same time
Out  medians in milliseconds and the two ratios
Not  no accuracy; speed.py prints it beside its own table
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from supercuts.core.private_torch import autocast
from supercuts.networks.ssn import SSN, color_features
from supercuts.networks.ssn_config import SSNConfig
from supercuts.superpixels.grid import make_grid
from supercuts.superpixels.kmeans_torch import make_layout, pixel_features, soft_kmeans, to_cells
from supercuts.training.module import boundary_loss, superpixel_losses
from supercuts.training.samples import TrainingSample
from supercuts.training.training_config import LossConfig

BACKBONE = "dino_vits16"
BATCH, CROP_PX, CELLS, ITERATIONS = 6, 200, 100, 5  # Jampani et al.'s training
SIZE = (321, 481)


def measure(n_runs: int) -> dict[str, float]:
    """Return milliseconds of the steps, and the shares."""
    torch.manual_seed(0)
    network = SSN(SSNConfig(backbone=BACKBONE, head_channels=(64,)))
    network.to(memory_format=torch.channels_last)
    training, ssn, losses = _median_ms(lambda: _training_step(network.train()), n_runs)
    whole, bare = _median_ms(lambda: _inference(network.eval()), n_runs)
    return {
        f"training step, {BATCH} crops of {CROP_PX} px": training,
        f"of it SSN, {ITERATIONS} iterations, {CELLS} superpixels": ssn,
        "SSN's share of the step": ssn / training,
        "SSN with colours and both losses": losses,
        "their share of the step": losses / training,
        f"SSN_DINO at {SIZE[0]}x{SIZE[1]}": whole,
        "the bare ViT-S/16": bare,
        "SSN_DINO to bare ViT": whole / bare,
    }


def _median_ms(step: Callable[[], tuple[float, ...]], n_runs: int) -> tuple[float, ...]:
    """Return the medians of all figures; the first run is left out."""
    step()
    return tuple(1000 * statistics.median(times) for times in zip(*(step() for _ in range(n_runs)), strict=True))


def _training_step(network: SSN) -> tuple[float, float, float]:
    """Return the seconds of a whole step without the optimiser's, of SSN alone, and of SSN with its losses.

    SSN alone is run beside the step, which it is not counted in.
    """
    batch = _batch()
    config = LossConfig(ssn_crop_px=CROP_PX, ssn_cells=(CELLS, CELLS), ssn_iterations=ITERATIONS)
    start = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = network(batch.image.contiguous(memory_format=torch.channels_last))
    boundary = boundary_loss(prediction.boundary_logits, batch.boundary_share)
    # the graph is cut at the embeddings, so that SSN's backward can be timed alone
    embeddings = prediction.embeddings.detach().requires_grad_()
    before = time.perf_counter()
    reconstruction, compactness = superpixel_losses(batch, embeddings, config, network.config, np.random.default_rng(0))
    (2 * reconstruction + 0.1 * compactness).backward()
    after = time.perf_counter()
    torch.autograd.backward([boundary, prediction.embeddings], [torch.ones_like(boundary), embeddings.grad])
    end = time.perf_counter()
    network.zero_grad()
    return end - start, _ssn(batch.image, embeddings.detach(), network.config), after - before


def _ssn(images: torch.Tensor, embeddings: torch.Tensor, config: SSNConfig) -> float:
    """Return the seconds of features, iterations and their gradient, an image at a time as in training."""
    layout = make_layout(make_grid(CROP_PX, CROP_PX, CELLS))
    colors = color_features(images)
    start = time.perf_counter()
    for color, learned in zip(colors.split(1), embeddings.split(1), strict=True):
        learned = learned.clone().requires_grad_()
        soft = soft_kmeans(to_cells(pixel_features(color, learned, layout.grid, config), layout), layout, ITERATIONS)
        torch.autograd.backward(soft.weights, torch.ones_like(soft.weights))
    return time.perf_counter() - start


def _inference(network: SSN) -> tuple[float, float]:
    """Return the seconds of SSN_DINO on an image, as the pipeline runs it, and of the transformer alone."""
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    # the transformer's own input: whole patches
    patches = torch.nn.functional.pad(image, (0, -SIZE[1] % 16, 0, -SIZE[0] % 16), mode="replicate")
    with torch.inference_mode(), autocast(image.device):
        start = time.perf_counter()
        network(image.contiguous(memory_format=torch.channels_last))
        between = time.perf_counter()
        network.backbone.pretrained.forward_features(patches)
        end = time.perf_counter()
    return between - start, end - between


def _batch() -> TrainingSample:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(CROP_PX)[:, None] // 40 * 5 + torch.arange(CROP_PX) // 40).expand(BATCH, -1, -1)
    image = torch.rand(BATCH, 3, CROP_PX, CROP_PX, generator=generator)
    share = torch.rand(BATCH, 1, CROP_PX, CROP_PX, generator=generator)
    return TrainingSample(image, share, share, labels)
