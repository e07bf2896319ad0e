import numpy as np
import pytest
import scipy.io
from PIL import Image

from supercuts.core.errors import FileFormatError
from supercuts.datasets.ccp import CCP
from supercuts.images.io import read_image

NAMES = ("null", "bag", "hair", "skin")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "CCP"
    for name in ("photos", "annotations/pixel-level"):
        (folder / name).mkdir(parents=True)
    cells = np.empty((1, 4), object)
    cells[0] = NAMES
    scipy.io.savemat(folder / "label_list.mat", {"label_list": cells})
    for name in ("0001", "x.y", "tags_only"):
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / f"photos/{name}.jpg")
    for name in ("0001", "x.y"):
        write(folder, name, [[0, 3], [1, 3]])
    return tmp_path


def write(folder, name, labels, key="groundtruth"):
    scipy.io.savemat(folder / f"annotations/pixel-level/{name}.mat", {key: np.array(labels, np.uint8)})


@pytest.mark.parametrize("below", ["", "CCP"])
def test_labels_present_are_the_parts(root, below):
    data = CCP(root / below)
    data.check()
    assert data.names == ("0001", "x.y")  # dots stay in a name; photographs without pixel labels are left out
    truth = data[0].truth
    assert truth.names == ("bag", "skin")
    np.testing.assert_array_equal(truth.labels, [[0, 2], [1, 2]])


@pytest.mark.parametrize(("labels", "key"), [([[0, 4]], "groundtruth"), ([[0, 1]], "other")])
def test_files_without_an_annotation_are_refused(root, labels, key):
    write(root / "CCP", "0001", labels, key)
    with pytest.raises(FileFormatError, match=r"0001\.mat .*unpack the dataset again"):
        _ = CCP(root)[0].truth


def test_missing_files_are_refused_with_the_expected_layout(root, tmp_path):
    with pytest.raises(FileFormatError, match=r"(?s)No CCP in .*annotations/pixel-level/NAME\.mat"):
        CCP(tmp_path / "CCP/photos")
    for path in (root / "CCP/annotations/pixel-level").iterdir():
        path.unlink()
    with pytest.raises(FileFormatError, match=r"(?s)No photograph of .* has labels"):
        CCP(root)


@pytest.mark.dataset
def test_ccp_sample(data_root):
    data = CCP(data_root)
    data.check()
    assert len(data) == 120
    for sample in data[:10]:
        truth = sample.truth
        assert truth.labels.shape == read_image(sample.image_path).shape[:2]
        assert set(np.unique(truth.labels)) == set(range(len(truth.names) + 1))
        assert {"hair", "skin"} & set(truth.names)
