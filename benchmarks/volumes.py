"""Compare supervoxels with scikit-image's SLIC in three dimensions, at equal counts; count ids that stay in sequences.

In   synthetic volumes of noisy cells; the MRI template MNI152 with its tissues, shipped in the package nilearn; BSDS500
Out  achievable segmentation accuracy, explained variation and time of both; shares of ids; as Markdown tables
Not  networks or boundary maps

    pip install nilearn
    python benchmarks/volumes.py > docs/results/volumes.md

SLIC returns about as many supervoxels as asked; ours are then exactly as many. Both compactness parameters are those of
the highest accuracy among the values listed; "default" is that of segment_volume. The true regions of the template are
white matter, grey matter (each above one half) and the rest. A sequence is a window that moves over a photograph of
BSDS500 val, by one row and two columns a frame.
"""

import argparse
import importlib.util
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, positive_int, run_facts
from skimage.segmentation import slic

from supercuts.core.arrays import contingency
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import data_root
from supercuts.images.io import read_image
from supercuts.superpixels.volumes import VolumeConfig, segment_sequence, segment_volume

COLUMNS = ("volume", "supervoxels", "method", "accuracy", "explained variation", "seconds of CPU")
OURS, THEIRS = (5.0, 10.0, 20.0, 30.0, 50.0), (0.03, 0.1, 0.3, 1.0)  # compactness
N_SEEDS = 3
N_SEQUENCES, N_FRAMES, STEP = 4, 6, (1, 2)  # pixels a frame


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with BSDS500; else $SUPERCUTS_DATA")
    parser.add_argument("--supervoxels", type=positive_int, default=1000, help="of the template; cells get a fifth")
    arguments = parser.parse_args()
    print("# Results: volumes\n\nWritten by `python benchmarks/volumes.py`.\n")
    compactness = f"ours {', '.join(map(str, OURS))}; SLIC {', '.join(map(str, THEIRS))}"
    print(markdown_facts({**run_facts(), "compactness tried": compactness}))
    rows = []
    for noise in (0.05, 0.15):
        volumes = [cells(seed, noise) for seed in range(N_SEEDS)]
        name = f"{N_SEEDS} of 24 x 64 x 64 voxels, 60 cells, noise {noise:.0%}"
        rows += compare(name, volumes, max(1, arguments.supervoxels // 5))
    template = mni152()
    shape = " x ".join(map(str, template[0].shape))
    rows += compare(f"MNI152, {shape} voxels of 2 mm", [template], arguments.supervoxels)
    print(f"\n{markdown_table(COLUMNS, rows)}\n")
    print("High accuracy and explained variation are good; means over the volumes of a row.\n")
    samples = BSDS500(data_root(arguments.data), "val")[:N_SEQUENCES]
    shares = np.concatenate([ids_that_stay(read_image(sample.image_path)) for sample in samples])
    table = [
        [name, f"{values.min():.1%}", f"{values.mean():.1%}"]
        for name, values in zip(
            ("ids that the next frame has", "ids in both whose overlap is above 0.5"), shares.T, strict=True
        )
    ]
    title = f"{N_SEQUENCES} sequences of {N_FRAMES} frames, 400 superpixels each"
    print(markdown_table((title, "least", "mean"), table))


def compare(name: str, volumes: list[tuple[np.ndarray, np.ndarray]], n: int) -> list[list[str]]:
    """Return the rows of SLIC at its best compactness, ours at its best and ours at the default."""
    theirs = [[by_slic(volume, n, value) for volume, _ in volumes] for value in THEIRS]
    slic_best = max(theirs, key=lambda runs: mean_scores(runs, volumes)[0])
    counts = [int(labels.max()) + 1 for labels, _ in slic_best]
    ours = {
        value: [by_us(volume, count, value) for (volume, _), count in zip(volumes, counts, strict=True)]
        for value in OURS
    }
    best = max(ours.values(), key=lambda runs: mean_scores(runs, volumes)[0])
    default = ours[VolumeConfig().compactness]
    methods = {"SLIC": slic_best, "SuperCuts": best, "SuperCuts, default": default}
    return [[name, f"{np.mean(counts):.0f}", method, *figures(runs, volumes)] for method, runs in methods.items()]


def figures(runs: list[tuple[np.ndarray, float]], volumes: list[tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """Return the cells of a row."""
    accuracies, variations, times = mean_scores(runs, volumes)
    return [f"{accuracies:.3f}", f"{variations:.3f}", f"{times:.1f}"]


def mean_scores(runs: list[tuple[np.ndarray, float]], volumes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return accuracy, explained variation and seconds, means over volumes."""
    scores = [
        (accuracy(labels, truth), explained_variation(labels, volume), seconds)
        for (labels, seconds), (volume, truth) in zip(runs, volumes, strict=True)
    ]
    return np.mean(scores, axis=0)


def ids_that_stay(photo: np.ndarray) -> np.ndarray:
    """Return (frames - 1, 2): the share of ids that the next frame has, and of those that overlap by half with it."""
    (down, right), last = STEP, N_FRAMES - 1
    height, width = photo.shape[0] - last * down, photo.shape[1] - last * right
    frames = [photo[t * down :, t * right :][:height, :width] for t in range(N_FRAMES)]
    labels = segment_sequence(np.stack(frames), 400).labels
    shares = []
    for before, now in pairwise(labels):
        stay = np.intersect1d(before, now).size / np.unique(before).size
        before, now = before[down:, right:], now[:-down, :-right]  # the part of the photograph in both
        ids = np.intersect1d(before, now)
        both = np.bincount(before[before == now], minlength=ids.max() + 1)[ids]
        either = sum(np.bincount(frame.ravel(), minlength=ids.max() + 1)[ids] for frame in (before, now)) - both
        shares.append((stay, np.mean(both / either > 0.5)))
    return np.array(shares)


def by_slic(volume: np.ndarray, n: int, compactness: float) -> tuple[np.ndarray, float]:
    """Return SLIC's labels and the time of this process."""
    start = time.process_time()
    labels = slic(volume, n, compactness=compactness, channel_axis=None, start_label=0)
    return labels, time.process_time() - start


def by_us(volume: np.ndarray, n: int, compactness: float) -> tuple[np.ndarray, float]:
    """Return our labels and the time of this process."""
    start = time.process_time()
    labels = segment_volume(volume, n, config=VolumeConfig(compactness=compactness)).labels
    return labels, time.process_time() - start


def accuracy(labels: np.ndarray, truth: np.ndarray) -> float:
    """Return the achievable segmentation accuracy."""
    return float(contingency(truth, labels).max(axis=0).sum() / truth.size)


def explained_variation(labels: np.ndarray, volume: np.ndarray) -> float:
    """Return the share of the variance of the values that lies between supervoxels."""
    values = volume.astype(np.float64).ravel()
    area = np.bincount(labels.ravel())
    means = np.bincount(labels.ravel(), values) / area
    return float((area * (means - values.mean()) ** 2).sum() / values.size / values.var())


def cells(seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume of Voronoi cells of random brightness with noise, and the cell of each voxel."""
    rng, shape, n = np.random.default_rng(seed), (24, 64, 64), 60
    centres = rng.random((n, 3)) * shape
    places = np.moveaxis(np.indices(shape), 0, -1)
    truth = np.argmin([((places - centre) ** 2).sum(-1) for centre in centres], axis=0)
    return (rng.random(n)[truth] + rng.normal(0, noise, shape)).clip(0, 1).astype(np.float32), truth


def mni152() -> tuple[np.ndarray, np.ndarray]:
    """Return every second voxel of the template along each axis, and its tissues 0 (rest), 1 (grey) and 2 (white)."""
    import nibabel

    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise SystemExit("nilearn ships the template: pip install nilearn")
    folder = Path(spec.origin).parent / "datasets/data"
    volumes = {
        kind: nibabel.load(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz").get_fdata(dtype=np.float32)
        for kind in ("t1", "gm", "wm")
    }
    t1, grey, white = (volumes[kind][::2, ::2, ::2] / volumes[kind].max() for kind in ("t1", "gm", "wm"))
    return np.ascontiguousarray(t1), np.where(white > 0.5, 2, (grey > 0.5).astype(int))


if __name__ == "__main__":
    main()
