import pickle
import re

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from supercuts.core.errors import FileFormatError, ImageWarning, InputError
from supercuts.datasets.annotations import list_images
from supercuts.datasets.label_folder import UNLABELLED, LabelFolder, class_folders, open_labelled, read_label_maps
from supercuts.images.formats import array_files
from supercuts.images.formats.stored import upright
from supercuts.images.io import read_pixels

LABELS = np.array([[7, 7, 300], [0, 7, 300]], np.uint16)
RELABELLED = [[1, 1, 2], [0, 1, 2]]


def write(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writers = {".npy": np.save, ".tif": tifffile.imwrite}
    writers.get(path.suffix, lambda p, a: Image.fromarray(a).save(p))(path, array)


def write_pair(folder, name, part=".", labels=LABELS) -> None:
    write(folder / "images" / part / f"{name}.png", np.zeros((*labels.shape, 3), np.uint8))
    write(folder / "labels" / part / f"{name}.png", labels)


@pytest.fixture
def folder(tmp_path):
    """Two images to train on, one with two annotators, and one to validate."""
    write_pair(tmp_path, "b", "train")
    write_pair(tmp_path, "c", "val")
    write(tmp_path / "images/train/a.jpg", np.zeros((2, 3, 3), np.uint8))
    write(tmp_path / "labels/train/a/ann.png", LABELS)
    write(tmp_path / "labels/train/a/bob.npy", LABELS.astype(np.int64) - 9)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    for i in range(40):
        write_pair(tmp_path, f"n{i}")
    return tmp_path


@pytest.mark.parametrize(
    ("split", "names"),
    [("train", ("train/a", "train/b")), ("val", ("val/c",)), ("train+val", ("train/a", "train/b", "val/c"))],
)
def test_folders_of_a_split_are_the_split(folder, split, names):
    data = LabelFolder(folder, split)
    data.check()
    assert data.names == names
    assert len(data) == len(names)
    assert [sample.name for sample in data] == list(names)
    assert data[:1][0] == data[0]


def test_each_annotator_gives_a_map_in_the_order_of_the_files(folder):
    several, one = LabelFolder(folder, "train")
    assert [truth.tolist() for truth in several.truths] == [RELABELLED, RELABELLED]
    assert [truth.tolist() for truth in one.truths] == [RELABELLED]
    assert one.truths[0].dtype == np.int32


def test_samples_travel_to_worker_processes(folder):
    sample = pickle.loads(pickle.dumps(LabelFolder(folder, "train")[0]))
    assert len(sample.truths) == 2


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a.png", "uint8"), ("a.png", "uint16"), ("a.tif", "uint16"), ("a.tif", "int32"), ("a.npy", "int64")],
)
def test_label_maps_of_every_kind_are_renumbered(tmp_path, name, dtype):
    write(tmp_path / name, np.minimum(LABELS, 200).astype(dtype))
    assert [labels.tolist() for labels in read_label_maps(tmp_path / name)] == [RELABELLED]


@pytest.mark.parametrize("name", ["a.npy", "a.tif"])
def test_whole_numbers_may_be_floats_but_no_others(tmp_path, name):
    write(tmp_path / name, LABELS.astype(np.float32))
    assert read_label_maps(tmp_path / name)[0].tolist() == RELABELLED
    for wrong in (0.5, np.nan, np.inf, 2.0**60):
        broken = LABELS.astype(np.float32)
        broken[1, 2] = wrong
        write(tmp_path / name, broken)
        message = rf"{name} holds {re.escape(str(wrong))} at row 1, column 2\..*whole numbers"
        with pytest.raises(FileFormatError, match=message):
            read_label_maps(tmp_path / name)


def test_a_palette_gives_its_indices(tmp_path):
    image = Image.fromarray(LABELS.astype(np.uint8) % 50)
    image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(tmp_path / "a.png")
    expected = np.unique(LABELS.astype(np.uint8) % 50, return_inverse=True)[1]
    np.testing.assert_array_equal(read_label_maps(tmp_path / "a.png")[0], expected.reshape(2, 3))


@given(arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(-(2**62), 2**62)))
def test_any_ids_keep_the_partition(tmp_path_factory, ids):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    np.save(path, ids)
    (labels,) = read_label_maps(path)
    pairs = set(zip(ids.ravel().tolist(), labels.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(ids)) == labels.max() + 1
    assert labels.min() == 0


@pytest.mark.parametrize("values", [np.zeros((2, 3, 4), np.uint8), np.zeros((0, 3), np.uint8), np.array([["a"]])])
def test_arrays_that_are_not_label_maps_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(FileFormatError, match=r"a\.npy holds .*Expected one label map: whole numbers \(H, W\)"):
        read_label_maps(tmp_path / "a.npy")


def test_a_fraction_judges_and_the_rest_trains(flat):
    train, val, both = (LabelFolder(flat, split, 0.25).names for split in ("train", "val", "train+val"))
    assert set(train).isdisjoint(val)
    assert sorted([*train, *val]) == list(both) == sorted(f"n{i}" for i in range(40))
    assert 4 <= len(val) <= 18
    assert LabelFolder(flat, "val", 0.5).names != val


def test_an_image_stays_in_its_part_when_others_are_added(flat):
    before = set(LabelFolder(flat, "val", 0.25).names)
    for i in range(40, 60):
        write_pair(flat, f"n{i}")
    after = LabelFolder(flat, "val", 0.25).names
    assert {name for name in after if int(name[1:]) < 40} == before


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_no_part_is_empty(flat, fraction):
    sizes = [len(LabelFolder(flat, split, fraction)) for split in ("train", "val")]
    assert sizes == ([39, 1] if fraction < 0.5 else [1, 39])


def test_a_fraction_of_zero_trains_on_all(flat):
    assert len(LabelFolder(flat, "train", 0)) == 40
    with pytest.raises(FileFormatError, match="No image of split val"):
        LabelFolder(flat, "val", 0)


def test_every_problem_is_named_in_one_error(folder):
    image, labels = folder / "images/train", folder / "labels/train"
    write(image / "unlabelled.png", np.zeros((2, 3, 3), np.uint8))
    write(labels / "orphan.png", LABELS)
    write(labels / "nobody/ann.png", LABELS)
    write_pair(folder, "small", "train")
    write(labels / "small.png", LABELS[:, :2])
    write_pair(folder, "coloured", "train")
    write(labels / "coloured.png", np.zeros((2, 3, 3), np.uint8))
    write_pair(folder, "cut", "train")
    (image / "cut.png").write_bytes((image / "cut.png").read_bytes()[:40])
    write_pair(folder, "twice", "train")
    write(labels / "twice.npy", LABELS)
    write(image / "twice.bmp", np.zeros((2, 3, 3), np.uint8))
    write(image / "bands.npy", np.zeros((2, 3, 5), np.uint8))
    write(labels / "bands.npy", LABELS)
    write(image / "none.png", np.zeros((2, 3, 3), np.uint8))
    (labels / "none").mkdir()
    write(folder / "images/beside.png", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(FileFormatError) as caught:
        LabelFolder(folder, "train").check()
    message = str(caught.value)
    for expected in (
        f"{image / 'unlabelled.png'} has no label {labels / 'unlabelled.png'}",
        f"{labels / 'orphan.png'} has no image",
        f"{labels / 'nobody'} has no image",
        f"{labels / 'small.png'} is (2, 2), but small.png is (2, 3) (rows, columns)",
        "coloured.png is a PNG of mode RGB",
        f"{image / 'cut.png'}: is not a readable image",
        f"{labels / 'twice.npy'}, {labels / 'twice.png'} are 2 labels of the same name",
        f"{image / 'twice.bmp'}, {image / 'twice.png'} are 2 images of the same name",
        f"{labels / 'none'} holds no label map",
        "differ in their number of channels: a.jpg has 3, bands.npy has 5",
        f"{folder / 'images/beside.png'} lies next to train/ and val/. Move it",
        "11 problems.",
        "FOLDER/labels/NAME/*.png",
    ):
        assert expected in message
    with pytest.raises(FileFormatError, match="1 problems"):  # files next to the folders belong to no split
        LabelFolder(folder, "val").check()


def test_a_long_list_of_problems_is_cut(flat):
    for path in (flat / "labels").iterdir():
        path.unlink()
    for i in range(40, 60):
        write(flat / f"images/n{i}.png", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(FileFormatError, match=r"(?s)60 problems\..*\.\.\. and 10 more"):
        LabelFolder(flat, "train+val").check()


def test_a_missing_or_empty_folder_shows_the_layout(tmp_path):
    with pytest.raises(FileFormatError, match=r"(?s)No images/ in .*FOLDER/images/NAME\.png"):
        LabelFolder(tmp_path, "train")
    (tmp_path / "images").mkdir()
    with pytest.raises(FileFormatError, match=r"(?s)No image of split train in .*FOLDER/labels/NAME\.png"):
        LabelFolder(tmp_path, "train")


def test_a_split_without_its_folder_is_refused_with_the_remedy(folder):
    (folder / "images/val/c.png").unlink()
    with pytest.raises(FileFormatError, match="No image of split val"):
        LabelFolder(folder, "val")
    (folder / "images/val").rmdir()
    with pytest.raises(FileFormatError, match=r"holds train/ but no val/\. Make it, or ask for split train\+val"):
        LabelFolder(folder, "val")
    assert len(LabelFolder(folder, "train+val")) == 2


@pytest.mark.parametrize(
    ("split", "fraction", "message"), [("test", 0.1, "split='test' is unknown"), ("val", 2, "val_f")]
)
def test_impossible_arguments_are_refused(folder, split, fraction, message):
    with pytest.raises(InputError, match=message):
        LabelFolder(folder, split, fraction)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_images_and_labels_are_turned_upright_alike(tmp_path, suffix, orientation):
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[274] = orientation
    for part in ("images", "labels"):
        path = tmp_path / part / f"a{suffix}"
        path.parent.mkdir()
        if suffix == ".tif":
            tifffile.imwrite(path, values, extratags=[(274, "H", 1, orientation, True)], metadata=None)
        else:
            Image.fromarray(values).save(path, exif=exif)
    data = LabelFolder(tmp_path, "train+val")
    data.check()
    (sample,) = data
    turned = upright(values, orientation)
    np.testing.assert_array_equal(read_pixels(sample.image_path)[..., 0], turned)
    np.testing.assert_array_equal(sample.truths[0], turned)
    assert array_files.read_shape(sample.truth_path) == turned.shape


def test_other_files_are_left_alone(folder):
    for name in ("images/train/notes.txt", "images/train/.hidden.png", "labels/train/.DS_Store"):
        (folder / name).touch()
    LabelFolder(folder, "train+val").check()


def test_pictures_that_are_not_read_are_named(folder, tmp_path):
    (folder / "images/train/x.jp2").touch()
    with pytest.warns(ImageWarning, match=r"train/x\.jp2: JPEG 2000 is skipped: convert it to PNG"):
        LabelFolder(folder, "train+val").check()
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/x.JXL").touch()
    told = pytest.warns(ImageWarning, match=r"x\.JXL: JXL is skipped")
    with told, pytest.raises(FileFormatError, match="No"):
        list_images(tmp_path / "plain", "")


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
    assert [(sample.name, sample.label) for sample in data.samples] == [("cat/a", 0), ("cat/b", 0), ("dog/a", 1)]
    np.testing.assert_array_equal(data.samples[0].read(), np.full((4, 4, 3), 1))
    assert len(data) == 3


def test_any_folder_is_opened_with_or_without_classes(root):
    for split in ("train", "val"):  # without val: the existing images
        data = open_labelled("folder", root / "CIFAR10", split)
        assert (data.class_names, len(data)) == (("cat", "dog"), 3)
    plain = open_labelled("folder", root / "CIFAR10/train/cat", "train")
    assert [(sample.name, sample.label) for sample in plain.samples] == [("a", UNLABELLED), ("b", UNLABELLED)]


def test_missing_files_are_refused_with_the_expected_layout(root, tmp_path):
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
    assert [sample.label for sample in data.samples] == [1, 0]
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
