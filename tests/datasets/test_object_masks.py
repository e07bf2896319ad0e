import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.object_masks import _LAYOUTS, ObjectMasks
from supercuts.images.io import read_image


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
