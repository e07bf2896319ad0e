import numpy as np
import pytest

from supercuts.core.errors import ImageError
from supercuts.images.formats.stored import Raster, check_is_file, check_size, check_type, describe_error, upright


def test_sizes_beyond_the_limits_are_refused():
    check_size("a", 10, 10, 100)
    for size, options, message in (
        ((10, 11), {"max_pixels": 100}, "10 = 110 pixels, above|11x10 = 110 pixels, above the limit of 100"),
        ((0, 5), {}, r"is empty \(5x0 pixels\)"),
        ((10_000, 10_000), {"bytes_a_pixel": 400}, "pixels of 400 bytes.*choose fewer of its bands"),
    ):
        with pytest.raises(ImageError, match=message):
            check_size("a", *size, **options)


def test_orientations_are_those_of_exif():
    values = np.arange(6).reshape(2, 3)
    assert upright(values, 1) is values
    assert upright(values, 6).tolist() == [[3, 0], [4, 1], [5, 2]]
    assert upright(values, 3).tolist() == [[5, 4, 3], [2, 1, 0]]


def test_types_without_a_range_are_refused():
    for dtype in ("uint8", "uint16", "bool", "float16", "float64", ">u2"):
        check_type("a", np.dtype(dtype))
    for dtype in ("int16", "uint32", "complex64", "O", "U1"):
        with pytest.raises(ImageError, match="have no fixed range; accepted are uint8"):
            check_type("a", np.dtype(dtype))


def test_a_raster_has_a_shape():
    assert Raster(np.zeros((2, 3, 4))).shape == (2, 3)


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        check_is_file(str(tmp_path / "none"))
    assert describe_error(ValueError("x" * 999))[:14] == "ValueError: xx"
