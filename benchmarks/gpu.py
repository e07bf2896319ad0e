"""Check a GPU against the CPU, and time it: stages of one image, images a second by batch.

In   a photograph, scaled; a device of torch
Out  differences of the maps and of the superpixels, medians by stage, images a second at several batch sizes
Not  training; files

    python benchmarks/gpu.py                    # cuda, in about five minutes
    python benchmarks/gpu.py --device cpu --batches 1 --sizes 48x64 --runs 1     # tries the script itself
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from common import ROOT, markdown_facts, markdown_table, positive_int, run_facts, write_json
from speed import read_scaled
from speed_methods import STAGES, timed

import supercuts
from supercuts.networks.network import VIEWS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "photo.jpg")
    parser.add_argument("--sizes", nargs="+", default=("321x481", "2", "8"), help="ROWSxCOLUMNS, or megapixels")
    parser.add_argument("--batches", nargs="+", type=positive_int, default=(1, 8, 32), help="images of the first size")
    parser.add_argument("--superpixels", type=positive_int, default=400)
    parser.add_argument("--runs", type=positive_int, default=10)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()

    expected, model = supercuts.load(engine="torch"), supercuts.load(engine="torch", device=arguments.device)
    images = {size: read_scaled(arguments.image, size) for size in arguments.sizes}
    first = next(iter(images.values()))
    facts = {**run_facts(), "device": device_name(model.device), "superpixels": str(arguments.superpixels)}
    agreement = compare(first, expected, model, arguments.superpixels)
    stages = {size: time_stages(image, model, arguments) for size, image in images.items()}
    rates = {f"{n}": images_a_second(first, n, model, arguments) for n in arguments.batches}

    print(markdown_facts(facts))
    rows = [(name, f"{value:.2g}") for name, value in agreement.items()]
    print(f"\n{markdown_table(('GPU and CPU', 'difference'), rows)}")
    rows = [(stage, *(f"{1000 * of_size[stage]:.1f}" for of_size in stages.values())) for stage in ("total", *STAGES)]
    print(f"\n{markdown_table(('ms', *stages), rows)}")
    rows = [(n, f"{rate:.1f}") for n, rate in rates.items()]
    print(f"\n{markdown_table((f'images in a batch, {arguments.sizes[0]}', 'images a second'), rows)}")
    if arguments.json:
        results = {"agreement": agreement, "stages": stages, "images a second": rates}
        write_json(arguments.json, {"facts": facts, "results": results})


def device_name(device: str) -> str:
    """Return the name of a GPU, else the device itself."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def compare(image: np.ndarray, expected: supercuts.Model, model: supercuts.Model, n: int) -> dict[str, float]:
    """Return the largest and the mean difference of each map, and the share of pixels on other superpixels."""
    assert expected.network is not None
    assert model.network is not None
    names = ("boundary", "embeddings", "strength", "regions")
    pairs = zip(*(loaded.network.maps([image], VIEWS["one"])[0] for loaded in (expected, model)), strict=True)
    differences = {}
    for name, (of_cpu, of_gpu) in zip(names, pairs, strict=True):
        difference = np.abs(of_cpu - of_gpu)
        differences |= {f"{name}, largest": float(difference.max()), f"{name}, mean": float(difference.mean())}
    of_cpu, of_gpu = (loaded.segment(image, n).labels for loaded in (expected, model))
    shared = np.zeros((of_cpu.max() + 1, of_gpu.max() + 1), np.int64)
    np.add.at(shared, (of_cpu, of_gpu), 1)
    return differences | {"pixels outside the matching superpixel, share": 1 - shared.max(axis=1).sum() / of_cpu.size}


def time_stages(image: np.ndarray, model: supercuts.Model, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the median seconds of each stage of one image."""
    runs = []
    for _ in range(arguments.runs + 2):  # the first two choose algorithms and fill caches
        seconds = dict.fromkeys(STAGES, 0.0)
        with timed(seconds):
            start = time.perf_counter()
            model.segment(image, arguments.superpixels)
            runs.append({"total": time.perf_counter() - start, **seconds})
    return {stage: statistics.median(run[stage] for run in runs[2:]) for stage in runs[0]}


def images_a_second(image: np.ndarray, n: int, model: supercuts.Model, arguments: argparse.Namespace) -> float:
    """Return the images that segment_batch completes in a second, given n at once."""
    times = []
    for _ in range(arguments.runs + 1):
        start = time.perf_counter()
        model.segment_batch([image] * n, arguments.superpixels)
        times.append(time.perf_counter() - start)
    return n / statistics.median(times[1:])


if __name__ == "__main__":
    main()
