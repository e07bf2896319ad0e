import functools
import pickle

import numpy as np
import pytest
from PIL import Image

import supercuts
from supercuts.core.errors import FileFormatError
from supercuts.datasets.base import Sample
from supercuts.evaluate import scorers
from supercuts.evaluate.scorers import HierarchyFiles, HierarchyOfModel, SuperpixelsOfFile, SuperpixelsOfModel

SHAPE = (32, 48)


def stored(truths, _path):
    return truths


@pytest.fixture
def sample(tmp_path):
    truth = np.zeros(SHAPE, np.int32)
    truth[:, 24:] = 1
    path = tmp_path / "image.png"
    Image.fromarray(np.repeat(truth[..., None] * 200, 3, axis=2).astype(np.uint8)).save(path)
    return Sample("image", path, path, functools.partial(stored, [truth]))


def test_superpixels_of_the_embedded_model(sample):
    scores = pickle.loads(pickle.dumps(SuperpixelsOfModel("compact", 12)))(sample)
    assert scores.n_superpixels == 12
    assert scores.asa[0] == pytest.approx(1)
    assert 0 < scores.explained_variation <= 1
    assert SuperpixelsOfModel("compact", 12, 5)(sample).n_superpixels == 5


def test_hierarchy_of_the_embedded_model(sample):
    scores = pickle.loads(pickle.dumps(HierarchyOfModel("compact", 12, True)))(sample)
    assert scores.regions.covering.max() == pytest.approx(1)
    assert scores.boundaries.f.max() > 0.9
    assert HierarchyOfModel("compact", None, False)(sample).boundaries is None


def test_merger_and_views_reach_the_model(monkeypatch):
    monkeypatch.setattr("supercuts.model.load", lambda model, **how: (model, how))
    scorer = HierarchyOfModel("of_this_test", 12, False, "spectral", "many")
    scorer.check()
    assert scorers.load_once("of_this_test", "spectral", "many")[1] == {"merging": "spectral", "views": "many"}


def test_label_files(sample, tmp_path):
    Image.fromarray(sample.truths[0].astype(np.uint8)).save(tmp_path / "labels.png")
    assert SuperpixelsOfFile(tmp_path / "labels.png")(sample).asa.tolist() == [1]
    np.save(tmp_path / "small.npy", np.zeros((4, 4), np.int32))
    with pytest.raises(FileFormatError, match="small"):
        SuperpixelsOfFile(tmp_path / "small.npy")(sample)


def test_every_form_of_hierarchy_file(sample, tmp_path):
    truth = sample.truths[0]
    ucm = np.zeros((2 * SHAPE[0] + 1, 2 * SHAPE[1] + 1))
    ucm[:, 48] = 0.5
    np.save(tmp_path / "ucm.npy", ucm)
    np.save(tmp_path / "segmentations.npy", np.stack([truth, truth * 0]))
    np.save(tmp_path / "soft.npy", ucm[2::2, 2::2])
    supercuts.load().segment(sample.image_path, superpixels=9).save(tmp_path / "tree.npz")
    of_file = pickle.loads(pickle.dumps(HierarchyFiles("auto", True, False)))
    scores = {
        name: of_file(tmp_path / name)(sample) for name in ("ucm.npy", "segmentations.npy", "soft.npy", "tree.npz")
    }
    assert all(one.boundaries.f.max() > 0.9 for one in scores.values())
    assert {name: one.nodes is not None for name, one in scores.items()} == {
        "ucm.npy": True,
        "segmentations.npy": False,
        "soft.npy": False,
        "tree.npz": True,
    }
    assert scores["ucm.npy"].regions.covering.max() == 1
    suppressed = HierarchyFiles("soft", True, True)(tmp_path / "soft.npy")(sample)
    assert suppressed.boundaries.n_predicted[0] > 0
