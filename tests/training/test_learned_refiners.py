from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from supercuts.core.config import load_config
from supercuts.core.errors import InputError
from supercuts.datasets.label_folder import LabelledImage, LabelledImages
from supercuts.pipeline import segment_by_maps
from supercuts.selftaught.classifier import AutoencoderConfig, ClassifierConfig, TargetConfig
from supercuts.selftaught.learned import class_probabilities, load_learned, pixel_maps
from supercuts.selftaught.wnet import WNetConfig
from supercuts.training import learned_refiners as training
from supercuts.training.learned_refiners import (
    ImageStream,
    LearnedDataConfig,
    LearnedTrainConfig,
    LearnedTraining,
    open_images,
    read_square,
    vary,
)

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    "classifier": ClassifierConfig(classes=16, image_classes=2),
    "classifier-thesis": ClassifierConfig(classes=16, image_classes=2, target=TargetConfig(kind="thesis")),
    "autoencoder": AutoencoderConfig(classes=16),
    "autoencoder-thesis": AutoencoderConfig(classes=16, target=TargetConfig(kind="thesis")),
    "wnet": WNetConfig(classes=4, widths=(8, 16), dropout=0.1, radius_px=3.0, sigma_intensity=40.0),
}


class PowerCut(Exception):
    """Ends a run from outside."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """64 images of two classes: a bright disc or a bright square on a dark ground, noisy."""
    root = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for i in range(64):
        cy, cx = rng.integers(12, 20, 2)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < 64 if i % 2 else np.maximum(abs(y - cy), abs(x - cx)) < 8
        pixels = np.where(inside[..., None], [210, 160, 60], [40, 60, 110]) + rng.integers(-20, 20, (32, 32, 3))
        path = root / "train" / ("disc" if i % 2 else "square") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return root


def make_config(folder, out, name, **changes) -> LearnedTrainConfig:
    settings = {
        "out": out,
        "model": MODELS[name],
        "data": LearnedDataConfig(dataset="folder", root=folder, flip=False),
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "pictures": 2,
        "checkpoint_steps": 2,
    }
    return LearnedTrainConfig(**(settings | changes))


def run(config, stop_after=None) -> list[dict[str, float]]:
    """Train, and return the loss terms of each step; stop_after: number of steps after which the power fails."""
    terms = []
    step = LearnedTraining._step

    def recorded(self, batch, optimizers):
        if len(terms) == stop_after:
            raise PowerCut
        actual = step(self, batch, optimizers)
        terms.append({name: value.item() for name, value in actual.items()})
        return actual

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LearnedTraining, "_step", recorded)
        training.train_refiner(config)
    return terms


def assert_falling(terms, *names):
    for name in names:
        values = [term[name] for term in terms]
        n = max(len(values) // 4, 1)
        assert np.mean(values[-n:]) < np.mean(values[:n]), (name, values)


def read_pictures(out) -> list[np.ndarray]:
    labels = sorted((out / "segmentations").glob("*_labels.png"))
    for path in labels:
        with Image.open(path) as picture:
            assert picture.mode == "I;16"
        with Image.open(path.with_name(path.name.replace("_labels", "_colors"))) as colors:
            assert colors.mode == "RGB"
    return [np.array(Image.open(path)) for path in labels]


@pytest.mark.parametrize("name", MODELS)
def test_losses_fall_and_segmentations_are_written(name, folder, tmp_path):
    config = make_config(folder, tmp_path, name)
    terms = run(config)
    assert len(terms) == 8
    assert_falling(terms, *(("ncut", "reconstruction") if name == "wnet" else ("loss",)))
    pictures = read_pictures(tmp_path)
    assert len(pictures) == 2
    assert all(len(np.unique(labels)) > 1 for labels in pictures)
    assert load_config(tmp_path / "config.yaml", LearnedTrainConfig) == config
    assert load_learned(tmp_path / "model.safetensors").config == config.model


@pytest.mark.parametrize("name", ["classifier", "wnet"])  # one optimiser and two, both with dropout
def test_a_killed_run_resumes_with_the_same_result(name, folder, tmp_path):
    whole, killed = (make_config(folder, tmp_path / part, name) for part in ("whole", "killed"))
    expected = run(whole)
    with pytest.raises(PowerCut):
        run(killed, stop_after=5)
    rest = run(killed)
    assert len(rest) == len(expected) - 4  # the last checkpoint is that of step 4
    for left, right in zip(rest, expected[4:], strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    first, second = (load_learned(config.out / "model.safetensors").state_dict() for config in (whole, killed))
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-4, atol=1e-6, msg=key)
    assert run(killed) == []  # a finished run is not trained again
    torch.testing.assert_close(load_learned(killed.out / "model.safetensors").state_dict()[key], second[key])


def test_the_learning_rate_decays(folder, tmp_path, monkeypatch):
    rates = []
    step = LearnedTraining._step
    monkeypatch.setattr(
        LearnedTraining,
        "_step",
        lambda s, b, o: rates.append([g["lr"] for x in o for g in x.param_groups]) or step(s, b, o),
    )
    config = make_config(folder, tmp_path, "wnet", epochs=1, optimizer="sgd", lr_decay_steps=2, pictures=0)
    training.train_refiner(config)
    assert rates == [pytest.approx([r, r]) for r in (3e-3, 3e-3, 3e-4, 3e-4)]


def test_wnet_segments_an_image_end_to_end(folder, tmp_path):
    training.train_refiner(make_config(folder, tmp_path, "wnet", pictures=0, epochs=8))
    image = np.array(Image.open(folder / "train/square/00.png"))
    network = load_learned(tmp_path / "model.safetensors")
    h = segment_by_maps(image, pixel_maps(image, class_probabilities(image, network)), 40)
    assert h.n_leaves == 40
    halves = h.cut(regions=2)
    bright = image[..., 0] > 125
    assert ((halves == halves[16, 16]) == bright).mean() > 0.95


@pytest.mark.parametrize("name", ["classifier_cifar10", "autoencoder_cifar10", "wnet_small"])
def test_configurations_that_come_with_the_project_are_valid(name):
    config = load_config(ROOT / "configs" / f"{name}.yaml", LearnedTrainConfig)
    assert config.model.method == name.split("_")[0]


def test_a_side_that_does_not_fit_the_model_is_refused(folder, tmp_path):
    for name, side, message in (
        ("classifier", 48, "layout cifar10 takes 32"),
        ("autoencoder", 24, "multiple of 16"),
        ("wnet", 33, "multiple of 2"),
    ):
        with pytest.raises(ValidationError, match=message):
            make_config(folder, tmp_path, name, data=LearnedDataConfig(side_px=side))


def test_a_classifier_needs_the_classes_of_its_data(folder, tmp_path):
    config = make_config(folder, tmp_path, "classifier", model=ClassifierConfig(classes=16, image_classes=10))
    with pytest.raises(InputError, match=r"image_classes=10, but the data have 2 classes and 0 of 64 images without"):
        training.train_refiner(config)
    data = LearnedDataConfig(dataset="folder", root=folder / "train/disc")
    with pytest.raises(InputError, match=r"have 0 classes and 32 of 32 images without one.*take method autoencoder"):
        training.train_refiner(make_config(folder, tmp_path, "classifier", data=data))


@pytest.mark.dataset
@pytest.mark.parametrize("name", ["classifier", "autoencoder"])
def test_cifar10_trains_on_64_images(name, data_root, tmp_path):
    model = MODELS[name].model_copy(update={"image_classes": 10} if name == "classifier" else {})
    data = LearnedDataConfig(root=data_root, limit=64)
    terms = run(make_config(None, tmp_path, name, model=model, data=data, epochs=3))
    assert_falling(terms, "loss", "segmentation")
    assert [labels.shape for labels in read_pictures(tmp_path)] == [(32, 32), (32, 32)]


@pytest.mark.dataset
def test_wnet_trains_on_two_images_of_bsds500(data_root, tmp_path):
    data = LearnedDataConfig(dataset="bsds500", root=data_root, limit=2, side_px=64)
    config = make_config(None, tmp_path, "wnet", data=data, batch_size=2, epochs=10, pictures=1)
    assert_falling(run(config), "ncut", "reconstruction")
    assert len(read_pictures(tmp_path)) == 1


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    return LabelledImages(tuple(LabelledImage(str(i), i, partial(np.array, pixel)) for i, pixel in enumerate(pixels)))


def test_every_epoch_visits_each_image_once_and_items_repeat(images):
    stream = ImageStream(images, LearnedDataConfig(), TargetConfig(), seed=3)
    for epoch in range(3):
        assert sorted(stream[5 * epoch + i].label.item() for i in range(5)) == list(range(5))
    for one, again in zip(stream[7], stream[7], strict=True):
        torch.testing.assert_close(one, again)
    assert not torch.equal(stream[0].image, stream[5].image)


def test_a_sample_is_the_flipped_image_with_its_own_superpixels(images):
    stream = ImageStream(images, LearnedDataConfig(), TargetConfig(), seed=0)
    is_flipped = set()
    for i in range(10):
        image, label, superpixels = stream[i]
        pixels = (255 * image).permute(1, 2, 0).numpy().round()
        original = images.samples[label].read()
        is_flipped.add(bool((pixels == original[:, ::-1]).all()))
        assert (pixels == original).all() or (pixels == original[:, ::-1]).all()
        assert superpixels.dtype == torch.int64
        assert 40 < superpixels.max() < 80  # about 64 of 16 pixels
    assert is_flipped == {True, False}
    assert not ImageStream(images, LearnedDataConfig(), None, seed=0)[0].superpixels.any()


def test_rotation_keeps_the_middle_and_brings_in_no_black():
    bright = np.full((20, 20, 3), 200, np.uint8)
    turned = vary(bright, LearnedDataConfig(rotation_deg=45), np.random.default_rng(0))
    np.testing.assert_array_equal(turned, bright)
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 20, axis=0).repeat(3, axis=2)
    turned = vary(ramp, LearnedDataConfig(rotation_deg=5, flip=False), np.random.default_rng(1))
    assert turned.shape == ramp.shape
    assert np.abs(turned[8:12, 8:12].astype(int) - ramp[8:12, 8:12]).max() <= 10


def test_images_are_made_square(images):
    wide = LabelledImage("wide", 0, lambda: np.zeros((8, 24, 3), np.uint8))
    assert read_square(wide, 16).shape == (16, 16, 3)
    assert read_square(images.samples[0], 32).shape == (32, 32, 3)


def test_a_limit_takes_images_of_every_class(images, monkeypatch):
    monkeypatch.setattr("supercuts.training.learned_refiners.open_labelled", lambda *_: images)
    config = LearnedDataConfig()
    assert [sample.label for sample in open_images(config, "train", 2).samples] == [0, 2]
    assert open_images(config, "train", None) is images
    assert open_images(config, "train", 9) is images
