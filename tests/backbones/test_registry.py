import pytest

from supercuts.backbones.base import Backbone
from supercuts.backbones.registry import BACKBONES, make_backbone
from supercuts.core.errors import InputError


@pytest.mark.parametrize("name", BACKBONES)
def test_every_name_gives_a_backbone(name):
    assert isinstance(make_backbone(name), Backbone)


def test_arguments_reach_the_backbone():
    assert make_backbone("compact", stem_channels=8).stem_channels == 8


def test_each_call_gives_a_network_of_its_own():
    assert make_backbone("compact") is not make_backbone("compact")


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"backbone='huge' is unknown\. Choose one of: .*compact"):
        make_backbone("huge")
