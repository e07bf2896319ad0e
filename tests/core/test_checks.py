import math

import numpy as np
import pytest

from supercuts.core.checks import check_choice, check_exactly_one, check_in_range, check_installed, check_whole
from supercuts.core.errors import InputError, MissingDependencyError


@pytest.mark.parametrize("value", [1, 2.5, 3])
def test_range_includes_its_ends(value):
    check_in_range("n_regions", value, 1, 3, remedy="Ask for fewer regions.")


@pytest.mark.parametrize("value", [0, 3.0001, math.nan, math.inf])
def test_value_outside_the_range_is_refused(value):
    with pytest.raises(InputError) as caught:
        check_in_range("n_regions", value, 1, 3, remedy="Ask for fewer regions.")
    assert str(caught.value) == f"n_regions={value} is outside 1..3. Ask for fewer regions."


@pytest.mark.parametrize("value", ["2", None, [2], np.eye(9), {}])
def test_what_is_no_number_is_refused_in_one_line(value):
    with pytest.raises(InputError, match=r"^n_regions=[^\n]{2,80} is not a number\. Ask for fewer regions\.$"):
        check_in_range("n_regions", value, 1, 3, remedy="Ask for fewer regions.")


def test_choice_accepts_a_member_and_lists_the_members_otherwise():
    check_choice("level", "part", ["scene", "part"])
    with pytest.raises(InputError, match=r"level='parts' is unknown\. Choose one of: scene, part\."):
        check_choice("level", "parts", iter(["scene", "part"]))


def test_exactly_one_returns_the_name_and_counts_zero_as_given():
    assert check_exactly_one("cut", {"regions": None, "altitude": 0.0}) == "altitude"


@pytest.mark.parametrize(
    ("given", "got"),
    [
        ({"regions": None, "level": None}, "got nothing"),
        ({"regions": 3, "level": "part"}, "got regions=3, level='part'"),
    ],
)
def test_none_or_several_are_refused(given, got):
    with pytest.raises(InputError, match=f"cut takes exactly one of regions, level; {got}"):
        check_exactly_one("cut", given)


@pytest.mark.parametrize("value", [2.7, 2.0, float("inf"), "12", None])
def test_values_that_are_not_whole_numbers_are_refused(value):
    with pytest.raises(InputError, match=r"n=.* is not a whole number\. Count them"):
        check_whole("n", value, remedy="Count them.")


@pytest.mark.parametrize("value", [0, -3, np.int64(7), np.uint8(1)])
def test_whole_numbers_pass(value):
    check_whole("n", value, remedy="Count them.")


def test_check_installed():
    check_installed(["json"], extra="train")
    with pytest.raises(MissingDependencyError, match=r'^no_such_package not .*: pip install "supercuts\[train\]"$'):
        check_installed(["json", "no_such_package"], extra="train")
