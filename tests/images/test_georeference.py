import jaxtyping
import numpy as np
import pytest

from supercuts.core.errors import ImageWarning, InputError
from supercuts.images.georeference import Georeference, fit_points


@pytest.fixture
def as_installed():
    """Switch the annotations off, as outside the tests, to reach our own error messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_the_map_places_corners():
    north_up = Georeference((2, 0, 100, 0, -2, 50))
    np.testing.assert_array_equal(north_up.place(np.array([[0, 0], [3, 1]])), [[100, 50], [106, 48]])
    assert (north_up.is_mirrored, Georeference().is_mirrored) == (False, True)


@pytest.mark.parametrize("transform", [(2, 0, 100, 0, -2, 50), (0.3, 0.02, 5e5, 0.01, -0.3, 5.4e6)])
def test_control_points_give_their_transform(transform):
    pixels = np.array([[0.0, 0.0], [9, 0], [0, 7], [9, 7]])
    actual = fit_points(pixels, Georeference(transform).place(pixels.astype(int)), "EPSG:32633", "a.tif")
    np.testing.assert_allclose(actual.transform, transform, rtol=1e-9, atol=1e-6)
    assert actual.crs == "EPSG:32633"


def test_control_points_on_a_line_give_no_transform():
    line = np.array([[0.0, 0.0], [1, 1], [2, 2]])
    with pytest.warns(ImageWarning, match=r"a\.tif: 3 ground control points determine no transform"):
        assert fit_points(line, line, None, "a.tif") is None


@pytest.mark.parametrize("transform", [(1, 0, 0, 0, 1), (1, 2, 0, 2, 4, 0), (1, 0, float("nan"), 0, 1, 0)])
def test_a_degenerate_map_is_refused(as_installed, transform):
    with pytest.raises(InputError, match=r"places no pixels: give six finite numbers a b c d e f"):
        Georeference(transform)


def test_an_empty_system_is_refused():
    with pytest.raises(InputError, match=r'crs=\'\' is not text: give "EPSG:" and a number, or WKT, or None'):
        Georeference(crs="")
