"""Time the mergers: 600 superpixels of a photograph, and 100,000 of a large synthetic image.

In   a calibrated model
Out  median milliseconds of each merger at 600; seconds and peak memory of the default one at 100,000
Not  no accuracy (quality.py)

    python benchmarks/merging.py --runs 20
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, positive_int, run_facts

import supercuts
from supercuts.graph.rag import graph_and_statistics
from supercuts.images.io import read_image
from supercuts.merging.mergers import MERGERS, Regions, merge
from supercuts.networks.maps import PixelMaps
from supercuts.networks.predict import predict
from supercuts.superpixels.leaves import make_leaves

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "photo.jpg"
CELLS, CELL_PX = 317, 6  # 100,489 superpixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=positive_int, default=20, help="of each merger at 600 superpixels")
    parser.add_argument("--model", default="compact", help="compact, or a calibrated .safetensors file")
    arguments = parser.parse_args()
    model = supercuts.load(arguments.model, merging="gnn")
    if model.affinity is None:
        parser.error(f"{arguments.model} is not calibrated: supercuts calibrate {arguments.model} --gnn")

    def merger(labels: np.ndarray, maps: PixelMaps, name: str) -> Callable[[], object]:
        """Return the tree, with the graph of the leaves and its statistics."""
        config = model.config.merging.model_copy(update={"method": name})

        def run() -> object:
            graph, statistics = graph_and_statistics(labels, maps, is_connected=False)
            return merge(Regions(graph, config, statistics, model.affinity, model.gnn))

        return run

    maps = predict(read_image(PHOTO), model.network)
    labels = make_leaves(maps, 600, model.network, model.config, affinity=model.affinity)
    rows = [(f"{name}, 600 superpixels, ms", median_ms(merger(labels, maps, name), arguments.runs)) for name in MERGERS]
    start = time.perf_counter()
    merger(*large(maps), "agglomerative")()
    rows.append((f"agglomerative, {CELLS**2} superpixels, s", time.perf_counter() - start))
    rows.append(("peak memory, MiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    print(markdown_facts({**run_facts(), "runs": f"{arguments.runs} (median), the large image once"}))
    print(f"\n{markdown_table(('step', 'figure'), [(name, f'{value:.1f}') for name, value in rows])}")


def median_ms(run: Callable[[], object], n_runs: int) -> float:
    """Return the median time after one run that is not counted."""
    run()
    times = []
    for _ in range(n_runs):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def large(maps: PixelMaps) -> tuple[np.ndarray, PixelMaps]:
    """Return square superpixels of a large image, and maps of it: the photograph's, repeated."""
    side = CELLS * CELL_PX
    cells = np.arange(CELLS**2, dtype=np.int32).reshape(CELLS, CELLS)

    def repeat(values: np.ndarray, stride: int = 1) -> np.ndarray:
        size = -(-side // stride)
        times = [-(-size // length) for length in values.shape[-2:]]
        tiled = np.tile(values, [1] * (values.ndim - 2) + times)
        return np.ascontiguousarray(tiled[..., :size, :size])

    repeated = PixelMaps(
        repeat(maps.color),
        repeat(maps.boundary),
        repeat(maps.embeddings),
        None if maps.strength is None else repeat(maps.strength, maps.region_stride),
        None if maps.regions is None else repeat(maps.regions, maps.region_stride),
        maps.region_stride,
    )
    return cells.repeat(CELL_PX, 0).repeat(CELL_PX, 1), repeated


if __name__ == "__main__":
    main()
