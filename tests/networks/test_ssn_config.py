import pytest
from pydantic import ValidationError

from supercuts.networks import ssn_config
from supercuts.networks.ssn_config import OriginalConfig, PretrainedConfig, SSNConfig


def test_a_config_survives_its_json():
    config = SSNConfig(channels=5, head_channels=(4, 4), original=OriginalConfig(color="rgb"))
    assert SSNConfig.model_validate_json(config.model_dump_json()) == config


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError, match="extra_forbidden"):
        SSNConfig(chanels=3)


def test_unknown_settings_of_backbones_are_refused():
    assert PretrainedConfig().facet == "key"
    with pytest.raises(ValidationError, match="extra_forbidden"):
        PretrainedConfig(patches=3)
    with pytest.raises(ValidationError, match="facet"):
        PretrainedConfig(facet="keys")


def test_every_version_of_dino_is_named():
    assert ssn_config.DINO["dino_vits16"][0] == "vit_small_patch16_224.dino"
    assert {name.split("_")[0] for name in ssn_config.DINO} == {"dino", "dinov2", "dinov3"}
    assert all(url == "" or url.startswith("https://dl.fbaipublicfiles.com/") for _, url in ssn_config.DINO.values())
