import numpy as np
import pytest

import supercuts
from supercuts.core.errors import FileFormatError
from supercuts.networks.ssn import SSNConfig
from supercuts.training import ssn
from supercuts.training.config import DataConfig
from supercuts.training.data import make_dataset, training_samples, validation_samples


def names(samples) -> list[str]:
    return [sample.name for sample in samples]


def test_a_run_on_train_is_judged_on_val(training_root):
    config = DataConfig(root=training_root, split="train")
    assert names(training_samples(config)) == ["1", "2"]
    assert names(validation_samples(config)) == ["3", "4"]


@pytest.mark.parametrize("split", ["val", "train+val"])
def test_images_that_are_trained_on_judge_nothing(training_root, split):
    assert names(validation_samples(DataConfig(root=training_root, split=split))) == []


def test_images_without_annotations_are_named(training_root, tmp_path):
    images, truths = (tmp_path / "BSDS500" / "data" / kind / "train" for kind in ("images", "groundTruth"))
    images.mkdir(parents=True)
    truths.mkdir(parents=True)
    (images / "7.jpg").touch()
    with pytest.raises(FileFormatError, match=r"1 of 1 images have no annotation file in .*: 7\."):
        training_samples(DataConfig(root=tmp_path, split="train"))


@pytest.fixture(scope="module")
def five_bands(tmp_path_factory):
    """Eight images of five bands whose halves differ in the last band alone, in folders without splits."""
    folder = tmp_path_factory.mktemp("bands")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        labels = np.zeros((48, 64), np.int32)
        labels[:, 20 + 3 * i :] = 1
        image = rng.random((48, 64, 5)) * 0.3 + 0.3
        image[..., 4] += 0.3 * labels
        np.save(folder / "images" / f"{i}.npy", image.astype(np.float32))
        np.save(folder / "labels" / f"{i}.npy", labels)
    return folder


def test_a_folder_of_ones_own_takes_the_place_of_bsds500(five_bands):
    config = DataConfig(folder=five_bands, split="train", val_fraction=0.3)
    train, val = names(training_samples(config)), names(validation_samples(config))
    assert sorted(train + val) == sorted(map(str, range(8)))
    assert len(train) > len(val) > 0
    assert names(make_dataset(config, "val")) == val
    sizes = [
        len(make_dataset(config.model_copy(update={"val_fraction": share}), "val")) for share in (0.001, 0.3, 0.999)
    ]
    assert sizes == [1, len(val), 7]
    assert names(training_samples(config.model_copy(update={"split": "train+val"}))) == sorted(train + val)


def test_problems_of_a_folder_are_named_before_anything_is_read(tmp_path):
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images" / "a.npy", np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(FileFormatError, match=r"(?s)1 problems.*a\.npy has no label"):
        training_samples(DataConfig(folder=tmp_path))


def test_a_network_of_five_channels_is_trained_and_segments(five_bands, tmp_path, make_train_config):
    config = make_train_config(
        None,
        tmp_path / "run",
        data=DataConfig(folder=five_bands, crop_px=48, workers=0),
        model=SSNConfig(channels=5, head_channels=(4, 4, 4, 4), embedding_channels=3),
        max_steps=3,
    )
    model = supercuts.load(ssn.train(config))
    assert model.network.config.channels == 5
    path = five_bands / "images" / "0.npy"
    h = model.segment(path, superpixels=12)
    assert np.unique(h.labels).size == h.n_leaves == 12
    assert h.image.shape == (48, 64, 3)
    np.testing.assert_array_equal(model.segment(np.load(path), superpixels=12).labels, h.labels)
