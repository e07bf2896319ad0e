import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from supercuts.core.errors import FileFormatError
from supercuts.selftaught.classifier import AutoencoderConfig, ClassifierConfig
from supercuts.selftaught.learned import (
    class_boundary,
    class_probabilities,
    load_learned,
    make_learned,
    pixel_maps,
    save_learned,
)
from supercuts.selftaught.wnet import WNetConfig

CONFIGS = [
    WNetConfig(classes=3, widths=(2, 4, 4)),
    ClassifierConfig(classes=5, image_classes=2),
    ClassifierConfig(layout="voc", resnet="imagenet", image_classes=20),  # loading it downloads nothing
    AutoencoderConfig(classes=4),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.method)
def test_a_file_gives_the_network_back(config, tmp_path):
    network = make_learned(config, is_pretrained=False).eval()
    path = tmp_path / "model.safetensors"
    save_learned(path, network)
    again = load_learned(path)
    assert again.config == config
    assert not again.training
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)  # not a size that the networks need
    actual = class_probabilities(image, again)
    assert actual.shape[1:] == (9, 14)
    np.testing.assert_allclose(actual.sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(actual, class_probabilities(image, network))


def test_boundary_is_the_change_of_classes_and_transposes():
    labels = np.random.default_rng(0).integers(0, 3, (6, 8))
    hard = np.moveaxis(np.eye(3, dtype=np.float32)[labels], 2, 0)
    boundary = class_boundary(hard)
    assert set(np.unique(boundary)) <= {0, 1}
    assert boundary[2, 3] == (labels[1, 3] != labels[3, 3] or labels[2, 2] != labels[2, 4])
    np.testing.assert_array_equal(class_boundary(hard.transpose(0, 2, 1)), boundary.T)
    flat = np.full((4, 5, 5), 0.25, np.float32)
    assert not class_boundary(flat).any()


def test_pixel_maps():
    image = np.zeros((4, 6, 3), np.uint8)
    maps = pixel_maps(image, np.full((2, 4, 6), 0.5, np.float32))
    assert maps.shape == (4, 6)
    assert maps.embeddings.shape == (2, 4, 6)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match="no such file"):
        load_learned(tmp_path / "none.safetensors")
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(FileFormatError, match="not a safetensors file"):
        load_learned(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(FileFormatError, match="learned_version missing"):
        load_learned(path)
    config = AutoencoderConfig(classes=4).model_dump_json()
    save_file({"a": torch.zeros(1)}, path, metadata={"learned_version": "1", "config": config})
    with pytest.raises(FileFormatError, match="do not fit"):
        load_learned(path)
