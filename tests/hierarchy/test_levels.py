import pytest

from supercuts.core.errors import InputError
from supercuts.hierarchy.levels import LEVELS, altitude_of_level, check_levels


def test_levels_run_from_coarse_to_fine():
    assert LEVELS == ("scene", "object", "part")


def test_a_level_is_never_finer_than_the_next():
    levels = {"scene": 0.2, "object": 0.6, "part": 0.4}
    assert [altitude_of_level(levels, name) for name in LEVELS] == [0.6, 0.6, 0.4]


@pytest.mark.parametrize(
    ("levels", "message"), [({"part": 1.1}, "outside 0..1"), ({"leaf": 0.1}, "scene, object, part")]
)
def test_check_levels_refuses(levels, message):
    with pytest.raises(InputError, match=message):
        check_levels(levels)
