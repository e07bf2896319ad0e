import copy
import itertools

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

import supercuts
from supercuts.core.errors import FileFormatError
from supercuts.datasets.bsds500 import BSDS500, read_segmentations
from supercuts.datasets.label_folder import read_label_maps
from supercuts.datasets.sample import Sample
from supercuts.evaluate.superpixels import score_superpixels
from supercuts.images.io import read_image
from supercuts.model import Model
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig
from supercuts.training import ssn
from supercuts.training.samples import (
    CropStream,
    Judged,
    ProcessSampler,
    TrainingSample,
    ValidationImages,
    collate,
    draw_judged,
    judge,
    make_dataset,
    random_crop,
    region_boundaries,
    training_samples,
    validation_samples,
)
from supercuts.training.training_config import DataConfig

PLAIN = DataConfig(crop_px=24, color_jitter=0)  # colours stay what they are


def write_sample(folder, name, image, *truths) -> Sample:
    cells = np.empty((1, len(truths)), object)
    for index, labels in enumerate(truths):
        cells[0, index] = {"Segmentation": labels.astype(np.uint16), "Boundaries": np.zeros(labels.shape, np.uint8)}
    scipy.io.savemat(folder / f"{name}.mat", {"groundTruth": cells})
    Image.fromarray(image).save(folder / f"{name}.jpg", quality=95)
    return Sample(name, folder / f"{name}.jpg", folder / f"{name}.mat", read_segmentations)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Five grey images of different brightness, each with one region."""
    folder = tmp_path_factory.mktemp("samples")
    shapes = [(20, 30), (30, 20), (25, 25), (20, 30), (40, 40)]
    return [
        write_sample(folder, str(i), np.full((*shape, 3), 40 + 30 * i, np.uint8), np.ones(shape, int))
        for i, shape in enumerate(shapes)
    ]


def brightness(sample) -> int:
    """Return which of the five images a crop shows."""
    return round((float(sample.image.mean()) * 255 - 40) / 30)


def random_scene(seed: int, height: int = 40, width: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image whose colour is its region and the region map, as truths of one annotator."""
    rng = np.random.default_rng(seed)
    sites = rng.uniform(0, (height, width), (6, 2))
    ys, xs = np.mgrid[:height, :width]
    labels = np.argmin([(ys - y) ** 2 + (xs - x) ** 2 for y, x in sites], axis=0)
    palette = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 0], [255, 255, 0], [0, 255, 255], [255, 0, 255]], np.uint8)
    image = torch.from_numpy(palette[labels]).permute(2, 0, 1)
    return image, torch.from_numpy(labels.astype(np.int16))[None]


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5])  # crops that show several regions
def test_image_and_labels_are_transformed_together(seed):
    crop = random_crop(*random_scene(seed), PLAIN, np.random.default_rng(seed))
    assert crop.image.shape == (3, 24, 24)
    assert crop.labels.shape == (24, 24)
    is_pure = ((crop.image < 0.01) | (crop.image > 0.99)).all(0)  # elsewhere two regions are mixed by interpolation
    assert is_pure.float().mean() > 0.5
    color = (crop.image.round() * torch.tensor([1.0, 2.0, 4.0])[:, None, None]).sum(0).long()
    pairs = set(zip(color[is_pure].tolist(), crop.labels[is_pure].tolist(), strict=True))
    assert len(pairs) >= 2
    assert len(pairs) == len({c for c, _ in pairs}) == len({label for _, label in pairs})


@pytest.mark.parametrize("seed", range(3))
def test_labels_are_consecutive_and_boundaries_are_where_they_change(seed):
    crop = random_crop(*random_scene(seed), PLAIN, np.random.default_rng(seed))
    assert crop.labels.unique().tolist() == list(range(int(crop.labels.max()) + 1))
    assert crop.boundary_share.shape == (1, 24, 24)
    torch.testing.assert_close(crop.boundary_share[0], region_boundaries(crop.labels).float())


def test_boundary_share_is_the_mean_over_annotators():
    image, truth = random_scene(0)
    nothing = torch.zeros_like(truth)
    crop = random_crop(image, torch.cat([truth, nothing, nothing, truth]), PLAIN, np.random.default_rng(0))
    assert crop.boundary_share.unique().tolist() == [0, 0.5]


def test_the_boundary_may_be_that_of_the_annotator_whose_labels_are_drawn():
    image, truth = random_scene(0)
    truths = torch.cat([truth, torch.zeros_like(truth), truth.flip(-1)])
    config = PLAIN.model_copy(update={"boundary": "annotator"})
    for seed in range(6):
        crop = random_crop(image, truths, config, np.random.default_rng(seed))
        torch.testing.assert_close(crop.boundary_share[0], region_boundaries(crop.labels).float())
        same = random_crop(image, truths, PLAIN, np.random.default_rng(seed))
        assert torch.equal(crop.labels, same.labels)
        assert torch.equal(crop.near_share, same.near_share)


def test_near_share_counts_annotators_whose_boundary_is_within_two_pixels():
    truths = torch.zeros(2, 24, 24, dtype=torch.int16)
    truths[0, :, 8:], truths[1, :, 10:] = 1, 1  # boundaries in columns 7, 8 and 9, 10
    plain = DataConfig(crop_px=24, scale=(1, 1), rotation_deg=0, color_jitter=0)
    crop = random_crop(torch.zeros(3, 24, 24, dtype=torch.uint8), truths, plain, np.random.default_rng(0))
    expected = torch.zeros(24)
    expected[5:7] = expected[11:13] = 0.5
    expected[7:11] = 1
    row = crop.near_share[0, 0] if crop.near_share[0, 0, 5] else crop.near_share[0, 0].flip(0)
    torch.testing.assert_close(row, expected)
    assert (crop.near_share == crop.near_share[:, :1]).all()


def test_every_annotator_is_drawn():
    image, truth = random_scene(0)
    both = torch.cat([truth, torch.zeros_like(truth)])
    n_regions = {int(random_crop(image, both, PLAIN, np.random.default_rng(i)).labels.max()) > 0 for i in range(12)}
    assert n_regions == {True, False}


def test_a_crop_depends_on_its_generator_alone():
    scene, config = random_scene(0), DataConfig(crop_px=24)
    first, same, second = (random_crop(*scene, config, np.random.default_rng(seed)) for seed in (3, 3, 4))
    for field in TrainingSample.__slots__:
        torch.testing.assert_close(getattr(first, field), getattr(same, field), rtol=0, atol=0)
    assert not torch.equal(first.image, second.image)


def test_a_plain_crop_of_the_whole_image_is_the_image_or_its_mirror():
    image, truth = random_scene(1, 32, 32)
    config = DataConfig(crop_px=32, scale=(1, 1), rotation_deg=0, color_jitter=0)
    seen = set()
    for seed in range(8):
        crop = random_crop(image, truth, config, np.random.default_rng(seed))
        mirrored = torch.equal(crop.labels, _consecutive(truth[0].flip(1)))
        assert mirrored or torch.equal(crop.labels, _consecutive(truth[0]))
        torch.testing.assert_close(crop.image, (image.flip(2) if mirrored else image) / 255, rtol=0, atol=1e-4)
        seen.add(mirrored)
    assert seen == {True, False}


def _consecutive(labels: torch.Tensor) -> torch.Tensor:
    return torch.unique(labels, return_inverse=True)[1]


def test_scale_enlarges():
    image, truth = torch.zeros(3, 40, 40, dtype=torch.uint8), torch.zeros(1, 40, 40, dtype=torch.int16)
    image[:, 18:22, 18:22] = 255
    sizes = []
    for scale in (1, 2):
        config = DataConfig(crop_px=40, scale=(scale, scale), rotation_deg=0, color_jitter=0)
        crops = (random_crop(image, truth, config, np.random.default_rng(seed)).image[0] for seed in range(20))
        sizes.append(max(float(crop.sum()) for crop in crops))
    assert sizes == pytest.approx([16, 64], rel=0.02)


def test_color_jitter_changes_colors_and_stays_in_range():
    image, truth = random_scene(0)
    plain = random_crop(image, truth, PLAIN, np.random.default_rng(0))
    jittered = random_crop(image, truth, DataConfig(crop_px=24, color_jitter=0.5), np.random.default_rng(0))
    torch.testing.assert_close(jittered.labels, plain.labels)
    assert not torch.allclose(jittered.image, plain.image, atol=0.02)
    assert jittered.image.min() >= 0
    assert jittered.image.max() <= 1


def test_every_epoch_shows_each_image_once_in_an_order_of_its_own(samples):
    stream = CropStream(samples, PLAIN, seed=0)
    epochs = [[brightness(stream[5 * epoch + i]) for i in range(5)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_a_new_stream_resumes_at_any_index(samples):
    config = DataConfig(crop_px=24)
    walked = list(itertools.islice(map(CropStream(samples, config, 7).__getitem__, ProcessSampler(0, 1)), 12))
    resumed = CropStream(samples, config, 7)[11]
    torch.testing.assert_close(resumed.image, walked[11].image, rtol=0, atol=0)
    assert not torch.equal(CropStream(samples, config, 8)[11].image, resumed.image)


def test_a_copy_of_the_stream_shares_the_photographs(samples):
    stream = CropStream(samples, PLAIN, 0)
    assert copy.deepcopy({"stream": stream})["stream"].images is stream.images


def test_the_sampler_counts_from_its_start():
    assert list(itertools.islice(ProcessSampler(7, 2), 5)) == [7, 8, 9, 10, 11]


def test_processes_share_each_batch():
    first, second = (list(itertools.islice(ProcessSampler(10, 2, rank, 2), 4)) for rank in (0, 1))
    assert first == [10, 11, 14, 15]
    assert second == [12, 13, 16, 17]


def test_region_boundaries_match_hand_worked_map():
    labels = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [2, 0, 0, 0]])
    expected = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]]).bool()
    assert torch.equal(region_boundaries(labels), expected)
    assert torch.equal(region_boundaries(labels.T), expected.T)
    assert torch.equal(region_boundaries(torch.stack([labels, labels + 5])), torch.stack([expected, expected]))


def test_one_region_has_no_boundary():
    assert not region_boundaries(torch.full((1, 1), 3)).any()
    assert not region_boundaries(torch.full((4, 5), 3)).any()


def test_collate_stacks_along_a_new_first_axis():
    crops = [random_crop(*random_scene(seed), PLAIN, np.random.default_rng(seed)) for seed in range(2)]
    batch = collate(crops)
    assert batch.image.shape == (2, 3, 24, 24)
    assert batch.boundary_share.shape == (2, 1, 24, 24)
    assert batch.labels.shape == (2, 24, 24)
    torch.testing.assert_close(batch.labels[1], crops[1].labels)


def recorded_sample(folder, index: int) -> Sample:
    """Write an image of noise and two annotators' regions; what is recorded below was drawn from these."""
    rng = np.random.default_rng(index)
    height, width = 40 + index, 50 - index
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    ys, xs = np.mgrid[:height, :width]
    truths = [
        np.argmin([(ys - y) ** 2 + (xs - x) ** 2 for y, x in rng.uniform(0, (height, width), (n, 2))], axis=0)
        for n in (4, 7)
    ]
    sample = write_sample(folder, str(index), image, *(truth + 1 for truth in truths))
    Image.fromarray(image).save(folder / f"{index}.png")  # JPEG decoders may differ
    return Sample(sample.name, folder / f"{index}.png", sample.truth_path, read_segmentations)


@pytest.mark.parametrize(
    ("index", "image", "share", "labels", "total"),
    [
        (0, -9.9061, 1.1271, 8.2159, 680.0182),
        (1, -3.9637, -1.6159, 10.369, 801.3347),
        (4, 10.446, 0.9559, -0.3634, 860.0856),
        (8, -9.1444, 2.4882, -0.1418, 808.3868),
    ],
)
def test_crops_of_rgb_images_are_those_of_earlier_versions(tmp_path, index, image, share, labels, total):
    """Recorded before images of other channels could be read: a resumed run must get the same crops."""
    stream = CropStream([recorded_sample(tmp_path, i) for i in range(3)], DataConfig(crop_px=24), 5)
    crop = stream[index]
    assert stream.images[0].dtype == torch.uint8
    weight = torch.arange(crop.image.numel(), dtype=torch.float64).reshape(crop.image.shape).sin()
    assert float((crop.image.double() * weight).sum()) == pytest.approx(image, abs=1e-3)
    assert float((crop.boundary_share[0].double() * weight[0]).sum()) == pytest.approx(share, abs=1e-3)
    assert float((crop.labels.double() * weight[0]).sum()) == pytest.approx(labels, abs=1e-3)
    assert float(crop.image.double().sum()) == pytest.approx(total, abs=1e-3)


def write_bands(folder, values: np.ndarray, labels: np.ndarray) -> Sample:
    np.save(folder / "image.npy", values)
    np.save(folder / "labels.npy", labels)
    return Sample("image", folder / "image.npy", folder / "labels.npy", read_label_maps)


@pytest.mark.parametrize(("dtype", "stored"), [("uint8", "uint8"), ("uint16", "uint16"), ("float64", "float32")])
def test_other_channels_are_kept_in_their_type_and_cropped_in_0_to_1(tmp_path, dtype, stored):
    unit = np.random.default_rng(0).integers(0, 256, (32, 32, 5)) / 255
    full = {"uint8": 255, "uint16": 65535, "float64": 1}[dtype]
    sample = write_bands(tmp_path, np.rint(unit * full).astype(dtype) if full > 1 else unit, np.eye(32, dtype=np.int64))
    stream = CropStream([sample], DataConfig(crop_px=32, scale=(1, 1), rotation_deg=0, color_jitter=0), 0)
    assert str(stream.images[0].dtype) == f"torch.{stored}"
    crop = stream[0]
    image = torch.from_numpy(unit).permute(2, 0, 1).float()
    is_mirrored = torch.equal(crop.labels, torch.eye(32, dtype=torch.int64).flip(1))
    torch.testing.assert_close(crop.image, image.flip(2) if is_mirrored else image, rtol=0, atol=1e-4)


def test_three_bands_are_kept_as_rgb(tmp_path):
    values = np.random.default_rng(0).random((9, 9, 3))
    stream = CropStream([write_bands(tmp_path, values, np.zeros((9, 9), np.int64))], PLAIN, 0)
    np.testing.assert_array_equal(stream.images[0].permute(1, 2, 0), read_image(values))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_jitter_changes_every_channel_and_stays_in_range(channels):
    image = torch.rand(channels, 40, 50, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(1, 40, 50, dtype=torch.int16)
    plain = random_crop(image, truth, PLAIN, np.random.default_rng(0)).image
    jittered = random_crop(image, truth, DataConfig(crop_px=24, color_jitter=0.5), np.random.default_rng(0)).image
    assert ((jittered - plain).abs().amax((1, 2)) > 0.02).all()
    assert jittered.min() >= 0
    assert jittered.max() <= 1


def test_more_regions_than_16_bits_hold_stay_apart(tmp_path):
    ids = np.arange(200 * 200).reshape(200, 200)
    stream = CropStream([write_bands(tmp_path, np.zeros((200, 200, 1), np.uint8), ids)], PLAIN, 0)
    np.testing.assert_array_equal(stream.truths[0][0], ids)


def test_annotations_of_another_size_are_refused(tmp_path):
    sample = write_bands(tmp_path, np.zeros((8, 9, 5), np.uint8), np.zeros((9, 8), np.int64))
    with pytest.raises(
        FileFormatError, match=r"labels\.npy is \(9, 8\) but image image is \(8, 9\).*its own annotation"
    ):
        CropStream([sample], PLAIN, 0)


def names(samples) -> list[str]:
    return [sample.name for sample in samples]


def test_a_run_on_train_is_judged_on_val(training_root):
    config = DataConfig(root=training_root, split="train")
    assert names(training_samples(config)) == ["1", "2"]
    assert names(validation_samples(config)) == ["3", "4"]


@pytest.mark.parametrize("split", ["val", "train+val"])
def test_training_images_are_not_used_for_validation(training_root, split):
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
    model = supercuts.load(ssn.train_ssn(config))
    assert model.network.config.channels == 5
    path = five_bands / "images" / "0.npy"
    h = model.segment(path, superpixels=12)
    assert np.unique(h.labels).size == h.n_leaves == 12
    assert h.image.shape == (48, 64, 3)
    np.testing.assert_array_equal(model.segment(np.load(path), superpixels=12).labels, h.labels)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)).eval()


def test_the_scores_are_those_of_the_superpixels_that_users_get(network, training_root):
    image, truths = ValidationImages(BSDS500(training_root, "val"))[0]
    judged = judge(network, image, truths, (5, 20))
    expected = [score_superpixels(Model(network).segment(image, n).labels, truths).over("mean") for n in (5, 20)]
    assert judged.scores["val_asa_5"] == expected[0].asa
    assert judged.scores["val_boundary_recall_20"] == expected[1].boundary_recall
    assert judged.scores["val_undersegmentation_error_20"] == expected[1].undersegmentation_error
    assert judged.asa == pytest.approx((expected[0].asa + expected[1].asa) / 2)


def test_a_callers_autocast_changes_nothing(network, training_root):
    image, truths = ValidationImages(BSDS500(training_root, "val"))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = judge(network, image, truths, (20,))
    assert np.array_equal(inside.labels, judge(network, image, truths, (20,)).labels)


def test_an_image_with_fewer_pixels_than_superpixels(network):
    labels = np.zeros((4, 4), np.int32)
    judged = judge(network, np.zeros((4, 4, 3), np.uint8), [labels], (600,))
    assert judged.asa == 1.0


def test_images_of_other_bands_are_judged_too():
    torch.manual_seed(0)
    network = SSN(SSNConfig(channels=5, head_channels=(4, 4, 4, 4), embedding_channels=3)).eval()
    image = np.random.default_rng(0).random((32, 32, 5), dtype=np.float32)
    judged = judge(network, image, [np.repeat(np.arange(2, dtype=np.int32), 16)[None].repeat(32, 0)], (8,))
    assert 0.5 <= judged.asa <= 1
    assert draw_judged([judged]).shape == (32 + 24 + 12, 32 + 24, 3)  # a caption and a frame


def test_pictures_of_any_width_are_stacked():
    small, wide = (Judged(np.full((6, n, 3), 90, np.uint8), np.zeros((6, n), np.int32), {}, 1.0) for n in (5, 9))
    sheet = draw_judged([small, wide])
    assert sheet.shape == (12 + 2 * (6 + 24) + 6, 9 + 24, 3)
    assert ((sheet == 90).all(axis=2)).sum() == 6 * (5 + 9)


def test_pictures_have_captions(monkeypatch):
    captions = []
    monkeypatch.setattr(
        "supercuts.training.samples.contact_sheet",
        lambda pictures, texts, columns: captions.extend(texts) or pictures[0],
    )
    draw_judged([Judged(np.zeros((2, 2, 3), np.uint8), np.arange(4, dtype=np.int32).reshape(2, 2), {}, 0.98765, "a")])
    assert captions == ["a: 4 superpixels, ASA 0.988"]
