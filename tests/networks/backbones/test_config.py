import pytest
from pydantic import ValidationError

from supercuts.networks.backbones.base import PretrainedConfig as of_base
from supercuts.networks.backbones.config import PretrainedConfig


def test_unknown_settings_are_refused():
    assert PretrainedConfig().facet == "key"
    with pytest.raises(ValidationError, match="extra_forbidden"):
        PretrainedConfig(patches=3)
    with pytest.raises(ValidationError, match="facet"):
        PretrainedConfig(facet="keys")


def test_backbones_use_the_same_class():
    assert of_base is PretrainedConfig
