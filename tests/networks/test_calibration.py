import numpy as np
import pytest
from safetensors.numpy import save_file

from supercuts.core.errors import FileFormatError
from supercuts.networks.calibration import Calibration, parse_config, parse_levels, read_calibration
from supercuts.networks.ssn_config import SSNConfig


def test_arrays_are_told_apart_by_their_prefix(tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = {"affinity.a": np.ones(2, np.float32), "figure_ground.a": np.zeros(3, np.float32)}
    metadata = {"levels": '{"scene": 0.5}', "calibrated_on": "five images"}
    save_file(arrays | {"head.weight": np.ones(4, np.float32)}, path, metadata)
    calibration = read_calibration(path)
    assert calibration.levels == {"scene": 0.5}
    assert calibration.source == "five images"
    assert sorted(calibration.arrays) == sorted(arrays)
    np.testing.assert_array_equal(calibration.of("figure_ground")["a"], np.zeros(3))
    assert calibration.of("gnn") == {}


def test_a_checkpoint_of_the_original_has_none(tmp_path):
    assert read_calibration(tmp_path / "absent.pth") == Calibration()


def test_levels_that_are_none_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match="its levels are not names with altitudes"):
        parse_levels(tmp_path, "[1, 2]")


def test_configs_of_other_versions_are_refused(tmp_path):
    known = {"format_version": "1", "config": SSNConfig().model_dump_json()}
    assert parse_config(tmp_path, known) == SSNConfig()
    with pytest.raises(FileFormatError, match="format_version 2, expected 1"):
        parse_config(tmp_path, known | {"format_version": "2"})
    with pytest.raises(FileFormatError, match="config is not an SSN"):
        parse_config(tmp_path, known | {"config": '{"colour": 1}'})
