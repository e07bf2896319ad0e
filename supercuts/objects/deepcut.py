"""DeepCut: cluster the nodes of a graph with a small graph network optimised on one image.

Aflalo et al., "DeepCut: Unsupervised segmentation using graph neural networks clustering", ICCVW 2023: one graph
convolution and two linear layers compute a soft assignment S. The loss is the normalised cut or correlation clustering.
Differences from the original: If edges are given, only these are joined, not all pairs, so memory grows with their
number. Labels come from a pass without dropout after the last step, not from one with dropout before it. The background
is the part with most of the image border, not the one at the four corner patches.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, Int64
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from supercuts.core.errors import InputError
from supercuts.core.threads import Progress
from supercuts.objects.node_graph import Foreground, NodeGraph, check_features, foreground

_TINY = 1e-12


class DeepCutConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings of the network and its optimisation; defaults are the original's where it has them."""

    # normalised cut into about equal parts, or correlation clustering into at most n_parts. The latter needs edges
    # between dissimilar nodes, because few close neighbours repel each other
    loss: Literal["ncut", "cc"] = "ncut"
    n_parts: PositiveInt = 2
    sensitivity: PositiveFloat = 3.0  # for cc: an edge repels if its weight is below the highest / sensitivity
    hidden: tuple[PositiveInt, PositiveInt] = (64, 32)
    dropout: float = Field(default=0.25, ge=0, lt=1)
    steps: PositiveInt = 100
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-2
    seed: NonNegativeInt = 0


class Clustering(NamedTuple):
    """Result of DeepCut.

    parts  (N,) int64      part of highest weight, 0..P-1 without gaps, in order of first node
    soft   (N, K) float32  weights of all n_parts, which sum to 1
    loss   float           loss of `soft`
    """

    parts: np.ndarray
    soft: np.ndarray
    loss: float


@torch.inference_mode(False)  # the host may have disabled gradients, or run in bfloat16
@torch.autocast("cpu", enabled=False)  # type: ignore[untyped-decorator]
def deepcut(
    features: Float32[np.ndarray, "nodes channels"],
    edges: Int32[np.ndarray, "pairs 2"] | None,
    config: DeepCutConfig | None = None,
    progress: Progress | None = None,
) -> Clustering:
    """Return the clustering of a graph whose edges are weighted by the similarity of their nodes' features.

    If `edges` is None, all pairs are joined, as in the original. `progress(done, total)` is called after each step.
    """
    config = config or DeepCutConfig()
    n = len(features)
    if edges is not None and edges.size and (edges.min() < 0 or edges.max() >= n):
        raise InputError(f"edges name nodes {edges.min()}..{edges.max()}, but there are {n}: ids are 0..{n - 1}.")
    if not np.isfinite(features).all():
        raise InputError(f"{(~np.isfinite(features)).sum()} of {features.size} features are not finite.")
    x = torch.from_numpy(features)
    weights, messages = affinities(x, edges, config)
    smoothed = _normalised(messages) @ x  # once for all steps: the convolution's weights are applied to it
    loss_of = ncut_loss if config.loss == "ncut" else cc_loss
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = _Network(x.shape[1], config)
        optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        for step in range(config.steps):
            loss = loss_of(network(smoothed), weights)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            if progress is not None:
                progress(step + 1, config.steps)
        with torch.inference_mode():
            soft = network.eval()(smoothed)
            final = float(loss_of(soft.double(), weights.double()))
    return Clustering(_number(soft.numpy().argmax(1)), soft.numpy(), final)


def affinities(
    x: Float[torch.Tensor, "nodes channels"], edges: Int32[np.ndarray, "pairs 2"] | None, config: DeepCutConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the (N, N) weights of the loss and of message passing; sparse if there are edges.

    Normalised cut: W = max(F F', 0) / max. Correlation clustering: W = (F F' - max / sensitivity) / max, and messages
    pass where W is positive. A node is joined to itself, as in the original; if this edge has no positive weight,
    messages pass with weight 1 / max.
    """
    n = len(x)
    if edges is None:
        products, is_loop = x @ x.T, torch.eye(n, dtype=torch.bool, device=x.device)
    else:
        loops = torch.arange(n, device=x.device).expand(2, n)
        ends = torch.from_numpy(edges.T.astype(np.int64))
        pairs = torch.cat([ends, ends.flip(0), loops], dim=1)
        products, is_loop = (x[pairs[0]] * x[pairs[1]]).sum(1), pairs[0] == pairs[1]
    highest = products.max().clamp_min(_TINY)
    weights = products.clamp_min(0) / highest if config.loss == "ncut" else products / highest - 1 / config.sensitivity
    messages = torch.where(is_loop & (weights <= 0), 1 / highest, weights.clamp_min(0))
    if edges is None:
        return weights, messages
    sparse = [torch.sparse_coo_tensor(pairs, w, (n, n), check_invariants=False).coalesce() for w in (weights, messages)]
    return sparse[0], sparse[1]


def ncut_loss(soft: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return - tr(S' W S) / tr(S' D S) + |S' S / |S' S| - I / sqrt(K)|, the normalised cut, for S (N, K)."""
    degree = weights @ torch.ones_like(soft[:, :1])
    cut = -(soft * (weights @ soft)).sum() / (degree * soft.square()).sum().clamp_min(_TINY)
    gram = soft.T @ soft
    # favours parts of equal size, none empty
    even = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) / len(gram) ** 0.5
    balance = (gram / gram.norm() - even).norm()
    loss: torch.Tensor = cut + balance
    return loss


def cc_loss(soft: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return - sum(W * S S'), the loss of correlation clustering, for S (N, K)."""
    loss: torch.Tensor = -(soft * (weights @ soft)).sum()
    return loss


class _Network(nn.Module):
    """Graph convolution (Kipf & Welling 2017), two linear layers, softmax over the parts."""

    def __init__(self, n_in: int, config: DeepCutConfig) -> None:
        super().__init__()
        first, second = config.hidden
        kind: Any = {"dtype": torch.float32, "device": "cpu"}  # whatever the host's defaults
        self.conv = nn.Linear(n_in, first, bias=False, **kind)
        self.bias = nn.Parameter(torch.zeros(first, **kind))
        self.head = nn.Sequential(
            nn.ELU(),
            nn.Linear(first, second, **kind),
            nn.ELU(),
            nn.Dropout(config.dropout),
            nn.Linear(second, config.n_parts, **kind),
        )

    def forward(self, smoothed: torch.Tensor) -> torch.Tensor:
        """Return the soft assignment (N, K) of features (N, D) that were already passed along the edges."""
        soft: torch.Tensor = self.head(self.conv(smoothed) + self.bias).softmax(dim=1)
        return soft


def _normalised(weights: torch.Tensor) -> torch.Tensor:
    """Return D^-1/2 W D^-1/2."""
    n = len(weights)
    root = (weights @ torch.ones(n, 1, dtype=weights.dtype, device=weights.device)).clamp_min(_TINY).rsqrt()
    if not weights.is_sparse:
        return root * weights * root.T
    pairs = weights.indices()
    values = weights.values() * root[pairs[0], 0] * root[pairs[1], 0]
    return torch.sparse_coo_tensor(pairs, values, (n, n), check_invariants=False, is_coalesced=True)


def _number(parts: np.ndarray) -> Int64[np.ndarray, " nodes"]:
    _, first, inverse = np.unique(parts, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int64)[inverse]


NCUT = DeepCutConfig(loss="ncut", n_parts=2)
CC = DeepCutConfig(loss="cc", n_parts=10)  # at most ten parts


def deepcut_object(
    features: Float[np.ndarray, "nodes channels"],
    graph: NodeGraph,
    config: DeepCutConfig = NCUT,
    progress: Progress | None = None,
) -> Foreground:
    """Return all parts except the background, on the graph of all pairs; calls `progress(done, total)` each step."""
    check_features(features, graph)
    soft = deepcut(features.astype(np.float32), None, config, progress).soft.astype(np.float64)
    part = soft.argmax(1)
    n_parts = soft.shape[1]
    background = int(np.bincount(part, graph.border, minlength=n_parts).argmax())
    rival = np.delete(soft, background, axis=1).max(1, initial=0.0)
    vector = rival - soft[:, background]
    likely = rival / (rival + soft[:, background])  # 0.5 where the background is as likely as the best other part
    return foreground(part != background, vector, likely, graph.area)
