"""Time a step of the refinement and of the plain PyTorch loop of the published kind, in the same run.

In   nothing
Out  a table: seconds a step of both, for ST and SP, 100 channels, two convolutions; on request JSON
Not  no quality (refine.py), no test

    python benchmarks/refine_speed.py --runs 5 --threads 1 --json refine_speed.json
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import markdown_facts, markdown_table, positive_int, run_facts, write_json
from torch import nn

from supercuts.refine.fit import Example, Step, fit
from supercuts.refine.refine_config import RefineConfig


class PlainNetwork(nn.Module):
    """The published network, written as it is published."""

    def __init__(self, channels: int, n_channels: int = 100, n_conv: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, n_channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(n_channels)
        self.conv2 = nn.ModuleList(nn.Conv2d(n_channels, n_channels, 3, padding=1) for _ in range(n_conv - 1))
        self.bn2 = nn.ModuleList(nn.BatchNorm2d(n_channels) for _ in range(n_conv - 1))
        self.conv3 = nn.Conv2d(n_channels, n_channels, 1)
        self.bn3 = nn.BatchNorm2d(n_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the response (1, K, H, W)."""
        x = self.bn1(F.relu(self.conv1(x)))
        for conv, bn in zip(self.conv2, self.bn2, strict=True):
            x = bn(F.relu(conv(x)))
        response: torch.Tensor = self.bn3(self.conv3(x))
        return response


def plain_loop(
    image: np.ndarray, superpixels: np.ndarray | None, steps: int, seed: int = 0, weights: tuple[float, float] = (1, 1)
) -> Iterator[np.ndarray]:
    """Yield the labels (H, W) of each step: similarity and continuity, or majority votes within superpixels.

    One superpixel at a time in Python, losses of the framework, float32, like the published programs.
    """
    torch.manual_seed(seed)
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
    network = PlainNetwork(image.shape[2])
    network.train()
    height, width = image.shape[:2]
    members = []
    if superpixels is not None:
        flat = superpixels.ravel()
        members = [np.where(flat == i)[0] for i in np.unique(flat)]
    cross_entropy, distance = nn.CrossEntropyLoss(), nn.L1Loss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        response = network(x)[0]
        rows = response.permute(1, 2, 0).contiguous().view(-1, response.shape[0])
        _, target = torch.max(rows, 1)
        yield target.numpy().reshape(height, width)
        if superpixels is None:
            maps = rows.reshape(height, width, -1)
            vertical, horizontal = maps[1:] - maps[:-1], maps[:, 1:] - maps[:, :-1]
            continuity = distance(vertical, torch.zeros_like(vertical))
            continuity = continuity + distance(horizontal, torch.zeros_like(horizontal))
            loss = weights[0] * cross_entropy(rows, target) + weights[1] * continuity
        else:
            labels = target.numpy().copy()
            for inside in members:
                votes = labels[inside]
                kinds = np.unique(votes)
                counts = np.zeros(len(kinds))
                for j, kind in enumerate(kinds):
                    counts[j] = len(np.where(votes == kind)[0])
                labels[inside] = kinds[np.argmax(counts)]
            loss = cross_entropy(rows, torch.from_numpy(labels))
        loss.backward()
        optimizer.step()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=positive_int, default=5, help="steps timed, after one that is not")
    parser.add_argument("--threads", type=positive_int, default=1, help="of torch and the kernels")
    parser.add_argument("--size", type=positive_int, nargs=2, default=(321, 481), metavar=("H", "W"))
    parser.add_argument("--superpixels", type=positive_int, default=10000, help="of method sp, squares")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # the kernels' threads
    height, width = arguments.size
    rng = np.random.default_rng(0)
    image = rng.random((height, width, 3), dtype=np.float32)
    maps = {"st": None, "sp": squares_of(height, width, arguments.superpixels)}
    n_steps = arguments.runs + 2
    # plain loops first: ours changes how the process keeps memory, which would make them faster too
    plain = {m: seconds_of(lambda tick, s=s: [tick() for _ in plain_loop(image, s, n_steps)]) for m, s in maps.items()}
    ours = {m: seconds_of(lambda tick, s=s, m=m: run_ours(image, s, m, n_steps, tick)) for m, s in maps.items()}
    figures = {m: {"plain": plain[m], "ours": ours[m], "times faster": plain[m] / ours[m]} for m in maps}
    facts = {
        **run_facts(),
        "image": f"{height}x{width}, random; {arguments.superpixels} squares as superpixels of sp",
        "runs": f"median of {arguments.runs} steps, seconds of the processor, {arguments.threads} threads of torch",
    }
    rows = [(name, *(f"{value:.3f}" for value in row.values())) for name, row in figures.items()]
    print(f"{markdown_facts(facts)}\n\n{markdown_table(('method', 'plain s', 'ours s', 'times faster'), rows)}")
    if arguments.json:
        write_json(arguments.json, {"facts": facts, "seconds a step": figures})


def run_ours(
    image: np.ndarray, superpixels: np.ndarray | None, method: str, steps: int, tick: Callable[[], None]
) -> None:
    """Run our loop with the published settings."""
    config = RefineConfig(method=method, epochs=steps, min_classes=0, nu=0 if method == "sp" else 1)

    def watch(_: Step) -> None:
        tick()

    fit([Example(image, superpixels)], config, watch)


def seconds_of(work: Callable[[Callable[[], None]], object]) -> float:
    """Return the median seconds of the processor between ticks, the first interval left out."""
    times: list[float] = []
    work(lambda: times.append(time.process_time()))  # not the clock: other programs would count
    return statistics.median(b - a for a, b in itertools.pairwise(times[1:]))


def squares_of(height: int, width: int, count: int) -> np.ndarray:
    """Return about `count` square superpixels."""
    side = max(1, round((height * width / count) ** 0.5))
    columns = -(-width // side)
    return (np.arange(height)[:, None] // side * columns + np.arange(width) // side).astype(np.int32)


if __name__ == "__main__":
    main()
