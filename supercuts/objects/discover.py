"""Find the objects in a segmented image with a registered method, on its superpixels or on a grid of patches.

In   Hierarchy and features (N, D) of its leaves; or PatchFeatures and the size of the image
Out  Objects
Not  no images, no networks: features.py pools deep features

Each method is one entry of METHODS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int32

from supercuts.core.checks import check_choice, check_in_range, check_whole
from supercuts.core.errors import InputError
from supercuts.core.threads import Progress
from supercuts.hierarchy.cuts import paint
from supercuts.hierarchy.tree import Hierarchy
from supercuts.merging.affinity import Perceptrons
from supercuts.objects.deep_spectral import deep_spectral
from supercuts.objects.deepcut import CC, NCUT, DeepCutConfig, deepcut_object
from supercuts.objects.features import PatchFeatures
from supercuts.objects.figure_ground import figures, snap_to_tree
from supercuts.objects.node_graph import Foreground, NodeGraph, check_features, grid_graph, label_graph
from supercuts.objects.result import Objects
from supercuts.objects.tokencut import Find, LostConfig, lost, maskcut, tokencut


@dataclass(frozen=True, slots=True, eq=False)
class Discovery:
    """Input of a registered method: features of the nodes of a graph, and the number `n` of objects to find.

    hierarchy  hierarchy whose leaves are the nodes; None on a grid of patches
    judge      perceptrons of figure_ground.py, for the method "tree"
    progress   called as progress(done, total) after each step of slow methods
    """

    features: Float[np.ndarray, "nodes channels"]
    graph: NodeGraph
    n: int
    seed: int
    hierarchy: Hierarchy | None = None
    judge: Perceptrons | None = None
    progress: Progress | None = None

    def repeat(self, find: Find) -> list[Foreground]:
        """Return the objects of `find`, a method that finds one object at a time."""
        check_features(self.features, self.graph)
        return maskcut(self.features, self.graph, find, self.n)


def _tree(task: Discovery) -> list[Foreground]:
    if task.hierarchy is None or task.judge is None:
        raise InputError(
            "method='tree' needs a hierarchy and perceptrons that were learned for its model: find objects by "
            "supercuts.load(...).objects, or learn them with supercuts calibrate."
        )
    return figures(task.hierarchy, task.graph, task.judge, task.n)


def _lost(task: Discovery) -> list[Foreground]:
    return task.repeat(lost if task.hierarchy is None else partial(lost, config=LostConfig(k=None)))


def _deepcut(config: DeepCutConfig, task: Discovery) -> list[Foreground]:
    config = config.model_copy(update={"seed": task.seed})
    return task.repeat(partial(deepcut_object, config=config, progress=task.progress))


METHODS: dict[str, Callable[[Discovery], list[Foreground]]] = {
    "tree": _tree,
    "tokencut": lambda task: task.repeat(tokencut),
    "deep_spectral": lambda task: task.repeat(deep_spectral),
    "lost": _lost,
    "deepcut": partial(_deepcut, NCUT),
    "deepcut_cc": partial(_deepcut, CC),
}


def discover(
    h: Hierarchy,
    features: Float[np.ndarray, "leaves channels"] | None = None,
    method: str | Find = "tokencut",
    n: int = 1,
    refine: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
    judge: Perceptrons | None = None,
) -> Objects:
    """Return at most `n` objects, best first, found on the graph of the leaves.

    The score of an object is its mean softness inside minus its mean softness outside, 0..1. Saliency is the highest
    softness over all objects, at least 0.5 inside them and at most 0.5 outside. Masked pixels belong to no object and
    have saliency 0.

    Parameters
    ----------
    h
        Hierarchy of the image.
    features
        (N, D) of the leaves, such as ``dino_keys(...).pool(h.labels, h.n_leaves)``; if None, ``h.embeddings``.
    method
        "tree", "tokencut" [1]_, "deep_spectral" [2]_, "lost" [3]_, "deepcut" or "deepcut_cc" [4]_, or a function of
        features and NodeGraph, such as ``functools.partial(tokencut, config=TokenCutConfig(tau=0.3))``.
    n
        Largest number of objects, from 1. Further ones are found as by MaskCut [5]_.
    refine
        Whether to replace each object by the union of tree regions that agrees with it best.
    seed
        Seed of deepcut.
    progress
        ``progress(step, total)`` is called after each step of deepcut.
    judge
        Perceptrons that the method "tree" requires, learned by ``supercuts calibrate``.

    Returns
    -------
    Objects
        Disjoint masks, their scores and the saliency map.

    Raises
    ------
    InputError
        If `n` or `method` is out of range, features do not fit the leaves, or "tree" has no `judge`.

    References
    ----------
    .. [1] Wang et al., "TokenCut: Segmenting objects in images and videos with self-supervised transformer and
       normalized cut", PAMI 2023.
    .. [2] Melas-Kyriazi et al., "Deep spectral methods", CVPR 2022.
    .. [3] Simeoni et al., "Localizing objects with self-supervised transformers and no labels", BMVC 2021.
    .. [4] Aflalo et al., "DeepCut: Unsupervised segmentation using graph neural networks clustering", ICCVW 2023.
    .. [5] Wang et al., "Cut and learn for unsupervised object detection and instance segmentation", CVPR 2023.

    Examples
    --------
    >>> import supercuts
    >>> image = np.full((120, 160, 3), 200, np.uint8)
    >>> image[30:90, 50:110] = (200, 30, 30)
    >>> h = supercuts.load("compact").segment(image, superpixels=100)
    >>> bool(discover(h).mask[35:85, 55:105].all())
    True
    """
    graph = label_graph(h._labels)
    task = Discovery(h._embeddings if features is None else features, graph, n, seed, h, judge, progress)
    return _paint(_find(task, method), graph, h._labels, h if refine else None)


def discover_patches(
    patches: PatchFeatures,
    shape: tuple[int, int],
    method: str | Find = "tokencut",
    n: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Objects:
    """Return at most `n` objects of an image, found on its patches as in the published methods.

    Parameters
    ----------
    patches
        Features of the patches, such as those of `dino_keys`.
    shape
        Height and width of the image in pixels.
    method, n, seed, progress
        As in `discover`, without the method "tree".

    Returns
    -------
    Objects
        As in `discover`.

    Raises
    ------
    InputError
        As in `discover`.

    Examples
    --------
    >>> values = np.zeros((2, 3, 4), np.float32)
    >>> values[0], values[:, 1, 1:3] = 1, [[0], [1]]
    >>> discover_patches(PatchFeatures(values, 16, 8.0), (48, 64)).boxes_yxyx.tolist()
    [[16, 16, 32, 48]]
    """
    graph = grid_graph(*patches.values.shape[1:])
    foregrounds = _find(Discovery(patches.nodes, graph, n, seed, progress=progress), method)
    return _paint(foregrounds, graph, patches.grid_labels(*shape), None)


def _find(task: Discovery, method: str | Find) -> list[Foreground]:
    check_whole("n", task.n, remedy="Ask for at least one object.")
    check_in_range("n", task.n, 1, np.inf, remedy="Ask for at least one object.")
    if not isinstance(method, str):
        return task.repeat(method)
    check_choice("method", method, METHODS)
    return METHODS[method](task)


def _paint(
    foregrounds: list[Foreground], graph: NodeGraph, labels: Int32[np.ndarray, "height width"], h: Hierarchy | None
) -> Objects:
    """Return the objects as pixel masks, snapped to the hierarchy if there is one."""
    masks, scores = [], []
    is_taken = np.zeros(graph.n_nodes, bool)
    saliency = np.zeros(graph.n_nodes, np.float32)
    for foreground in foregrounds:
        inside = foreground.is_object & ~is_taken
        if h is not None:
            snapped = snap_to_tree(h, foreground.soft) & ~is_taken
            inside = snapped if snapped.any() else inside
        if not inside.any():  # earlier objects took all of it when they were snapped
            continue
        is_taken |= inside
        masks.append(inside)
        scores.append(foreground.score)
        saliency = np.maximum(saliency, foreground.soft)
    saliency = np.where(is_taken, np.maximum(saliency, 0.5), np.minimum(saliency, 0.5))
    best_first = np.argsort(-np.array(scores), kind="stable")
    return Objects(
        masks=np.stack([paint(masks[i], labels) for i in best_first]),
        scores=np.array(scores, np.float32)[best_first],
        saliency=paint(saliency.astype(np.float32), labels),
    )
