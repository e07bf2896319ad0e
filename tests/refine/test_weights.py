import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from supercuts.core.errors import FileFormatError
from supercuts.refine.config import RefineConfig
from supercuts.refine.fit import Example, fit, respond
from supercuts.refine.weights import load_network, save_network


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_a_network_read_answers_as_it_did(tmp_path, statistics):
    config = RefineConfig(n_features=6, n_classes=5, epochs=3, statistics=statistics)
    image = np.random.default_rng(0).random((9, 8, 4), dtype=np.float32)
    network = fit([Example(image)], config)
    save_network(tmp_path / "a.safetensors", network, config, ["x.png"])
    found, settings, images = load_network(tmp_path / "a.safetensors")
    assert (settings, images) == (config, ["x.png"])
    torch.testing.assert_close(respond(found, image), respond(network, image))


def test_other_files_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FileFormatError, match="Fit one again"):
        load_network(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"12")
    with pytest.raises(FileFormatError, match="copied completely"):
        load_network(tmp_path / "cut.safetensors")
