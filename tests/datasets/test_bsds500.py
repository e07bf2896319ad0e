import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.bsds500 import BSDS500, find_folder, load_boundaries, load_truths

LAYOUTS = ["BSDS500/BSDS500/data", "BSR/BSDS500/data", "BSDS500/data", "data", "."]
TRUTH = np.array([[1, 1, 7], [1, 9, 9]], np.uint16)


def write_truth(path: Path, *segmentations: np.ndarray) -> None:
    cells = np.empty((1, len(segmentations)), object)
    for index, labels in enumerate(segmentations):
        cells[0, index] = {"Segmentation": labels, "Boundaries": (labels > 1).astype(np.uint8)}
    scipy.io.savemat(path, {"groundTruth": cells})


def write_dataset(folder: Path) -> Path:
    names = {"train": ["10", "9", "200"], "val": ["15"], "test": ["1"]}
    for split, stems in names.items():
        (folder / "images" / split).mkdir(parents=True)
        (folder / "groundTruth" / split).mkdir(parents=True)
        for stem in stems:
            Image.new("RGB", (3, 2)).save(folder / "images" / split / f"{stem}.jpg")
            write_truth(folder / "groundTruth" / split / f"{stem}.mat", TRUTH, np.ones((2, 3), np.uint16))
    return folder


@pytest.fixture
def root(tmp_path):
    write_dataset(tmp_path / "BSDS500/BSDS500/data")
    return tmp_path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found(tmp_path, layout):
    folder = write_dataset(tmp_path / layout)
    assert find_folder(tmp_path).resolve() == folder.resolve()
    assert find_folder(folder).resolve() == folder.resolve()


@pytest.mark.parametrize(
    ("split", "names"),
    [("train", ("9", "10", "200")), ("val", ("15",)), ("test", ("1",)), ("train+val", ("9", "10", "15", "200"))],
)
def test_samples_come_in_numeric_order(root, split, names):
    data = BSDS500(root, split)
    data.check()
    assert data.names == names
    assert len(data) == len(names)
    assert [sample.name for sample in data] == list(names)
    assert data[-1].name == names[-1]
    assert all(sample.truth_path.stem == sample.image_path.stem == sample.name for sample in data)


def test_segmentations_are_renumbered_from_zero(root):
    sample = BSDS500(root, "val")[0]
    truths = load_truths(sample)
    assert [truth.dtype for truth in truths] == [np.int32, np.int32]
    np.testing.assert_array_equal(truths[0], [[0, 0, 1], [0, 2, 2]])
    np.testing.assert_array_equal(truths[1], np.zeros((2, 3)))
    np.testing.assert_array_equal(sample.truths[0], truths[0])


def test_boundaries_are_masks(root):
    boundaries = load_boundaries(BSDS500(root, "val")[0])
    assert boundaries[0].dtype == bool
    np.testing.assert_array_equal(boundaries[0], TRUTH > 1)


def test_samples_travel_to_worker_processes(root):
    sample = pickle.loads(pickle.dumps(BSDS500(root, "val")[0]))
    assert len(sample.truths) == 2


def test_missing_dataset_prints_tree_and_source(tmp_path):
    with pytest.raises(
        FileFormatError, match=r"(?s)No BSDS500 in .*images/train/\*\.jpg.*Get BSR_bsds500\.tgz from https"
    ):
        BSDS500(tmp_path, "val")


def test_empty_split_is_refused(root):
    for image in (root / "BSDS500/BSDS500/data/images/val").iterdir():
        image.unlink()
    with pytest.raises(FileFormatError, match=r"(?s)No \.jpg file in .*val.*Get BSR"):
        BSDS500(root, "train+val")


def test_unknown_split_is_refused(root):
    with pytest.raises(InputError, match=r"split='dev' is unknown. Choose one of: train, val, test, train\+val"):
        BSDS500(root, "dev")


def test_missing_annotation_is_named(root):
    data = BSDS500(root, "train")
    data[1].truth_path.unlink()
    with pytest.raises(FileFormatError, match=r"1 of 3 images have no annotation file in .*: 10\. "):
        data.check()
    with pytest.raises(FileFormatError, match="image 10 has no annotation file"):
        load_truths(data[1])


@pytest.mark.parametrize("load", [load_truths, load_boundaries])
def test_wrong_size_is_named(root, load):
    sample = BSDS500(root, "val")[0]
    write_truth(sample.truth_path, TRUTH, TRUTH.T)
    with pytest.raises(
        FileFormatError, match=r"15\.mat is \(3, 2\) but image 15 is \(2, 3\).*unpack the dataset again"
    ):
        load(sample)


@pytest.mark.parametrize("content", [b"", b"not a matrix", "wrong key", "no annotators"])
def test_broken_annotation_is_named(root, content):
    sample = BSDS500(root, "val")[0]
    if isinstance(content, bytes):
        sample.truth_path.write_bytes(content)
    elif content == "wrong key":
        scipy.io.savemat(sample.truth_path, {"labels": TRUTH})
    else:
        write_truth(sample.truth_path)
    with pytest.raises(FileFormatError, match=r"15\.mat .*unpack the dataset again"):
        load_truths(sample)


@pytest.mark.dataset
@pytest.mark.parametrize(("split", "size"), [("train", 200), ("val", 100), ("test", 200), ("train+val", 300)])
def test_real_splits_are_complete(data_root, split, size):
    data = BSDS500(data_root, split)
    data.check()
    assert len(data) == size
    truths, boundaries = load_truths(data[0]), load_boundaries(data[0])
    assert 4 <= len(truths) == len(boundaries) <= 9
    # a drawn boundary lies between regions: each of its pixels has an 8-neighbour with another label
    height, width = truths[0].shape
    for y, x in np.argwhere(boundaries[0])[::97]:
        around = truths[0][max(y - 1, 0) : min(y + 2, height), max(x - 1, 0) : min(x + 2, width)]
        assert np.unique(around).size > 1
