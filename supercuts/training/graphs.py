"""Learn the graph neural network, and convert a data set to superpixel graphs for PyTorch Geometric.

graphs = SuperpixelGraphs(BSDS500("data", "train"), "graphs/train", supercuts.load(), superpixels=300)
for batch in DataLoader(graphs, batch_size=16, shuffle=True): ...
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch.utils.data import Dataset

from supercuts.core.arrays import contingency
from supercuts.core.errors import FileFormatError, InputError, SuperCutsError
from supercuts.core.files import IMAGES, atomic_path, is_own_picture
from supercuts.datasets.sample import Sample
from supercuts.export.graphs import to_data
from supercuts.export.rasters import partitions
from supercuts.graph.rag import contract, contract_statistics, graph_of_maps
from supercuts.hierarchy.cuts import cut_by_count
from supercuts.images.io import read_channels
from supercuts.merging.affinity import Affinity, merge_by_affinity
from supercuts.merging.agglomerative import MergeTree
from supercuts.merging.gnn import BaseTransform, Data, DataLoader, EdgeGNN, GNNConfig, graph_data, statistics_data
from supercuts.model import Model, load
from supercuts.networks.backbones.weights import read_torch
from supercuts.networks.predict import predict
from supercuts.superpixels.leaves import make_leaves
from supercuts.training.affinity import Leaves, share_of_edges

SETTINGS = "settings.json"
_TENSORS = ("x", "pos", "edge_index", "edge_attr")


class ToSuperCuts(BaseTransform):  # type: ignore[misc]  # torch_geometric has no types
    """Transform of an image to its superpixel graph, to use like torch_geometric.transforms.ToSLIC.

    The Data has x, pos, edge_index, edge_attr and node as `supercuts.export.graphs.to_data`. ``levels`` (N, L) int64 is
    the region of each superpixel at each level, ``level_names`` names its columns, coarsest first.

    Parameters
    ----------
    superpixels
        Number of nodes, from 1.
    model
        Model that segments; if None, "compact".
    add_seg
        Whether to add ``seg`` (1, H, W), the superpixel of each pixel.
    add_img
        Whether to add ``img`` (1, C, H, W), the image.

    Examples
    --------
    >>> data = ToSuperCuts(superpixels=6, add_seg=True)(torch.zeros(3, 16, 24))
    >>> data.num_nodes, tuple(data.seg.shape), data.level_names
    (6, (1, 16, 24), ['scene', 'object', 'part'])
    """

    def __init__(
        self, superpixels: int = 75, model: Model | None = None, add_seg: bool = False, add_img: bool = False
    ) -> None:
        self.superpixels = superpixels
        self.model = load("compact") if model is None else model
        self.add_seg = add_seg
        self.add_img = add_img

    def forward(self, img: torch.Tensor) -> Data:
        """Return the graph of an image.

        Parameters
        ----------
        img
            (C, H, W) tensor, uint8 or float in 0..1; grey images may have one channel.

        Returns
        -------
        torch_geometric.data.Data
            The superpixels as nodes.

        Examples
        --------
        >>> data = ToSuperCuts(superpixels=4).forward(torch.zeros(3, 8, 8))
        >>> data.levels.shape
        torch.Size([4, 3])
        """
        h = self.model.segment(img, superpixels=self.superpixels)
        *levels, leaves = partitions(h)
        data = to_data(h, leaves)
        columns = np.array([part.region_of_leaf(h) for part in levels], np.int64).reshape(-1, h.n_leaves).T
        data.levels, data.level_names = torch.from_numpy(columns.copy()), [part.name for part in levels]
        if self.add_seg:
            data.seg = torch.from_numpy(h._labels.astype(np.int64))[None]
        if self.add_img:
            data.img = img[None]
        return data


class SuperpixelGraphs(Dataset[Data]):
    """Superpixel graphs of images for PyTorch Geometric, computed on first access.

    Each Data has the fields of merging.gnn.graph_data: x, pos, edge_index, edge_attr and the names of the columns of x
    and edge_attr. For a Sample it also has y (2 E,) float32, the share of annotators for whom the two superpixels of an
    edge belong to different segments. For an image of a folder with subfolders, y (1,) int64 is the index of the
    subfolder's name in `classes`.

    Parameters
    ----------
    images
        Samples of a data set, or paths of images; or one path: a folder, searched with its subfolders, or an image.
    folder
        Folder that stores the graphs.
    model
        Model whose superpixels are the nodes.
    superpixels
        Number of superpixels per image, from 1.

    Raises
    ------
    InputError
        If `folder` holds graphs of another model or number of superpixels, if there is no image, or if images lie both
        beside and in subfolders.
    FileFormatError
        If a file of `folder` is damaged.

    Examples
    --------
    >>> import supercuts
    >>> from supercuts.images.io import write_png
    >>> write_png("photo.png", np.zeros((16, 24, 3), np.uint8))
    >>> graphs = SuperpixelGraphs(["photo.png"], "graphs", supercuts.load("compact"), superpixels=6)
    >>> graphs[0].num_nodes
    6
    """

    def __init__(
        self,
        images: Iterable[Sample | str | os.PathLike[str]] | str | os.PathLike[str],
        folder: str | os.PathLike[str],
        model: Model,
        superpixels: int = 600,
    ) -> None:
        self.classes: list[str] = []
        self.targets: list[int] = []  # index in classes of each image, if there are any
        if isinstance(images, str | os.PathLike):
            root = Path(images)
            paths = _images_in(root)
            self.images: list[Sample | Path] = [*paths]
            self.names = _names_below(root, paths)
            self.classes, self.targets = _classes(root, paths)
        else:
            self.images = [image if isinstance(image, Sample) else Path(image) for image in images]
            self.names = _names(self.images)
        self.folder = Path(folder)
        self.model = model
        self.superpixels = superpixels
        self._check_settings()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Data:
        """Return the graph of image `index`; raise a SuperCutsError that names the file if it is invalid."""
        path = self.folder / f"{self.names[index]}.pt"
        if not path.is_file():
            data = self._make(self.images[index])
            with atomic_path(path) as temporary:
                torch.save(data.to_dict(), temporary)
        stored = read_torch(path)
        if not isinstance(stored, dict) or not all(isinstance(stored.get(name), torch.Tensor) for name in _TENSORS):
            raise FileFormatError(f"{path} holds no graph of superpixels. Remove it: it is rebuilt.")
        data = Data.from_dict(stored)
        if self.targets:
            data.y = torch.tensor([self.targets[index]])
        return data

    def prepare(self) -> dict[str, str]:
        """Compute all missing graphs, showing a progress bar.

        Returns
        -------
        dict
            Error message by name of the images that failed.

        Examples
        --------
        >>> graphs.prepare()
        {}
        """
        from rich.progress import track

        failures = {}
        for index, name in track(list(enumerate(self.names)), description="superpixel graphs", transient=True):
            try:
                self[index]
            except (SuperCutsError, OSError) as error:  # includes a full disk: other images may still succeed
                failures[name] = str(error)
        return failures

    def _make(self, image: Sample | Path) -> Data:
        network, config = self.model.network, self.model.config
        path = image.image_path if isinstance(image, Sample) else image
        maps = predict(read_channels(path, 3 if network is None else network.config.channels), network, config.views)
        n_leaves = min(self.superpixels, maps.boundary.size)
        labels = make_leaves(maps, n_leaves, network, config, affinity=self.model.affinity)
        graph = graph_of_maps(labels, maps)
        data = graph_data(graph)
        if isinstance(image, Sample):
            share = torch.from_numpy(
                share_of_edges(graph.edges, [contingency(truth, labels) for truth in image.truths])
            )
            data.y = torch.cat([share, share])
        return data

    def _check_settings(self) -> None:
        expected = {"superpixels": self.superpixels, "model": _fingerprint(self.model)}
        path = self.folder / SETTINGS
        if not path.is_file():
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
            return
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise FileFormatError(f"{path} cannot be read ({error}). Remove its folder: graphs are rebuilt.") from error
        if not isinstance(stored, dict):
            raise FileFormatError(f"{path} holds no settings of graphs. Remove its folder: graphs are rebuilt.")
        if stored != expected:
            different = "number" if stored.get("superpixels") != self.superpixels else "model"
            raise InputError(
                f"{self.folder} holds graphs of {stored.get('superpixels')} superpixels, "
                f"requested are {self.superpixels}; the {different} differs. Give another folder, or remove this one."
            )


def _names(images: Sequence[Sample | Path]) -> list[str]:
    """Return a file name for each image: its own name, with the index appended to all if two are equal."""
    names = [image.name if isinstance(image, Sample) else image.stem for image in images]
    return names if len(set(names)) == len(names) else [f"{name}_{i}" for i, name in enumerate(names)]


def _images_in(root: Path) -> list[Path]:
    """Return the image at a path, or the images in a folder and its subfolders, sorted by path."""
    if root.is_file():
        return [root]
    images = [path for path in root.rglob("*") if path.suffix.lower() in IMAGES and path.is_file()]
    images = [path for path in images if not is_own_picture(path)]
    images = [path for path in images if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not images:
        raise InputError(f"{root} holds no image ({' '.join(IMAGES)}). Give a folder of images, or their paths.")
    return sorted(images)


def _names_below(root: Path, images: Sequence[Path]) -> list[str]:
    """Return the path of each image below its folder, without suffix unless two would be equal."""
    if root.is_file():
        return [root.stem]
    names = [path.relative_to(root).with_suffix("").as_posix() for path in images]
    return names if len(set(names)) == len(names) else [path.relative_to(root).as_posix() for path in images]


def _classes(root: Path, images: Sequence[Path]) -> tuple[list[str], list[int]]:
    """Return the names of the subfolders with images, and the place of each image's among them; empty without any."""
    tops = ["" if path in (root, root / path.name) else path.relative_to(root).parts[0] for path in images]
    if not any(tops):
        return [], []
    if not all(tops):
        raise InputError(f"{root} holds images both beside and in subfolders, which name classes: move the former.")
    classes = sorted(set(tops))
    return classes, [classes.index(top) for top in tops]


def _fingerprint(model: Model) -> str:
    """Return a hash of the settings and weights that the graphs depend on."""
    digest = hashlib.sha256(model.config.model_dump_json().encode())
    for values in () if model.network is None else model.network.weights():
        digest.update(values.tobytes())
    for values in () if model.affinity is None else model.affinity.arrays().values():
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


class GNNTrainingConfig(BaseModel, frozen=True, extra="forbid"):
    """Settings for training the graph neural network."""

    graphs: PositiveInt = 6  # graphs per image: the leaves, and coarser ones
    epochs: PositiveInt = 15
    batch_size: PositiveInt = 8  # graphs per step
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 1e-2
    seed: NonNegativeInt = 0


def learn_gnn(
    images: Sequence[Leaves],
    affinity: Affinity,
    config: GNNTrainingConfig | None = None,
    network: GNNConfig | None = None,
) -> EdgeGNN:
    """Return the network learned from all `images`, in eval mode."""
    config = config or GNNTrainingConfig()
    rng = np.random.default_rng(config.seed)
    graphs = [graph for image in images for graph in graphs_of(image, affinity, config.graphs, rng)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        gnn = EdgeGNN(graphs[0].x.shape[1], graphs[0].edge_attr.shape[1], network)
        for name in ("node", "edge"):
            values = torch.cat([graph.x if name == "node" else graph.edge_attr for graph in graphs])
            getattr(gnn, f"{name}_mean").copy_(values.mean(0))
            getattr(gnn, f"{name}_scale").copy_(1 / (values.std(0) + 1e-6))
        loader = DataLoader(graphs, config.batch_size, shuffle=True)
        optimizer = torch.optim.AdamW(gnn.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        n_steps = config.epochs * len(loader)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=n_steps)
        for _ in range(config.epochs):
            for batch in loader:
                # every graph counts the same, whatever its number of edges
                loss = F.binary_cross_entropy_with_logits(gnn(batch), batch.y, batch.weight, reduction="sum")
                optimizer.zero_grad()
                torch.autograd.backward(loss / batch.num_graphs)
                torch.nn.utils.clip_grad_norm_(gnn.parameters(), 1.0)
                optimizer.step()
                schedule.step()
    return gnn.eval()


def graphs_of(image: Leaves, affinity: Affinity, n_graphs: int, rng: np.random.Generator) -> list[Data]:
    """Return the leaves' graph and coarser ones, with the targets y (E,) and the weights (E,), which sum to 1."""
    tree = merge_by_affinity(image.graph, image.statistics, affinity)
    n = image.graph.n_nodes
    counts = [n, *np.exp(rng.uniform(np.log(min(4, n)), np.log(n), n_graphs - 1)).astype(int)]
    return [graph for count in counts if (graph := _coarser(image, tree, int(count))).num_edges > 0]


def _coarser(image: Leaves, tree: MergeTree, n_regions: int) -> Data:
    region = cut_by_count(tree.parents, tree.altitudes, image.graph.n_nodes, n_regions).region_of_leaf
    graph, statistics = contract(image.graph, region), contract_statistics(image.statistics, image.graph, region)
    data = statistics_data(graph, statistics)
    tables = [np.zeros((len(table), graph.n_nodes)) for table in image.tables]
    for of_regions, of_leaves in zip(tables, image.tables, strict=True):
        np.add.at(of_regions.T, region, of_leaves.T)
    data.y = torch.from_numpy(share_of_edges(graph.edges, tables))
    data.weight = torch.full((graph.n_edges,), 1 / max(graph.n_edges, 1))
    return data
