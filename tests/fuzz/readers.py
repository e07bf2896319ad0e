"""The reader of each kind of file, and what its result must be.

In   a folder with the files of one input, the one that was tampered with
Out  the result, checked; errors of the reader propagate
Not  judging errors (worker.py)
"""

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

SHAPE = (8, 24)


def read_hierarchy(path: Path) -> None:
    from supercuts.export import npz

    h = npz.read(path)
    assert h.cut(regions=1).max() == 0
    assert h.cut(regions=h.n_leaves).shape == h.shape
    if h.labels.size < 1_000_000:  # computing on a large one needs more memory than any reader
        assert np.isfinite(h.ucm()).all()


def read_picture(path: Path) -> None:
    from supercuts.images.io import read_image

    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.size > 0


def read_bands(path: Path) -> None:
    from supercuts.images import io, raster

    shape = values = None
    try:
        values = io.read_bands(path)
    finally:
        if values is None:
            raster.read_shape(path)  # may accept or refuse by itself: it reads headers alone
        else:
            shape = raster.read_shape(path)
    assert shape == values.shape
    assert values.min() >= 0
    assert values.max() <= 1


def read_scene(path: Path) -> None:
    from supercuts.core.errors import SuperCutsError
    from supercuts.images.raster import ReadOptions
    from supercuts.images.scenes import read_scene

    for options in (ReadOptions(), ReadOptions(page=2), ReadOptions(axes="CHW", stretch="minmax")):
        try:
            scene = read_scene(path, options=options)
        except SuperCutsError:
            if options == ReadOptions():
                raise
            continue
        assert scene.pixels.dtype == np.uint8
        assert scene.pixels.shape[:2] == scene.bands.shape[:2]
        assert scene.valid is None or scene.valid.any()


def read_result(path: Path) -> None:
    from supercuts.evaluate.results import read_hierarchy_result

    assert read_hierarchy_result(path, SHAPE) is not None


def read_label_map(path: Path) -> None:
    from supercuts.datasets.label_folder import read_label_maps
    from supercuts.evaluate.results import read_labels

    labels = read_labels(path, SHAPE)
    assert labels.shape == SHAPE
    assert labels.min() == 0
    if path.suffix in (".npy", ".png", ".tif"):
        assert read_label_maps(path)[0].min() == 0


def read_config(path: Path) -> None:
    from supercuts.core.config import load_config
    from supercuts.training.training_config import TrainConfig

    load_config(path, TrainConfig)


def read_network(path: Path) -> None:
    from supercuts.model import load

    model = load(path)
    assert all(0 <= altitude <= 1 for altitude in model.levels.values())


def read_checkpoint(path: Path) -> None:
    from supercuts.networks.backbones.weights import read_state_dict

    assert all(hasattr(value, "dtype") for value in read_state_dict(path).values())


def read_refiner(path: Path) -> None:
    from supercuts.refine.refiner import load_refiner

    _, _, images = load_refiner(path)
    assert all(isinstance(name, str) for name in images)


def read_learned(path: Path) -> None:
    from supercuts.selftaught.learned import load_learned

    load_learned(path)


def read_scribbles(path: Path) -> None:
    from supercuts.refine.runs import read_scribbles

    assert read_scribbles(path).min() >= -1


def read_bsds(path: Path) -> None:
    from supercuts.datasets.bsds500 import read_segmentations

    assert all(labels.min() == 0 for labels in read_segmentations(path))


def read_clothes(path: Path) -> None:
    from supercuts.datasets.cub_ccp import read_clothes

    read_clothes(path, ("null", "hair", "skin", "shoes"))


def read_voc(path: Path) -> None:
    from supercuts.datasets.voc import read_boxes, read_classes

    boxes = read_boxes(path).boxes_yxyx
    assert (np.abs(boxes) < 1e9).all()
    read_classes(path)


def read_coco(path: Path) -> None:
    from supercuts.datasets.coco import CocoParts

    for sample in CocoParts(path.parent):
        assert sample.truth.labels.min() >= 0


def read_cub(path: Path) -> None:
    from supercuts.datasets.cub_ccp import CUBParts

    root = path.parent if path.parent.name != "parts" else path.parent.parent
    for sample in CUBParts(root):
        truth = sample.truth
        assert np.isfinite(truth.keypoints_yx[truth.visible]).all()
        assert (np.abs(truth.box_yxyx) < 1e9).all()


def read_mask(path: Path) -> None:
    from supercuts.datasets.annotations import read_object_mask

    assert read_object_mask(path).masks.dtype == bool


@dataclasses.dataclass(frozen=True)
class Score:
    v0: float
    v1: float
    v2: float
    v3: float
    v4: float
    v5: float
    v6: float
    v7: float
    v8: float
    v9: float


def read_score(path: Path) -> None:
    """Read a stored score: it is used or ignored; a store never fails."""
    from supercuts.datasets.sample import Sample
    from supercuts.evaluate import parallel

    truth = path.parent / "truth.bin"
    truth.write_bytes(b"1")
    task = parallel.ScoringTask("m", Sample("score", path, truth, list), len)
    store = parallel.Store(path.parent / "store", Score)
    folder = store.folder_of("m")
    folder.mkdir(parents=True)
    origin = json.dumps(parallel._origin(task)).encode()
    (folder / "score.json").write_bytes(path.read_bytes().replace(b'"ORIGIN"', origin))
    score = store.read(task)
    assert score is None or all(type(value) in (int, float) for value in dataclasses.astuple(score)), score


def read_document(path: Path) -> None:
    from supercuts.refine.runs import read_document

    document = read_document(path.parent, "a")
    assert document is None or isinstance(document["files"], list)


@cache
def _pixel_model():
    from supercuts.model import Model

    return Model(None)


def read_graph(path: Path) -> None:
    from supercuts.training import graphs

    settings = path.parent / "settings.json"
    fingerprint = graphs._fingerprint(_pixel_model()).encode()
    settings.write_bytes(settings.read_bytes().replace(b"MODEL", fingerprint))
    settings.rename(path.parent / graphs.SETTINGS)
    data = graphs.SuperpixelGraphs([path.parent.parent / "a.png"], path.parent, _pixel_model(), 9)[0]
    assert data.num_nodes >= 0


def read_place(path: Path) -> None:
    from supercuts.export.rasters import read_georeference

    read_georeference(path, SHAPE)


READERS: dict[str, Callable[[Path], None]] = {
    "hierarchy": read_hierarchy,
    "picture": read_picture,
    "bands": read_bands,
    "scene": read_scene,
    "result": read_result,
    "label map": read_label_map,
    "config": read_config,
    "network": read_network,
    "checkpoint": read_checkpoint,
    "refiner": read_refiner,
    "learned network": read_learned,
    "scribbles": read_scribbles,
    "BSDS500": read_bsds,
    "CCP": read_clothes,
    "VOC": read_voc,
    "COCO": read_coco,
    "CUB": read_cub,
    "mask": read_mask,
    "stored score": read_score,
    "refinement document": read_document,
    "stored graph": read_graph,
    "georeference": read_place,
}
