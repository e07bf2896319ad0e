"""Score networks trained without annotations of regions: W-Net, the classifier and the autoencoder approach.

In   model.safetensors of `supercuts refine train` runs; BSDS500 for W-Net, the test images of CIFAR10 for the others
Out  tables with intervals over images, and seconds of the processor an image
Not  no training and no choice of settings; the test split is for reporting only

    python benchmarks/selftaught.py --wnet runs/wnet_small/model.safetensors --split test
    python benchmarks/selftaught.py --classifier runs/classifier_cifar10/model.safetensors
                                    --autoencoder runs/autoencoder_cifar10/model.safetensors

On BSDS500, regions are compared with those of the annotators. Classes of a network or of k-means are scored as they
are, so a region may be in several pieces. CIFAR10 has no annotated regions. There the table gives explained variation,
the share of the variance of Lab colours that lies between regions, and agreement: how well regions cover those of our
tree cut into as many. "Untrained" is the same network with random weights.
"""

import argparse
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import skimage.segmentation
import torch
from common import markdown_facts, markdown_table, positive_int, run_facts, score, write_json
from scipy.cluster.vq import kmeans2
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import supercuts
from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.datasets.annotations import list_images
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import Sample, data_root
from supercuts.evaluate.parallel import ScoringTask, Store, bootstrap_95
from supercuts.evaluate.scorers import Method, MethodResult
from supercuts.hierarchy.tree import Hierarchy
from supercuts.images.convert import color_features, rgb_to_lab
from supercuts.images.io import read_image
from supercuts.metrics.region import (
    PooledIoU,
    aggregate_pooled_iou,
    label_pooled_iou,
    region_label_scores,
    segmentation_covering,
)
from supercuts.metrics.superpixel import explained_variation
from supercuts.model import Model
from supercuts.networks.maps import PixelMaps
from supercuts.networks.network import weights_path
from supercuts.pipeline import segment_by_maps
from supercuts.selftaught.classifier import Classifier
from supercuts.selftaught.learned import Learned, class_probabilities, load_learned, make_learned, pixel_maps
from supercuts.superpixels.grid import connected_pieces

LEAVES = 600  # trees on BSDS500
SMALL_LEAVES = 256  # trees on CIFAR10, at 1024 pixels


@dataclass(frozen=True, slots=True)
class PhotoScores:
    """The scores of one photograph of BSDS500, and the seconds of the processor."""

    regions: int
    covering: float
    pri: float
    vi: float
    iou: PooledIoU
    seconds: float


@dataclass(frozen=True, slots=True)
class OfPhoto:
    """Score the labels that a function of PHOTO_METHODS finds; `file` is the network's."""

    method: str
    file: str

    def __call__(self, sample: Sample) -> PhotoScores:
        """Return the scores of one photograph."""
        image, start = read_image(sample.image_path), time.process_time()
        labels = relabel_consecutive(PHOTO_METHODS[self.method](image, self.file))[0].astype(np.int32)
        seconds = time.process_time() - start
        scores = region_label_scores([labels], sample.truths)
        return PhotoScores(
            int(scores.n_regions[0]),
            float(scores.covering[0]),
            float(scores.rand_index[0]),
            float(scores.variation_of_information[0]),
            label_pooled_iou([labels], sample.truths),
            seconds,
        )


@functools.cache
def network_of(file: str, is_trained: bool = True) -> Learned:
    """Return the network of a file, or one of the same settings with random weights; a process loads it once."""
    network = load_learned(file)
    if is_trained:
        return network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_learned(network.config, is_pretrained=False).eval()


@functools.cache
def model(has_affinity: bool = True) -> Model:
    """Return the model; a process loads it once."""
    learned = supercuts.load("compact")
    return learned if has_affinity else Model(learned.network)


def class_labels(image: np.ndarray, file: str, is_trained: bool = True) -> np.ndarray:
    """Return the network's class of each pixel."""
    return class_probabilities(image, network_of(file, is_trained)).argmax(axis=0)


def objects_of(image: np.ndarray) -> np.ndarray:
    """Return our cut at the object level."""
    return model().segment(image, LEAVES).cut(level="object")


def cut_alike(image: np.ndarray, h: Hierarchy) -> np.ndarray:
    """Return a cut of h into as many regions as ours has at the object level."""
    return h.cut(regions=int(objects_of(image).max()) + 1)


def cut_wnet(image: np.ndarray, file: str, is_trained: bool = True) -> np.ndarray:
    """Return a cut of the tree of the network's maps."""
    maps = pixel_maps(image, class_probabilities(image, network_of(file, is_trained)))
    return cut_alike(image, segment_by_maps(image, maps, LEAVES))


def cut_colors(image: np.ndarray, _file: str) -> np.ndarray:
    """Return a cut of the same tree, of colours alone."""
    nothing = np.zeros(image.shape[:2], np.float32)
    return cut_alike(image, segment_by_maps(image, PixelMaps(color_features(image), nothing, nothing[None]), LEAVES))


def color_classes(image: np.ndarray, k: int) -> np.ndarray:
    """Return the classes of k-means on the Lab colours of pixels."""
    pixels = rgb_to_lab(image).reshape(-1, 3).astype(np.float64)
    return kmeans2(pixels, k, minit="++", seed=0)[1].reshape(image.shape[:2])


WNET = "W-Net, its tree"
PHOTO_METHODS: Mapping[str, Callable[[np.ndarray, str], np.ndarray]] = {
    WNET: cut_wnet,
    "W-Net untrained, its tree": lambda image, file: cut_wnet(image, file, is_trained=False),
    "the same tree, of colours alone": cut_colors,
    "SuperCuts, object level": lambda image, _: objects_of(image),
    "SuperCuts, hand-made distances": lambda image, _: cut_alike(image, model(False).segment(image, LEAVES)),
    "felzenszwalb, tau 500": lambda image, _: skimage.segmentation.felzenszwalb(image, 500),
    "W-Net, its classes": class_labels,
    "W-Net untrained, its classes": lambda image, file: class_labels(image, file, is_trained=False),
    "k-means of Lab, as many classes": lambda image, file: color_classes(image, network_of(file).config.classes or 8),
}


@dataclass(frozen=True, slots=True)
class SmallSample:
    """An image of CIFAR10 with its class."""

    name: str
    image_path: Path
    label: int

    @property
    def truth_path(self) -> Path:
        """The image itself: no regions are annotated."""
        return self.image_path


def small_samples(folder: Path) -> list[SmallSample]:
    """Return the images of FOLDER/CLASS/*."""
    return [
        SmallSample(f"{of_class.name}/{path.stem}", path, label)
        for label, of_class in enumerate(sorted(path for path in folder.iterdir() if path.is_dir()))
        for path in list_images(of_class, "")
    ]


@dataclass(frozen=True, slots=True)
class SmallScores:
    """The scores of one image of CIFAR10, and the seconds of the processor."""

    regions: int
    explained: float
    agreement: float
    seconds: float


@dataclass(frozen=True, slots=True)
class OfSmall:
    """Score the regions that a function of SMALL_METHODS finds; `file` is the network's."""

    method: str
    file: str

    def __call__(self, sample: SmallSample) -> SmallScores:
        """Return the scores of one image."""
        image, start = read_image(sample.image_path), time.process_time()
        labels = relabel_consecutive(SMALL_METHODS[self.method](image, self.file))[0].astype(np.int32)
        seconds, count = time.process_time() - start, int(labels.max()) + 1
        agreement = segmentation_covering(contingency(small_cut(image, count), labels))
        return SmallScores(count, explained_variation(rgb_to_lab(image), labels), agreement, seconds)


def pieces_of(labels: np.ndarray) -> np.ndarray:
    """Return the connected pieces of labels."""
    return connected_pieces(labels.astype(np.int32), np.zeros(labels.shape, np.int32))


def small_cut(image: np.ndarray, count: int) -> np.ndarray:
    """Return a cut of our tree of a small image."""
    return model().segment(image, max(count, SMALL_LEAVES)).cut(regions=count)


def count_of(labels: np.ndarray) -> int:
    """Return the number of labels."""
    return np.unique(labels).size


def cells_of(image: np.ndarray, file: str) -> np.ndarray:
    """Return SLIC's cells, about as many as the network has pieces."""
    count = count_of(pieces_of(class_labels(image, file)))
    return skimage.segmentation.slic(image, count, compactness=10, start_label=0)


SMALL_METHODS: Mapping[str, Callable[[np.ndarray, str], np.ndarray]] = {
    "its classes": class_labels,
    "untrained, its classes": lambda image, file: class_labels(image, file, is_trained=False),
    "k-means of Lab, as many classes": lambda image, file: color_classes(image, count_of(class_labels(image, file))),
    "its connected pieces": lambda image, file: pieces_of(class_labels(image, file)),
    "SuperCuts, as many regions": lambda image, file: small_cut(image, count_of(pieces_of(class_labels(image, file)))),
    "SLIC, about as many": cells_of,
}

_Scores = TypeVar("_Scores", PhotoScores, SmallScores)


def compare(
    methods: Mapping[str, Callable[[Any], _Scores]],
    samples: Sequence[Any],
    file: Path,
    kind: type[_Scores],
    arguments: argparse.Namespace,
) -> list[MethodResult[_Scores]]:
    """Return the scores of methods on samples, which depend on the network's file and on our model."""
    names, inputs = tuple(sample.name for sample in samples), (file, weights_path("compact"))
    compared = [
        Method(name, names, tuple(ScoringTask(name, sample, scorer, inputs) for sample in samples), {})
        for name, scorer in methods.items()
    ]
    return score(compared, arguments.workers, Store(arguments.cache, kind) if arguments.cache else None)


def photo_means(scores: Sequence[PhotoScores]) -> Mapping[str, float]:
    """Return the figures of photographs."""
    means = {name: float(np.mean([getattr(one, name) for one in scores])) for name in ("covering", "pri", "vi")}
    return {**means, "iou": aggregate_pooled_iou([one.iou for one in scores]).mean}


def small_means(scores: Sequence[SmallScores]) -> Mapping[str, float]:
    """Return the figures of small images."""
    return {name: float(np.mean([getattr(one, name) for one in scores])) for name in ("explained", "agreement")}


def row_of(
    result: MethodResult[_Scores],
    first: MethodResult[_Scores],
    means: Callable[[Sequence[_Scores]], Mapping[str, float]],
) -> list[str]:
    """Return figures with intervals; the margin of the first figure above that of the first method; seconds."""
    scores, others = list(result.scores.values()), list(first.scores.values())
    intervals = bootstrap_95(means, scores)
    cells = ["{:.3f} ({:.3f} to {:.3f})".format(value, *intervals[name]) for name, value in means(scores).items()]
    measure = "covering" if means is photo_means else "explained"
    margins = [getattr(a, measure) - getattr(b, measure) for a, b in zip(scores, others, strict=True)]
    low, high = bootstrap_95(lambda some: {"margin": float(np.mean(some))}, margins)["margin"]
    margin = "" if result is first else f"{np.mean(margins):+.3f} ({low:+.3f} to {high:+.3f})"
    regions = f"{np.mean([one.regions for one in scores]):.1f}"
    return [result.method, regions, *cells, margin, f"{np.median([one.seconds for one in scores]):.3f}"]


def photos(arguments: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Score W-Net, print the table and return the scores."""
    samples = list(BSDS500(root, arguments.split))[:: arguments.every][: arguments.limit]
    methods = {name: OfPhoto(name, str(arguments.wnet)) for name in PHOTO_METHODS}
    results = compare(methods, samples, arguments.wnet, PhotoScores, arguments)
    facts = {
        **run_facts(),
        "data": f"BSDS500 {arguments.split}, {len(samples)} images",
        "trees": f"{LEAVES} superpixels, cut into as many regions as ours at the object level, per image",
        "network": f"{n_weights(arguments.wnet)} weights; {network_of(str(arguments.wnet)).config.classes} classes",
        "runs": "1, seed 0; intervals: 95 %, bootstrap over images, paired for margins",
    }
    columns = ("method", "regions", "covering", "PRI", "VI", "pooled mIoU", f"covering above {WNET}", "s an image")
    rows = [row_of(result, results[0], photo_means) for result in results]
    print(f"{markdown_facts(facts)}\n\n{markdown_table(columns, rows)}")
    return {"facts": facts, "scores": scores_of(results)}


def small(name: str, arguments: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Score the network of CIFAR10 that the argument `name` gives, print the table and return the scores."""
    file = getattr(arguments, name)
    samples = small_samples(root / "CIFAR10" / "test")[:: arguments.every][: arguments.limit]
    methods = {f"{name}: {method}": OfSmall(method, str(file)) for method in SMALL_METHODS}
    results = compare(methods, samples, file, SmallScores, arguments)
    facts = {
        **run_facts(),
        "data": f"CIFAR10 test, {len(samples)} images of 32 x 32",
        "network": f"{name}, {n_weights(file)} weights",
        **(accuracies if name == "classifier" else redrawing)(file, samples, root),
        "runs": "1, seed 0; intervals: 95 %, bootstrap over images, paired for margins",
    }
    columns = (
        "regions are",
        "number",
        "explained variation",
        "agreement with our tree",
        "explained above its classes",
        "s an image",
    )
    rows = []
    for result in results:
        _, *cells = row_of(result, results[0], small_means)
        method = result.method.removeprefix(f"{name}: ")
        rows.append([method, *("" if method.startswith("SuperCuts") and i == 2 else c for i, c in enumerate(cells))])
    print(f"{markdown_facts(facts)}\n\n{markdown_table(columns, rows)}")
    return {"facts": facts, "scores": scores_of(results)}


def scores_of(results: Sequence[MethodResult[Any]]) -> dict[str, Any]:
    """Return scores by method and image, for JSON."""
    return {result.method: {name: asdict(one) for name, one in result.scores.items()} for result in results}


def n_weights(file: Path) -> int:
    """Return the number of weights of a network."""
    return sum(weight.numel() for weight in network_of(str(file)).parameters())


def unit_images(samples: Sequence[SmallSample]) -> torch.Tensor:
    """Return images (N, 3, 32, 32) in 0..1."""
    pixels = np.stack([read_image(sample.image_path) for sample in samples])
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()


def accuracies(file: Path, samples: Sequence[SmallSample], root: Path) -> dict[str, str]:
    """Return the accuracy of the classifier's image classes, beside a regression on colours of 8 x 8 pixels."""
    network, classes = network_of(str(file)), np.array([sample.label for sample in samples])
    assert isinstance(network, Classifier)
    with torch.inference_mode():
        predicted = network(unit_images(samples))[1].argmax(dim=1).numpy()
    train = small_samples(root / "CIFAR10" / "train")
    tiny = [torch.nn.functional.avg_pool2d(unit_images(some), 4).flatten(1).numpy() for some in (train, samples)]
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    regression.fit(tiny[0], [sample.label for sample in train])
    beside = regression.predict(tiny[1])
    return {
        "top-1 accuracy of image classes": with_interval(predicted == classes),
        f"logistic regression on 8 x 8 pixels, {len(train)} training images": with_interval(beside == classes),
    }


def redrawing(file: Path, samples: Sequence[SmallSample], _root: Path) -> dict[str, str]:
    """Return the share of the variance of RGB values within images that the redrawn images explain."""
    images = unit_images(samples)
    with torch.inference_mode():
        _, redrawn = network_of(str(file))(images)
    missed = (redrawn - images).square().sum((1, 2, 3))
    total = (images - images.mean((2, 3), keepdim=True)).square().sum((1, 2, 3))
    return {"explained variation of RGB, redrawn images": with_interval((1 - missed / total).numpy())}


def with_interval(values: np.ndarray) -> str:
    """Return the mean and its interval."""
    low, high = bootstrap_95(lambda some: {"mean": float(np.mean(some))}, list(values))["mean"]
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Measure and print."""
    arguments = parse()
    root, content = data_root(arguments.data), {}
    if arguments.wnet:
        content["wnet"] = photos(arguments, root)
    for name in ("classifier", "autoencoder"):
        if getattr(arguments, name):
            print(f"\n## {name.capitalize()}\n")
            content[name] = small(name, arguments, root)
    if arguments.json:
        write_json(arguments.json, content)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, data in (("wnet", "BSDS500"), ("classifier", "CIFAR10"), ("autoencoder", "CIFAR10")):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"model.safetensors, scored on {data}")
    parser.add_argument("--data", help="folder with BSDS500 and CIFAR10; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val", help="of BSDS500")
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--every", type=positive_int, default=1, help="only every N-th image, before --limit")
    parser.add_argument("--workers", type=positive_int, default=1, help="processes, one thread each")
    parser.add_argument("--cache", type=Path, help="folder of finished scores, kept; an interrupted run resumes")
    parser.add_argument("--json", type=Path, help="also write the figures, image by image, to this file")
    arguments = parser.parse_args()
    if not (arguments.wnet or arguments.classifier or arguments.autoencoder):
        parser.error("no network: give --wnet, --classifier or --autoencoder")
    return arguments


if __name__ == "__main__":
    main()
