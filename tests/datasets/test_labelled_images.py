import pickle

import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.labelled_images import UNLABELLED, class_folders, open_labelled


def draw(path, value=0, side=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for split in ("train", "test"):
        for value, name in enumerate(("cat/b.png", "cat/a.png", "dog/a.png")):
            draw(tmp_path / "CIFAR10" / split / name, value)
    return tmp_path


@pytest.mark.parametrize("below", ["", "CIFAR10"])
def test_class_folders(root, below):
    data = open_labelled("cifar10", root / below, "train")
    assert data.class_names == ("cat", "dog")
    assert [(one.name, one.label) for one in data.samples] == [("cat/a", 0), ("cat/b", 0), ("dog/a", 1)]
    np.testing.assert_array_equal(data.samples[0].read(), np.full((4, 4, 3), 1))
    assert len(data) == 3


def test_any_folder_has_classes_or_none(root):
    for split in ("train", "val"):  # without val, what there is
        data = open_labelled("folder", root / "CIFAR10", split)
        assert (data.class_names, len(data)) == (("cat", "dog"), 3)
    plain = open_labelled("folder", root / "CIFAR10/train/cat", "train")
    assert [(one.name, one.label) for one in plain.samples] == [("a", UNLABELLED), ("b", UNLABELLED)]


def test_what_is_not_there_is_refused_with_what_is_expected(root, tmp_path):
    with pytest.raises(InputError, match="dataset='cifar' is unknown"):
        open_labelled("cifar", root, "train")
    with pytest.raises(FileFormatError, match=r"No val split of cifar10 .*nothing is downloaded"):
        open_labelled("cifar10", root, "val")
    with pytest.raises(FileFormatError, match="No train split of stl10"):
        open_labelled("stl10", root, "train")
    with pytest.raises(FileFormatError, match="no such folder"):
        open_labelled("folder", root / "none", "train")
    (root / "empty").mkdir()
    with pytest.raises(FileFormatError, match="No folder of a class"):
        class_folders(root / "empty")


def test_files_that_are_not_the_original_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(FileFormatError, match="torchvision cannot read it"):
        open_labelled("cifar10", tmp_path, "train")


@pytest.mark.parametrize("dataset", ["cifar10", "stl10"])
def test_original_files_are_read_by_torchvision(dataset, tmp_path, monkeypatch):
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)

    class Stub:
        def __init__(self, root, download, **how):
            assert (root, download) == (str(tmp_path), False)
            assert how in ({"train": False}, {"split": "test"})
            self.data = pixels if dataset == "stl10" else pixels.transpose(0, 2, 3, 1)
            self.targets = self.labels = [1, 0]
            self.classes = ["cat", "dog"]

    monkeypatch.setattr(f"torchvision.datasets.{dataset.upper()}", Stub)
    (tmp_path / {"cifar10": "cifar-10-batches-py", "stl10": "stl10_binary"}[dataset]).mkdir()
    data = open_labelled(dataset, tmp_path, "test")
    assert [one.label for one in data.samples] == [1, 0]
    np.testing.assert_array_equal(data.samples[1].read(), pixels[1].transpose(1, 2, 0))
    with pytest.raises(InputError, match="split='all' is unknown"):
        open_labelled(dataset, tmp_path, "all")


@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / "VOCdevkit/VOC2012"
    draw(folder / "JPEGImages/1.jpg")
    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets/Main/train.txt").write_text("1\n")
    write_voc(folder, "dog", "person")
    return folder


def write_voc(folder, *classes):
    objects = "".join(f"<object><name>{name}</name><part><name>head</name></part></object>" for name in classes)
    (folder / "Annotations/1.xml").write_text(f"<annotation>{objects}</annotation>")


def test_class_of_a_voc_image_is_that_of_its_first_object(voc, tmp_path):
    data = open_labelled("voc", tmp_path, "train")
    assert len(data.class_names) == 20
    assert data.class_names[data.samples[0].label] == "dog"


@pytest.mark.parametrize("classes", [(), ("unicorn",)])
def test_voc_images_without_a_known_class_are_refused(voc, tmp_path, classes):
    write_voc(voc, *classes)
    with pytest.raises(FileFormatError, match=f"names {classes[0] if classes else 'no object'}"):
        open_labelled("voc", tmp_path, "train")


@pytest.mark.dataset
def test_cifar10_sample(data_root):
    train, test = (open_labelled("cifar10", data_root, split) for split in ("train", "test"))
    assert (len(train), len(test), len(train.class_names)) == (2000, 500, 10)
    assert train.samples[0].read().shape == (32, 32, 3)


@pytest.mark.dataset
def test_bsds500_has_no_classes(data_root):
    data = open_labelled("bsds500", data_root, "val")
    assert (len(data), data.class_names, data.samples[0].label) == (100, (), UNLABELLED)
