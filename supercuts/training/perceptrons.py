"""Learn perceptrons from features and targets.

In   features (S, F), targets (S,) in 0..1, weights (S,)
Out  Perceptrons
Not  no features, no files
"""

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from supercuts.merging._kernels.affinity import MOST_DEVIATIONS
from supercuts.merging.perceptrons import Perceptrons


class PerceptronTrainingConfig(BaseModel, frozen=True, extra="forbid"):
    """How perceptrons are learned."""

    members: PositiveInt = 4  # perceptrons, which differ in their random start
    hidden: PositiveInt = 32  # units in each of the two hidden layers
    epochs: PositiveFloat = 2.0  # few: the samples of one image are much alike
    batch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 3e-3
    weight_decay: NonNegativeFloat = 1e-2
    dropout: float = Field(default=0.1, ge=0, lt=1)  # of features and of hidden units
    seed: NonNegativeInt = 0


def fit(
    features: np.ndarray, targets: np.ndarray, weights: np.ndarray, config: PerceptronTrainingConfig
) -> Perceptrons:
    """Return the perceptrons of least weighted cross-entropy with targets (S,) in 0..1."""
    mean, scale = features.mean(0), 1 / (features.std(0) + 1e-6)
    inputs = torch.from_numpy((features - mean) * scale).clamp_(-MOST_DEVIATIONS, MOST_DEVIATIONS)
    wanted, importance = torch.from_numpy(targets), torch.from_numpy(weights.astype(np.float32))
    members = [_fit_one(inputs, wanted, importance, config, config.seed + i) for i in range(config.members)]
    first, second, last = (np.stack(parts) for parts in zip(*members, strict=True))
    return Perceptrons(mean.astype(np.float32), scale.astype(np.float32), first, second, last[..., 0])


def _fit_one(
    inputs: torch.Tensor, wanted: torch.Tensor, importance: torch.Tensor, config: PerceptronTrainingConfig, seed: int
) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(inputs.shape[1], config.hidden), nn.Linear(config.hidden, config.hidden)]
        layers.append(nn.Linear(config.hidden, 1))
        drop, act = nn.Dropout(config.dropout), nn.ReLU()
        network = nn.Sequential(drop, layers[0], act, drop, layers[1], act, drop, layers[2])
        size = min(config.batch_size, len(inputs))
        n_steps = max(int(config.epochs * len(inputs) / size), 1)
        optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=n_steps)
        order = torch.empty(0, dtype=torch.long)
        for _ in range(n_steps):
            if len(order) < size:
                order = torch.randperm(len(inputs), generator=generator)
            batch, order = order[:size], order[size:]
            logits = network(inputs[batch])[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, wanted[batch], importance[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return [torch.cat([layer.weight.detach().T, layer.bias.detach()[None]]).contiguous().numpy() for layer in layers]
