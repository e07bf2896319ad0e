import pytest
from pydantic import ValidationError

from supercuts.networks import ssn
from supercuts.networks.ssn_config import OriginalConfig, SSNConfig


def test_a_config_survives_its_json():
    config = SSNConfig(channels=5, head_channels=(4, 4), original=OriginalConfig(color="rgb"))
    assert SSNConfig.model_validate_json(config.model_dump_json()) == config


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError, match="extra_forbidden"):
        SSNConfig(chanels=3)


def test_networks_use_the_same_classes():
    assert ssn.SSNConfig is SSNConfig
    assert ssn.OriginalConfig is OriginalConfig
