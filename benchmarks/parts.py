"""Parts by cutting the tree against SLIC and k-means on colour, at the same number of regions.

In   folders with the CCP and CarParts data sets, a model
Out  per data set and number of regions: mean best Jaccard of the true parts, and the gain of the tree over each
     baseline, with paired intervals; on request JSON
Not  no choice of regions with the truth but the best one per true part, which all methods are granted; no objects

    python benchmarks/parts.py --data data --json parts.json

Each true part (a label of CCP, an annotation of CarParts) takes the region that fits it best: its Jaccard index is
averaged over the parts of an image, then over images. Regions are those of

  tree cut           h.cut(regions=R)
  k-means            SLIC superpixels, as many as the tree has leaves, whose mean Lab colours fall into R clusters; a
                     region is a cluster, in one piece or in many
  k-means, connected the same, where a region is in one piece: of the 4-connected components of the clusters, the
                     smallest joins the neighbour of the nearest colour until R remain

"SLIC + k-means on colour at the same number of regions" can be read in both ways: the tree is compared with the better
one of the two at each number of regions.
"""

import argparse
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import markdown_facts, markdown_table, positive_int, run_facts, score, write_json
from jaxtyping import Float, Int32, UInt8
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from skimage.segmentation import slic
from sklearn.cluster import KMeans

import supercuts
from supercuts.core.arrays import contingency, relabel_consecutive
from supercuts.datasets.annotations import PartSample
from supercuts.datasets.named import open_parts
from supercuts.datasets.sample import data_root
from supercuts.evaluate.parallel import Store, bootstrap_95
from supercuts.evaluate.scorers import MethodResult, of_model
from supercuts.images.convert import rgb_to_lab
from supercuts.metrics.nodes import flat_jaccard
from supercuts.model import Model
from supercuts.networks.network import weights_path

REGIONS = (8, 16, 32, 64)
METHODS = ("tree cut", "k-means", "k-means, connected")
TITLES = {"ccp": "CCP", "carparts": "CarParts"}
SEED = 0  # seed of k-means, which starts five times


@dataclass(frozen=True, slots=True, eq=False)
class PartCuts:
    """Mean best Jaccard of the true parts of one image: (methods, numbers of regions) float64, in their order."""

    jaccard: np.ndarray


@dataclass(frozen=True, slots=True)
class CutAndCluster:
    """Score all methods on one image."""

    model: str
    n_leaves: int
    n_regions: tuple[int, ...] = REGIONS

    def __call__(self, sample: PartSample) -> PartCuts:
        """Return the scores of one image."""
        image, truth = supercuts.read_image(sample.image_path), sample.truth.labels
        h = load_once(self.model).segment(image, superpixels=self.n_leaves)
        cells = slic(image, n_segments=self.n_leaves, start_label=0)
        colors, cells = mean_lab(image, cells)
        rows = np.empty((len(METHODS), len(self.n_regions)))
        for i, n in enumerate(self.n_regions):
            clusters = KMeans(n, n_init=5, random_state=SEED).fit_predict(colors).astype(np.int32)
            regions = (h.cut(regions=n), clusters[cells], connected(clusters, colors, cells, n)[cells])
            rows[:, i] = [mean_best(truth, labels) for labels in regions]
        return PartCuts(rows)


@functools.cache
def load_once(model: str) -> Model:
    """Return the model; a process loads it for its first image only."""
    return supercuts.load(model)


def mean_best(truth: Int32[np.ndarray, "height width"], labels: Int32[np.ndarray, "height width"]) -> float:
    """Return the mean over true parts of the best Jaccard index with a region."""
    return float(flat_jaccard(contingency(truth, labels)[1:], np.bincount(labels.ravel())).mean())


def mean_lab(
    image: UInt8[np.ndarray, "height width 3"], cells: np.ndarray
) -> tuple[Float[np.ndarray, "cells 3"], Int32[np.ndarray, "height width"]]:
    """Return the mean Lab colour of each superpixel, and the superpixels numbered without gaps."""
    cells, n = relabel_consecutive(cells)
    lab = rgb_to_lab(image).reshape(-1, 3)
    sums = [np.bincount(cells.ravel(), lab[:, c], minlength=n) for c in range(3)]
    return np.stack(sums, axis=1) / np.bincount(cells.ravel(), minlength=n)[:, None], cells


def connected(
    clusters: Int32[np.ndarray, " cells"],
    colors: Float[np.ndarray, "cells 3"],
    cells: Int32[np.ndarray, "height width"],
    n_regions: int,
) -> Int32[np.ndarray, " cells"]:
    """Return the region of each superpixel: components of clusters, the smallest absorbed until n_regions remain."""
    pairs = np.concatenate(
        [np.stack([a.ravel(), b.ravel()], 1) for a, b in ((cells[:, 1:], cells[:, :-1]), (cells[1:], cells[:-1]))]
    )
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    alike = pairs[clusters[pairs[:, 0]] == clusters[pairs[:, 1]]]
    size = clusters.size
    graph = sparse.coo_matrix((np.ones(len(alike)), alike.T), (size, size))
    n, region = connected_components(graph, directed=False)
    areas = np.bincount(cells.ravel(), minlength=size).astype(float)
    while n > n_regions:
        weight = np.bincount(region, areas, minlength=n)
        means = (
            np.stack([np.bincount(region, areas * colors[:, c], minlength=n) for c in range(3)], 1) / weight[:, None]
        )
        smallest = int(weight.argmin())
        borders = region[pairs]
        beside = np.unique(borders[(borders == smallest).any(axis=1)])
        beside = beside[beside != smallest]
        nearest = beside[np.square(means[beside] - means[smallest]).sum(axis=1).argmin()]
        region = relabel_consecutive(np.where(region == smallest, nearest, region))[0]
        n -= 1
    return region.astype(np.int32)


def main() -> None:
    """Measure and print."""
    arguments = parse()
    facts = {
        **run_facts(),
        "model": f"{arguments.model}, {arguments.leaves} superpixels; SLIC of scikit-image, as many",
        "runs": "1 (deterministic); intervals: 95 %, paired bootstrap over images",
    }
    print(markdown_facts(facts))
    document: dict[str, object] = {"facts": facts, "regions": REGIONS}
    for name in arguments.datasets:
        result = measure(name, arguments)
        print(f"\n## {TITLES[name]}, {len(result.scores)} images\n\n{table_of(result)}")
        document[name] = {
            "methods": METHODS,
            "mean": np.mean([score.jaccard for score in result.scores.values()], axis=0).tolist(),
            "gain": gains(result),
            "images": {image: score.jaccard.tolist() for image, score in result.scores.items()},
        }
    if arguments.json:
        write_json(arguments.json, document)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with CCP and CarParts; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--datasets", nargs="*", choices=tuple(TITLES), default=tuple(TITLES))
    parser.add_argument("--model", default="compact", help="a name or a path, as supercuts.load takes it")
    parser.add_argument("--leaves", type=positive_int, default=600, help="superpixels of the tree, and of SLIC")
    parser.add_argument("--limit", type=positive_int, help="only the first N images of each")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    parser.add_argument("--cache", type=Path, help="folder of finished scores, kept; an interrupted run resumes")
    parser.add_argument("--json", type=Path, help="also write the figures, image by image, to this file")
    return parser.parse_args()


def measure(name: str, arguments: argparse.Namespace) -> MethodResult[PartCuts]:
    """Return the scores of all images of one dataset."""
    samples = open_parts(name, data_root(arguments.data))[: arguments.limit]
    scorer = CutAndCluster(arguments.model, arguments.leaves)
    store = Store(arguments.cache, PartCuts) if arguments.cache else None
    return score([of_model(name, samples, scorer, weights_path(arguments.model))], arguments.workers, store)[0]


def table_of(result: MethodResult[PartCuts]) -> str:
    """Return the scores of each method, and the gain over the better baseline."""
    means = np.mean([score.jaccard for score in result.scores.values()], axis=0)
    rows = [[name, *(f"{value:.3f}" for value in values)] for name, values in zip(METHODS, means, strict=True)]
    cells = [f"{value:+.0%} ({low:+.0%} to {high:+.0%})" for value, low, high in gains(result).values()]
    return markdown_table(
        ["regions", *(str(n) for n in REGIONS), "mean"],
        [*([*row, f"{means[i].mean():.3f}"] for i, row in enumerate(rows)), ["tree above the better baseline", *cells]],
    )


def gains(result: MethodResult[PartCuts]) -> dict[str, tuple[float, float, float]]:
    """Return the tree's relative gain over the better baseline, with its interval; also for the mean."""
    scores = list(result.scores.values())
    intervals = bootstrap_95(_gain, scores)
    return {name: (value, *intervals[name]) for name, value in _gain(scores).items()}


def _gain(scores: Sequence[PartCuts]) -> Mapping[str, float]:
    means = np.mean([score.jaccard for score in scores], axis=0)
    means = np.concatenate([means, means.mean(axis=1, keepdims=True)], axis=1)
    relative = means[0] / means[1:].max(axis=0) - 1
    return dict(zip([*map(str, REGIONS), "mean"], relative.tolist(), strict=True))


if __name__ == "__main__":
    main()
