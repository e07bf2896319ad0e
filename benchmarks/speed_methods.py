"""Programs that speed.py times: our pipeline stage by stage, and others, each behind one function.

In   an RGB image (H, W, 3) uint8, a number of superpixels
Out  seconds by stage, "total" among them
Not  no repetition, no medians, no table (speed.py)
"""

import functools
import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

Seconds = dict[str, float]
Run = Callable[[], Seconds]

# stage -> the functions that make it up, where they are called from
_LEAVES, _GRAPHS = "supercuts.superpixels.leaves", ("graph_of_maps", "graph_and_statistics")
STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "network": (("supercuts.pipeline", "predict_stored"),),
    "cells to superpixels": tuple((_LEAVES, f) for f in ("cluster", "halved", "doubled")),
    "smoothing": ((_LEAVES, "smooth"),),
    "graphs": tuple((_LEAVES, f) for f in ("region_means", *_GRAPHS, "grouped_means")),
    "down to the leaves": ((_LEAVES, "merge_to_count_by_affinity"),),
    "graph and statistics": tuple(("supercuts.pipeline", f) for f in _GRAPHS),
    "merging": (("supercuts.pipeline", "merge"),),
}


def supercuts_run(image: np.ndarray, superpixels: int, model: str, engine: str) -> Run:
    """Return the hierarchy, stage by stage; the remaining time is checks and the hierarchy itself."""
    import supercuts
    from supercuts.warm import compile_kernels

    compile_kernels()  # not part of a run
    loaded = supercuts.load(model, engine=engine)

    def run() -> Seconds:
        seconds = dict.fromkeys(STAGES, 0.0)
        with timed(seconds):
            start = time.perf_counter()
            loaded.segment(image, superpixels=superpixels)
            total = time.perf_counter() - start
        return {"total": total, **seconds, "rest": total - sum(seconds.values())}

    return run


@contextmanager
def timed(seconds: Seconds) -> Iterator[None]:
    """Add the time of the functions of each stage to `seconds`."""
    undo = []
    try:
        for stage, places in STAGES.items():
            for module_name, name in places:
                module = importlib.import_module(module_name)
                function = getattr(module, name)
                undo.append((module, name, function))
                setattr(module, name, _clocked(function, stage, seconds))
        yield
    finally:
        for module, name, function in undo:
            setattr(module, name, function)


def _clocked(function: Callable, stage: str, seconds: Seconds) -> Callable:
    @functools.wraps(function)
    def clocked(*args: object, **kwargs: object) -> object:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += time.perf_counter() - start

    return clocked


def slic_run(image: np.ndarray, superpixels: int) -> Run:
    """scikit-image's SLIC."""
    import skimage.segmentation

    return _whole(lambda: skimage.segmentation.slic(image, n_segments=superpixels, start_label=0))


def chain_run(image: np.ndarray, superpixels: int) -> Run:
    """scikit-image's SLIC, graph, and merging down to one region."""
    import skimage.graph
    import skimage.segmentation
    from peer_methods import mean_color_distance, merge_mean_color

    def run() -> Seconds:
        moments = [time.perf_counter()]
        labels = skimage.segmentation.slic(image, n_segments=superpixels, start_label=0)
        moments.append(time.perf_counter())
        graph = skimage.graph.rag_mean_color(image, labels)
        moments.append(time.perf_counter())
        skimage.graph.merge_hierarchical(
            labels, graph, thresh=np.inf, rag_copy=False, in_place_merge=True,
            merge_func=merge_mean_color, weight_func=mean_color_distance,
        )  # fmt: skip
        moments.append(time.perf_counter())
        stages = zip(("slic", "rag_mean_color", "merge_hierarchical"), np.diff(moments).tolist(), strict=True)
        return {"total": moments[-1] - moments[0], **dict(stages)}

    return run


def felzenszwalb_run(image: np.ndarray, superpixels: int) -> Run:
    """scikit-image's Felzenszwalb and Huttenlocher; the smallest segment is half a superpixel."""
    import skimage.segmentation

    least = image.shape[0] * image.shape[1] // (2 * superpixels)
    return _whole(lambda: skimage.segmentation.felzenszwalb(image, scale=100, sigma=0.8, min_size=least))


def seeds_run(image: np.ndarray, superpixels: int) -> Run:
    """OpenCV's SEEDS, four levels, ten iterations, in Lab."""
    import cv2

    def run() -> None:
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        seeds = cv2.ximgproc.createSuperpixelSEEDS(image.shape[1], image.shape[0], 3, superpixels, 4)
        seeds.iterate(lab, 10)
        seeds.getLabels()

    return _whole(run)


def lsc_run(image: np.ndarray, superpixels: int) -> Run:
    """OpenCV's LSC, ten iterations, in Lab."""
    import cv2

    side = round((image.shape[0] * image.shape[1] / superpixels) ** 0.5)

    def run() -> None:
        lsc = cv2.ximgproc.createSuperpixelLSC(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), side, 0.075)
        lsc.iterate(10)
        lsc.enforceLabelConnectivity(25)
        lsc.getLabels()

    return _whole(run)


def higra_run(image: np.ndarray, superpixels: int) -> Run:
    """Higra's watershed hierarchy by area over the pixels, by distance in Lab."""
    import higra
    import skimage.color

    def run() -> None:
        graph = higra.get_4_adjacency_graph(image.shape[:2])
        weights = higra.weight_graph(graph, skimage.color.rgb2lab(image), higra.WeightFunction.L2)
        higra.watershed_hierarchy_by_area(graph, weights)

    return _whole(run)


def vit_run(image: np.ndarray, superpixels: int) -> Run:
    """The forward pass of DINO's ViT-S/16 alone, in the fastest type; weights are random, which takes the same time."""
    import timm
    import torch

    from supercuts.core.private_torch import autocast

    vit = timm.create_model("vit_small_patch16_224", num_classes=0, dynamic_img_size=True).eval()
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    rows, columns = image.shape[:2]
    pixels = torch.nn.functional.pad(pixels, (0, -columns % 16, 0, -rows % 16), mode="replicate")

    def run() -> None:
        with torch.inference_mode(), autocast(torch.device("cpu")):
            vit.forward_features(pixels)

    return _whole(run)


def encoder_run(image: np.ndarray, superpixels: int) -> Run:
    """The forward pass of our network's encoder alone, folded, in the fastest type."""
    import torch

    import supercuts
    from supercuts.core.private_torch import autocast

    encoder = supercuts.load(engine="torch").network.folded().backbone
    rows, columns = image.shape[:2]
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    pixels = torch.nn.functional.pad(pixels, (0, -columns % 32, 0, -rows % 32), mode="replicate")
    pixels = pixels.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode(), autocast(torch.device("cpu")):
            encoder(pixels)

    return _whole(run)


def _whole(function: Callable[[], object]) -> Run:
    def run() -> Seconds:
        start = time.perf_counter()
        function()
        return {"total": time.perf_counter() - start}

    return run


PEERS: dict[str, Callable[[np.ndarray, int], Run]] = {
    "scikit-image slic": slic_run,
    "slic, rag_mean_color, merge_hierarchical": chain_run,
    "scikit-image felzenszwalb": felzenszwalb_run,
    "OpenCV SEEDS": seeds_run,
    "OpenCV LSC": lsc_run,
    "Higra watershed by area": higra_run,
    "DINO ViT-S/16 alone": vit_run,
    "our encoder alone": encoder_run,
}
