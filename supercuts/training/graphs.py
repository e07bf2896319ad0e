"""A whole data set as superpixel graphs for PyTorch Geometric, made once and kept in a folder.

In   image files, or Samples with segmentations by people; a Model
Out  SuperpixelGraphs: one torch_geometric Data an image, which torch_geometric's DataLoader batches
Not  no network for the graphs, no features of its own (merging/gnn.py, training/affinity.py)

    graphs = SuperpixelGraphs(BSDS500("data", "train"), "graphs/train", supercuts.load(), superpixels=300)
    for batch in DataLoader(graphs, batch_size=16, shuffle=True): ...
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset

from supercuts.core.arrays import contingency
from supercuts.core.errors import FileFormatError, InputError, SuperCutsError
from supercuts.core.files import atomic_path
from supercuts.datasets.base import Sample
from supercuts.images.io import read_channels
from supercuts.merging.gnn import Data, graph_data
from supercuts.model import Model
from supercuts.networks.backbones.weights import read_torch
from supercuts.networks.predict import predict
from supercuts.superpixels.leaves import make_leaves
from supercuts.training.affinity import share_of_edges

SETTINGS = "settings.json"
_TENSORS = ("x", "pos", "edge_index", "edge_attr")


class SuperpixelGraphs(Dataset[Data]):
    """The superpixel graph of each image, made when first asked for.

    Each Data has x, pos, edge_index and edge_attr of merging.gnn.graph_data; of Samples also
    y (2 E,) float32, the share of annotators for whom the two superpixels of an edge belong to different segments.
    """

    def __init__(
        self,
        images: Iterable[Sample | str | os.PathLike[str]],
        folder: str | os.PathLike[str],
        model: Model,
        superpixels: int = 600,
    ) -> None:
        """Keep the graphs in `folder`; one that holds graphs of another model or number of superpixels is refused."""
        self.images = [one if isinstance(one, Sample) else Path(one) for one in images]
        self.folder = Path(folder)
        self.model = model
        self.superpixels = superpixels
        self.names = _names(self.images)
        self._check_settings()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Data:
        """Return the graph of image `index`; what is wrong with its file is a SuperCutsError that names it."""
        path = self.folder / f"{self.names[index]}.pt"
        if not path.is_file():
            data = self._make(self.images[index])
            with atomic_path(path) as temporary:
                torch.save(data.to_dict(), temporary)
        found = read_torch(path)
        if not isinstance(found, dict) or not all(isinstance(found.get(name), torch.Tensor) for name in _TENSORS):
            raise FileFormatError(f"{path} holds no graph of superpixels. Remove it: it is made again.")
        return Data.from_dict(found)

    def prepare(self) -> dict[str, str]:
        """Make all graphs that are missing, behind a progress bar; return what went wrong, by the image's name."""
        from rich.progress import track

        failures = {}
        for index, name in track(list(enumerate(self.names)), description="superpixel graphs", transient=True):
            try:
                self[index]
            except (SuperCutsError, OSError) as error:  # a full disk too: the other images may still succeed
                failures[name] = str(error)
        return failures

    def _make(self, image: Sample | Path) -> Data:
        network, config = self.model.network, self.model.config
        path = image.image_path if isinstance(image, Sample) else image
        maps = predict(read_channels(path, 3 if network is None else network.config.channels), network, config.views)
        labels, graph = make_leaves(maps, min(self.superpixels, maps.boundary.size), network, config)
        data = graph_data(graph)
        if isinstance(image, Sample):
            share = torch.from_numpy(
                share_of_edges(graph.edges, [contingency(truth, labels) for truth in image.truths])
            )
            data.y = torch.cat([share, share])
        return data

    def _check_settings(self) -> None:
        wanted = {"superpixels": self.superpixels, "model": _fingerprint(self.model)}
        path = self.folder / SETTINGS
        if not path.is_file():
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise FileFormatError(
                f"{path} cannot be read ({error}). Remove its folder: graphs are made again."
            ) from error
        if not isinstance(found, dict):
            raise FileFormatError(f"{path} holds no settings of graphs. Remove its folder: graphs are made again.")
        if found != wanted:
            different = "number" if found.get("superpixels") != self.superpixels else "model"
            raise InputError(
                f"{self.folder} holds graphs of {found.get('superpixels')} superpixels, asked for are "
                f"{self.superpixels}; the {different} differs. Give another folder, or remove this one."
            )


def _names(images: Sequence[Sample | Path]) -> list[str]:
    """Return a file name for each image: its own, with its place if two have the same."""
    names = [one.name if isinstance(one, Sample) else one.stem for one in images]
    return names if len(set(names)) == len(names) else [f"{name}_{i}" for i, name in enumerate(names)]


def _fingerprint(model: Model) -> str:
    """Return what the graphs depend on: settings and weights."""
    digest = hashlib.sha256(model.config.model_dump_json().encode())
    for values in () if model.network is None else model.network.weights():
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]
