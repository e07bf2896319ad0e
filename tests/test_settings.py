import pytest
from pydantic import ValidationError

from supercuts import pipeline
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig
from supercuts.settings import ORIGINAL_CONFIG, PIXEL_CONFIG, PipelineConfig, default_config


def test_settings_follow_the_networks_calibration():
    assert default_config(None) == PIXEL_CONFIG
    assert default_config(SSN(SSNConfig(head_channels=(4, 4, 4, 4)))) == PipelineConfig()
    assert ORIGINAL_CONFIG.merging.linkage.boundary == PIXEL_CONFIG.merging.linkage.boundary == 0


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError, match="extra_forbidden"):
        PipelineConfig(superpixel=3)


def test_the_pipeline_shows_the_same():
    assert pipeline.PipelineConfig is PipelineConfig
