"""Score methods on images unlike photographs: mosaics of textures, microstructures, stained tissue, many bands.

In   nothing: 56 images with their truth are made here, from textures of scikit-image and from random numbers
Out  a table: covering, mean IoU, boundary F with intervals over images, seconds of the processor an image; covering by
     kind; on request JSON
Not  no choice of settings: choose on --split val, report --split test

    python benchmarks/textures.py --split test --cache runs/textures --json textures.json
    python benchmarks/textures.py --split test --wnet runs/wnet_small/model.safetensors
    python benchmarks/textures.py --hint --data data

Trees are cut to the true number of regions. Other methods decide on a number themselves; each connected piece counts as
a region. The published settings are scored only when --methods names them, W-Net only if --wnet names its file. --hint
counts instead, on these images and on photographs, how often `supercuts segment` recommends a refiner.
"""

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import skimage.color
import skimage.data
import skimage.measure
import skimage.transform
from common import markdown_facts, markdown_table, positive_int, run_facts, score, write_json
from scipy.cluster.vq import kmeans2

import supercuts
from supercuts.core.config import load_config
from supercuts.datasets.annotations import list_images
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import data_root
from supercuts.evaluate.parallel import ScoringTask, Store, bootstrap_95
from supercuts.evaluate.scorers import Method, MethodResult
from supercuts.hierarchy.regions import is_unlike_photographs
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import color_features, to_unit
from supercuts.images.io import read_image
from supercuts.metrics.boundary import boundary_label_scores, label_boundaries
from supercuts.metrics.region import label_pooled_iou, region_label_scores
from supercuts.model import Model
from supercuts.networks.network import weights_path
from supercuts.pipeline import segment_by_maps
from supercuts.refine.fit import Example, fit, label
from supercuts.refine.hierarchy import REFINERS
from supercuts.refine.refine_config import OURS, RefineConfig
from supercuts.refine.runs import initial_of, superpixels_of
from supercuts.selftaught.learned import class_probabilities, load_learned, pixel_maps

SIZE = 160
PER_KIND = 4  # images of a kind in a split


def mosaic(rng: np.random.Generator, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return grey textures of equal mean and contrast, and their regions."""
    truth = cells(rng, 5)
    return shown(np.choose(truth, textures(rng, half, truth.max() + 1))), truth


def tinted(rng: np.random.Generator, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return textures between two colours each; the mean colours of regions are alike."""
    truth = cells(rng, 5)
    image = np.zeros((SIZE, SIZE, 3))
    for i, texture in enumerate(textures(rng, half, truth.max() + 1)):
        mean, axis = 0.5 + rng.uniform(-0.08, 0.08, 3), rng.normal(size=3)
        image[truth == i] = (mean + (texture[..., None] - 0.5) * 1.5 * axis / np.linalg.norm(axis))[truth == i]
    return shown(image), truth


def grains(rng: np.random.Generator, _half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Voronoi grains in grey with noise as strong as their contrast."""
    truth = cells(rng, 25)
    image = rng.uniform(0.25, 0.75, truth.max() + 1)[truth]
    return shown(image + rng.normal(0, 0.15, truth.shape)), truth


def potts(rng: np.random.Generator, _half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return phases of a Potts model in grey with noise."""
    field = rng.integers(4, size=(SIZE, SIZE))
    checkers = np.indices(field.shape).sum(axis=0) % 2
    for sweep in range(80):
        around = sum(np.roll(np.eye(4)[field], shift, axis) for axis in (0, 1) for shift in (-1, 1))
        drawn = (1.6 * around + rng.gumbel(size=around.shape)).argmax(axis=2)
        field = np.where(checkers == sweep % 2, drawn, field)
    field = scipy.ndimage.median_filter(field, 7)
    truth = pieces(field, 60)
    phase = np.array([np.bincount(field[truth == i]).argmax() for i in range(truth.max() + 1)])
    image = np.linspace(0.25, 0.75, 4)[phase[truth]]
    return shown(image + rng.normal(0, 0.13, truth.shape)), truth


def tissue(rng: np.random.Generator, _half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return stained tissue: nuclei of haematoxylin, areas of DAB, an unstained lumen."""
    area = cells(rng, 4)
    grid = np.moveaxis(np.indices((SIZE, SIZE)), 0, -1)
    cell = area.copy()
    for i in range(14):
        angle, sides = rng.uniform(0, np.pi), rng.uniform((9, 7), (14, 10))
        turned = (grid - rng.uniform(10, SIZE - 10, 2)) @ [
            [np.cos(angle), -np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
        cell[((turned / sides) ** 2).sum(axis=2) < 1] = area.max() + 1 + i
    truth = pieces(cell, 60)
    source = np.array([np.bincount(cell[truth == i]).argmax() for i in range(truth.max() + 1)])
    amounts = np.stack([rng.uniform(0.01, 0.04, source.size), rng.uniform(0, 0.03, source.size)], axis=1)
    amounts[source % 2 == 1, 1] += 0.05
    amounts[source > area.max()] = [0.13, 0.01]
    grain = 1 + 0.5 * noise(rng, 1.5)[..., None]
    stain = np.concatenate([amounts[truth] * grain, np.zeros((SIZE, SIZE, 1))], axis=2)[..., [0, 2, 1]]
    image = skimage.color.hed2rgb(stain) + rng.normal(0, 0.06, (SIZE, SIZE, 3))
    return shown(image), truth


def bands(rng: np.random.Generator, _half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return fields in eight bands with noise; the first three hardly differ between fields."""
    truth = cells(rng, 12)
    spectra = 0.5 + rng.normal(0, [0.03] * 3 + [0.1] * 5, (truth.max() + 1, 8))
    image = spectra[truth] + 0.05 * noise(rng, 2)[..., None] + rng.normal(0, 0.1, (SIZE, SIZE, 8))
    return shown(image), truth


def thermal(rng: np.random.Generator, _half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return warm bodies without texture, blurred, with noise and a gradient of the background."""
    truth = cells(rng, 8)
    image = scipy.ndimage.gaussian_filter(rng.uniform(0.3, 0.7, truth.max() + 1)[truth], 2.0)
    image = image + np.linspace(-0.1, 0.1, SIZE) + 0.03 * noise(rng, 6) + rng.normal(0, 0.06, truth.shape)
    return shown(image), truth


Maker = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
KINDS: Mapping[str, Maker] = {f.__name__: f for f in (mosaic, tinted, grains, potts, tissue, bands, thermal)}


def cells(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return Voronoi cells with bent borders, numbered from 0."""
    seeds = rng.uniform(0, SIZE, (count, 2))
    places = np.moveaxis(np.indices((SIZE, SIZE)) + 6.0 * np.stack([noise(rng, 12), noise(rng, 12)]), 0, -1)
    return pieces(((places[:, :, None] - seeds) ** 2).sum(axis=3).argmin(axis=2), 150)


def pieces(labels: np.ndarray, smallest_px: int) -> np.ndarray:
    """Return the connected pieces of labels; small ones go to the nearest large one."""
    connected = skimage.measure.label(labels, background=-1, connectivity=1)
    is_small = np.bincount(connected.ravel())[connected] < smallest_px
    nearest = scipy.ndimage.distance_transform_edt(is_small, return_distances=False, return_indices=True)
    joined = skimage.measure.label(connected[tuple(nearest)], background=-1, connectivity=1)
    return np.unique(joined, return_inverse=True)[1].reshape(labels.shape)


def noise(rng: np.random.Generator, sigma: float | tuple[float, float]) -> np.ndarray:
    """Return smooth noise of mean 0 and variance 1."""
    smooth = scipy.ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), sigma, mode="wrap")
    return (smooth - smooth.mean()) / smooth.std()


def textures(rng: np.random.Generator, half: int, count: int) -> list[np.ndarray]:
    """Return different textures of mean 0.5 and deviation 0.16: photographs, then made ones; a half for each split."""
    photographs = [skimage.data.brick(), skimage.data.grass(), skimage.data.gravel()]
    sources = [photo[:, 256 * half : 256 * half + 256] for photo in photographs]
    row, column = rng.integers(512 - SIZE), rng.integers(256 - SIZE)
    made = [source[row : row + SIZE, column : column + SIZE].astype(float) for source in sources]
    grid = np.indices((SIZE, SIZE))
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 9)
    along = grid[0] * np.cos(angle) + grid[1] * np.sin(angle)
    made += [np.sin(2 * np.pi * along / period) + 0.4 * noise(rng, 1)]
    made += [noise(rng, (1, 5)), noise(rng, (5, 1)), noise(rng, 0.7), noise(rng, 2.5)]
    made += [np.sign(np.sin(grid[0] / rng.uniform(1, 2)) * np.sin(grid[1] / rng.uniform(1, 2))) + 0.4 * noise(rng, 1)]
    chosen = rng.permutation(len(made))[np.arange(count) % len(made)]
    return [0.5 + 0.16 * (made[i] - made[i].mean()) / made[i].std() for i in chosen]


def shown(values: np.ndarray) -> np.ndarray:
    """Return values of 0..1 in 8 bits; grey ones three times."""
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    return (255 * values.clip(0, 1)).round().astype(np.uint8)


@dataclass(frozen=True, slots=True)
class MadeSample:
    """An image and its truth, as files."""

    name: str
    image_path: Path
    truth_path: Path

    @property
    def image(self) -> np.ndarray:
        """The (H, W, C) uint8 image."""
        return np.load(self.image_path)

    @property
    def truth(self) -> np.ndarray:
        """The (H, W) regions."""
        return np.load(self.truth_path)


def make_samples(folder: Path, split: str) -> list[MadeSample]:
    """Write the images of a split and return them; the same each time."""
    samples, half = [], ("val", "test").index(split)
    for number, (kind, make) in enumerate(KINDS.items()):
        for i in range(PER_KIND):
            name = f"{kind}-{split}-{i}"
            sample = MadeSample(name, folder / f"{name}.npy", folder / f"{name}-truth.npy")
            for path, values in zip(
                (sample.image_path, sample.truth_path), make(rng_of(number, half, i), half), strict=True
            ):
                np.save(path, values)
            samples.append(sample)
    return samples


def rng_of(*numbers: int) -> np.random.Generator:
    """Return random numbers that depend on these."""
    return np.random.default_rng(numbers)


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one image, and the seconds of the processor."""

    covering: float
    iou: float
    boundary_f: float
    seconds: float


@dataclass(frozen=True, slots=True)
class OfLabels:
    """Score the regions that a method of METHODS finds; `settings` are those of a refinement."""

    method: str
    settings: tuple[str, ...] = ()

    def __call__(self, sample: MadeSample) -> Scored:
        """Return the scores of one image."""
        image, truth, start = sample.image, sample.truth.astype(np.int32), time.process_time()
        labels = METHODS[self.method](image, int(truth.max()) + 1, self.settings)
        seconds = time.process_time() - start
        return scored(labels, truth, seconds)


def scored(labels: np.ndarray, truth: np.ndarray, seconds: float) -> Scored:
    """Return the scores of connected pieces."""
    labels = pieces(labels, 1).astype(np.int32)
    iou = label_pooled_iou([labels], [truth])
    boundary = boundary_label_scores([labels], [label_boundaries(truth)], tolerance=0.015)
    covering = float(region_label_scores([labels], [truth]).covering[0])
    return Scored(covering, float(iou.sums[0, 0] / iou.n_regions[0]), float(boundary.f[0]), seconds)


@functools.cache
def model(with_affinity: bool = True) -> Model:
    """Return the model; a process loads it once."""
    learned = supercuts.load("compact")
    return learned if with_affinity else Model(learned.network)


def tree(image: np.ndarray, with_affinity: bool = True, leaves: int = 600) -> Hierarchy:
    """Return the tree of an image; bands after the third count as colour."""
    return model(with_affinity).segment(image, leaves, bands=[1, 2, 3] if image.shape[2] > 3 else None)


def cut_refined(image: np.ndarray, count: int, settings: Sequence[str]) -> np.ndarray:
    """Return a cut of the tree redrawn by a refiner, which sees all bands; settings are its name, or key=value."""
    refiner = settings[0] if settings[0] in REFINERS else load_config(None, RefineConfig, settings)
    bands_shown = [1, 2, 3] if image.shape[2] > 3 else None
    h = model().segment(image, 600, refiner=refiner, bands=bands_shown)
    return h.cut(regions=min(count, h.n_leaves))


def of_network(image: np.ndarray, _count: int, settings: Sequence[str]) -> np.ndarray:
    """Return the labels of a network fitted to the image."""
    config = load_config(None, RefineConfig, settings)
    unit = to_unit(image)
    config = config.model_copy(update={"channels": unit.shape[2]})
    h = tree(image, leaves=config.partition.n_segments) if config.initial_regions or config.method == "sp" else None
    example = Example(unit, superpixels_of(unit, h, config), initial=initial_of(h, config))
    return label(fit([example], config), example, config)


def of_colors(image: np.ndarray, count: int, _settings: Sequence[str]) -> np.ndarray:
    """Return classes of k-means on the colours of pixels, as many as true regions but at most 8."""
    features = color_features(image if image.shape[2] == 3 else to_unit(image))
    rows = features.reshape(len(features), -1).T.astype(np.float64)
    return kmeans2(rows, min(count, 8), minit="++", seed=0)[1].reshape(image.shape[:2])


WNET = "W-Net, its tree"


def of_wnet(image: np.ndarray, count: int, settings: Sequence[str]) -> np.ndarray:
    """Return a cut of the tree of W-Net's maps; settings are its file. It sees the first three bands."""
    shown_bands = np.ascontiguousarray(image[..., :3])
    maps = pixel_maps(shown_bands, class_probabilities(shown_bands, load_learned(settings[0])))
    return segment_by_maps(shown_bands, maps, 600).cut(regions=count)


METHODS: Mapping[str, Callable[[np.ndarray, int, Sequence[str]], np.ndarray]] = {
    "tree, learned affinity": lambda image, count, _: tree(image).cut(regions=count),
    "tree, hand-made distances": lambda image, count, _: tree(image, False).cut(regions=count),
    "refiner": cut_refined,
    "network": of_network,
    WNET: of_wnet,
    "k-means of colours": of_colors,
}

_EARLIER = (
    "linkage.embedding=0.1",
    "linkage.small_exponent=0.3",
    "epochs=40",
    "initial_steps=40",
    "n_features=32",
    "n_classes=64",
)
_SHORT = ("method=sp", "epochs=40", "initial_steps=40", "half_steps=20", "n_features=32", "n_classes=150")
_OURS = tuple(f"{key}={json.dumps(value)}" for key, value in OURS.model_dump(exclude_unset=True).items())
_SLIC = ("method=sp", "snap=false", "partition.method=slic", "partition.n_segments=10000", "partition.compactness=100")
LEARNED = "tree, learned affinity"
COMPARED: Mapping[str, OfLabels] = {
    LEARNED: OfLabels(LEARNED),
    "tree, hand-made distances": OfLabels("tree, hand-made distances"),
    "refiner sp, the default": OfLabels("refiner", ("sp",)),
    "refiner st": OfLabels("refiner", ("st",)),
    "refiner sp, 40 steps": OfLabels("refiner", _SHORT),
    "refiner sp, earlier linkage": OfLabels("refiner", ("method=sp", *_EARLIER)),
    "refiner st, earlier linkage": OfLabels("refiner", ("nu=2", *_EARLIER)),
    "refine, its defaults": OfLabels("network", _OURS),
    "k-means of colours": OfLabels("k-means of colours"),
    "SP, published, 100 steps": OfLabels("network", (*_SLIC, "epochs=100")),
    "ST, published, 100 steps": OfLabels("network", ("epochs=100",)),
}
LONG: Mapping[str, OfLabels] = {
    "SP, published": OfLabels("network", _SLIC),
    "ST, published": OfLabels("network", ("epochs=1000",)),
}
MEASURES = ("covering", "iou", "boundary_f")


def main() -> None:
    """Measure and print."""
    arguments = parse()
    if arguments.hint:
        print_hints(data_root(arguments.data))
        return
    with tempfile.TemporaryDirectory() as temporary:
        samples = make_samples(Path(temporary), arguments.split)[: arguments.limit]
        names = tuple(sample.name for sample in samples)
        scorers = {name: scorer for name, scorer in {**COMPARED, **LONG}.items() if name in arguments.methods}
        if arguments.wnet:
            scorers[WNET] = OfLabels(WNET, (str(arguments.wnet),))
        weights = {name: arguments.wnet if name == WNET else weights_path("compact") for name in scorers}
        methods: list[Method[Scored]] = [
            Method(name, names, tuple(ScoringTask(name, sample, scorer, (weights[name],)) for sample in samples), {})
            for name, scorer in scorers.items()
        ]
        results = score(methods, arguments.workers, Store(arguments.cache, Scored) if arguments.cache else None)
    facts = {
        **run_facts(),
        "data": f"{arguments.split}: {len(samples)} images of {SIZE} x {SIZE}, {len(KINDS)} kinds",
        "trees": "compact, 600 superpixels, cut to the true number of regions",
        "runs": "1, seed 0; intervals: 95 %, bootstrap over images, paired for margins",
    }
    figures = {result.method: figures_of(result, results[0]) for result in results}
    columns = ("method", "covering", "mIoU", "boundary F", f"covering above {results[0].method}", "s an image")
    rows = [(name, *of_method["row"]) for name, of_method in figures.items()]
    print(f"{markdown_facts(facts)}\n\n{markdown_table(columns, rows)}")
    rows = [(name, *(f"{value:.3f}" for value in of_method["kinds"].values())) for name, of_method in figures.items()]
    print(f"\nCovering by kind:\n\n{markdown_table(('method', *KINDS), rows)}")
    if arguments.json:
        scores = {result.method: {name: asdict(one) for name, one in result.scores.items()} for result in results}
        write_json(arguments.json, {"facts": facts, "figures": figures, "scores": scores})


def figures_of(result: MethodResult[Scored], first: MethodResult[Scored]) -> dict[str, Any]:
    """Return the row of a method, and its covering of each kind."""
    scores = list(result.scores.values())
    intervals = bootstrap_95(_means, scores)
    row = ["{:.3f} ({:.3f} to {:.3f})".format(value, *intervals[name]) for name, value in _means(scores).items()]
    pairs = list(zip(scores, first.scores.values(), strict=True))
    margin, interval = _margin(pairs)["covering"], bootstrap_95(_margin, pairs)["covering"]
    row.append("" if result is first else "{:+.3f} ({:+.3f} to {:+.3f})".format(margin, *interval))
    row.append(f"{np.median([one.seconds for one in scores]):.2f}")
    kinds = {
        kind: float(np.mean([one.covering for name, one in result.scores.items() if name.startswith(kind)] or [np.nan]))
        for kind in KINDS
    }
    return {"row": row, "kinds": kinds}


def _means(scores: Sequence[Scored]) -> Mapping[str, float]:
    return {name: float(np.mean([getattr(one, name) for one in scores])) for name in MEASURES}


def _margin(pairs: Sequence[tuple[Scored, Scored]]) -> Mapping[str, float]:
    return {"covering": float(np.mean([mine.covering - theirs.covering for mine, theirs in pairs]))}


def print_hints(root: Path) -> None:
    """Print the share of images of each kind that the hint of `supercuts segment` calls unlike photographs."""
    with tempfile.TemporaryDirectory() as temporary:
        made = {split: make_samples(Path(temporary), split) for split in ("val", "test")}
        rows = [
            (f"made, {split}: {kind}", *hints(sample.image for sample in samples if sample.name.startswith(kind)))
            for split, samples in made.items()
            for kind in KINDS
        ]
    photos = {
        "BSDS500 val": [sample.image_path for sample in BSDS500(root, "val")],
        "ECSSD": list_images(root / "ECSSD" / "images", ""),
        "CCP": list_images(root / "CCP" / "photos", ""),
    }
    for name, paths in photos.items():
        rows.append((f"photographs: {name}", *hints(map(read_image, paths))))
    further = (with_bands(read_image(path), i) for i, path in enumerate(photos["BSDS500 val"]))
    rows.append(("photographs: BSDS500 val with five further bands", *hints(further)))
    facts = {**run_facts(), "trees": "compact with its default of superpixels", "runs": "1"}
    print(f"{markdown_facts(facts)}\n\n{markdown_table(('images', 'number', 'with the hint'), rows)}")


def hints(images: Iterable[np.ndarray]) -> tuple[str, str]:
    """Return the number of images, and of those with the hint."""
    found = []
    for image in images:
        h = model().segment(image, bands=[1, 2, 3] if image.shape[2] > 3 else None)
        found.append(is_unlike_photographs(h.embeddings, h.altitudes, h.areas(), h.levels))
    return str(len(found)), str(sum(found))


def with_bands(image: np.ndarray, seed: int) -> np.ndarray:
    """Return a photograph with five more bands: mixtures of its colours, with noise."""
    rng = rng_of(seed)
    mixed = image @ rng.dirichlet(np.ones(3), 5).T + rng.normal(0, 5, (*image.shape[:2], 5))
    return np.concatenate([image, mixed.clip(0, 255).round().astype(np.uint8)], axis=2)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=(*COMPARED, *LONG),
        default=tuple(COMPARED),
        metavar="NAME",
        help=f"of {', '.join(COMPARED)}; {', '.join(LONG)}",
    )
    parser.add_argument("--wnet", type=Path, metavar="FILE", help="model.safetensors of W-Net, to score its tree too")
    parser.add_argument("--hint", action="store_true", help="count the hints of `supercuts segment` instead")
    parser.add_argument("--data", help="photographs for --hint; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--workers", type=positive_int, default=1, help="processes, one thread each")
    parser.add_argument("--cache", type=Path, help="folder of finished scores, kept; an interrupted run resumes")
    parser.add_argument("--json", type=Path, help="also write the figures, image by image, to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
