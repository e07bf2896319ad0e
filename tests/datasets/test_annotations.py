import pickle
from functools import partial

import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.annotations import AnnotatedSample, AnnotatedSequence, ObjectTruth, PartTruth, read_mask
from supercuts.datasets.base import AnySample

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


def test_a_truth_that_says_nothing_is_refused():
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
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", [[0, 1, 127, 128, 255]])), [[0, 0, 0, 1, 1]])


def test_a_mask_of_zeros_and_ones_is_a_mask(tmp_path):
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", [[0, 1, 1]])), [[0, 1, 1]])
    assert not read_mask(save(tmp_path / "b.png", [[0, 0]])).any()


def test_a_palette_is_looked_up(tmp_path):
    image = Image.new("P", (3, 1))
    image.putdata([0, 1, 2])
    image.putpalette([0, 0, 0, 255, 255, 255, 90, 90, 90])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), [[0, 1, 0]])


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
