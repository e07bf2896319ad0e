import pickle
from functools import partial

import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.annotations import (
    _LAYOUTS,
    AnnotatedSample,
    AnnotatedSequence,
    ObjectMasks,
    ObjectTruth,
    PartTruth,
    find_layout,
    find_partner,
    list_images,
    read_lines,
    read_mask_pixels,
)
from supercuts.datasets.sample import AnySample
from supercuts.images.io import read_image

BOXES = np.array([[0, 0, 2, 2]])


def constant(_path, value):
    return value


def save(path, values):
    Image.fromarray(np.array(values, np.uint8)).save(path)
    return path


def test_the_mask_of_several_objects_is_their_union():
    truth = ObjectTruth(np.array([[[True, False, False]], [[True, True, False]]]))
    np.testing.assert_array_equal(truth.mask, [[True, True, False]])
    assert ObjectTruth(boxes_yxyx=BOXES).mask is None
    assert not ObjectTruth(np.zeros((0, 2, 2), bool)).mask.any()


def test_an_empty_truth_is_refused():
    with pytest.raises(InputError, match="give one of them"):
        ObjectTruth()


def test_labels_beyond_the_names_are_refused():
    with pytest.raises(InputError, match=r"labels hold 0\.\.2, but there are 1 parts"):
        PartTruth(("wheel",), np.array([[0, 2]], np.int32))


@pytest.mark.parametrize("visible", [None, np.ones(2, bool)])
def test_keypoints_that_do_not_fit_are_refused(visible):
    n = 1 if visible is None else 2
    with pytest.raises(InputError, match="give one each, and visible"):
        PartTruth(("beak",), keypoints_yx=np.zeros((n, 2)), visible=visible)


def test_half_of_full_scale_is_not_yet_object(tmp_path):
    np.testing.assert_array_equal(
        read_mask_pixels(save(tmp_path / "a.png", [[0, 1, 127, 128, 255]])), [[0, 0, 0, 1, 1]]
    )


def test_a_mask_of_zeros_and_ones_is_a_mask(tmp_path):
    np.testing.assert_array_equal(read_mask_pixels(save(tmp_path / "a.png", [[0, 1, 1]])), [[0, 1, 1]])
    assert not read_mask_pixels(save(tmp_path / "b.png", [[0, 0]])).any()


def test_a_palette_is_looked_up(tmp_path):
    image = Image.new("P", (3, 1))
    image.putdata([0, 1, 2])
    image.putpalette([0, 0, 0, 255, 255, 255, 90, 90, 90])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask_pixels(tmp_path / "a.png"), [[0, 1, 0]])


def test_a_sample_reads_when_asked_and_can_be_sent_to_a_process(tmp_path):
    sample = AnnotatedSample("a.b", tmp_path / "a.b.jpg", tmp_path / "a.b.xml", partial(constant, value=7))
    assert isinstance(sample, AnySample)
    assert pickle.loads(pickle.dumps(sample)).truth == 7


def test_missing_files_are_named_once(tmp_path):
    data = AnnotatedSequence()
    image = save(tmp_path / "a.png", [[0]])
    samples = tuple(AnnotatedSample(n, image, tmp_path / "all.json", partial(constant, value=0)) for n in "ab")
    object.__setattr__(data, "samples", samples)
    with pytest.raises(FileFormatError, match=r"1 files of 2 images are missing: .*all\.json\. Unpack"):
        data.check()
    (tmp_path / "all.json").touch()
    data.check()
    object.__setattr__(data, "samples", ())
    with pytest.raises(FileFormatError, match="no image with an object or part"):
        data.check()
    object.__setattr__(data, "samples", samples)
    assert data.names == ("a", "b")


TREES = "Expected\n  ROOT/a"


def test_the_first_layout_that_is_complete_is_taken(tmp_path):
    for name in ("x/img", "y/img", "y/gt"):
        (tmp_path / name).mkdir(parents=True)
    actual = find_layout(tmp_path, [("x/img", "x/gt"), ("y/img", "y/gt")], "Set", TREES)
    assert actual == (tmp_path / "y/img", tmp_path / "y/gt")
    with pytest.raises(FileFormatError, match=r"(?s)No Set in .*Expected\n  ROOT/a"):
        find_layout(tmp_path, [("z",)], "Set", TREES)


def test_pictures_are_listed_by_name_and_the_rest_left_alone(tmp_path):
    with pytest.raises(FileFormatError, match=r"(?s)No picture in .*ROOT/a"):
        list_images(tmp_path, TREES)
    for name in ("b.JPG", "a.b.jpg", "._a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path, TREES)] == ["a.b.jpg", "b.JPG"]


def test_a_partner_has_the_whole_name_dots_included(tmp_path):
    (tmp_path / "a.b.bmp").touch()
    (tmp_path / "a.png").touch()
    assert find_partner(tmp_path / "a.b.jpg", tmp_path, (".png", ".bmp")) == tmp_path / "a.b.bmp"
    assert find_partner(tmp_path / "c.jpg", tmp_path, (".png", ".bmp")) == tmp_path / "c.png"


def test_blank_lines_are_skipped_and_bytes_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(" a \n\nb\r\n")
    assert read_lines(path) == ["a", "b"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="cannot be read as text"):
        read_lines(path)


def write(folder, name, values):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(folder / name)


@pytest.mark.parametrize(("dataset", "layout"), [(d, layout) for d, layouts in _LAYOUTS.items() for layout in layouts])
def test_every_layout_is_found(tmp_path, dataset, layout):
    images, masks = (tmp_path / part for part in layout)
    write(images, "b.jpg", np.zeros((1, 3, 3)))
    write(images, "a.x.jpg", np.zeros((1, 3)))  # a grey image is an image, a dot is part of the name
    write(masks, "b.png", [[0, 127, 128]])
    write(masks, "a.x.png", [[0, 0, 0]])
    data = ObjectMasks(tmp_path, dataset)
    data.check()
    assert data.names == ("a.x", "b")
    np.testing.assert_array_equal(data[1].truth.masks, [[[False, False, True]]])
    assert data[1].truth.boxes_yxyx is None
    assert data[0].truth.masks.shape == (0, 1, 3)
    assert read_image(data[0].image_path).shape == (1, 3, 3)


def test_an_error_shows_the_trees(tmp_path):
    with pytest.raises(FileFormatError, match=r"(?s)No DUTS-TE in .*ROOT/DUTS_Test/img/NAME\.jpg"):
        ObjectMasks(tmp_path, "duts")
    with pytest.raises(InputError, match="Choose one of: ecssd"):
        ObjectMasks(tmp_path, "cub")


def test_a_missing_mask_is_named(tmp_path):
    write(tmp_path / "img", "a.jpg", np.zeros((1, 3, 3)))
    (tmp_path / "gt").mkdir()
    with pytest.raises(FileFormatError, match=r"a\.png"):
        ObjectMasks(tmp_path, "ecssd").check()


@pytest.mark.dataset
def test_ecssd_sample(data_root):
    data = ObjectMasks(data_root, "ecssd")
    data.check()
    assert len(data) == 309
    for sample in data[:20]:
        mask = sample.truth.mask
        assert mask.shape == read_image(sample.image_path).shape[:2]
        assert 0.01 < mask.mean() < 0.95
