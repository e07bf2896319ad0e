import numpy as np
import pytest
import tifffile
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.export.labels import label_type


def test_png_holds_the_cut_in_16_bits(ragged, tmp_path):
    ragged.export(tmp_path / "a.png", "labels")
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "I;16"
    np.testing.assert_array_equal(np.array(image), ragged.labels)
    ragged.export(tmp_path / "b.png", "labels", regions=5)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "b.png")), ragged.cut(regions=5))


def test_tiff_has_a_page_for_every_level(ragged, tmp_path):
    ragged.export(tmp_path / "a.tif", "labels")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        pages = {page.description: page.asarray() for page in file.pages}
    assert list(pages) == ["scene", "object", "part", "superpixels"]
    assert pages["part"].dtype == np.uint16
    np.testing.assert_array_equal(pages["object"], ragged.cut(level="object"))
    np.testing.assert_array_equal(pages["superpixels"], ragged.labels)


def test_many_regions_take_32_bits(small, monkeypatch):
    assert label_type(small) == np.uint16
    monkeypatch.setattr(type(small), "n_leaves", 65535)
    assert label_type(small) == np.uint32


def test_another_suffix_is_refused(small, tmp_path):
    with pytest.raises(InputError, match=r"suffix of a label map='.jpg' is unknown. Choose one of: .png, .tif, .tiff"):
        small.export(tmp_path / "a.jpg", "labels")
