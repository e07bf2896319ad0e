import json

import numpy as np
import pytest
import tifffile
from PIL import Image

import supercuts
from supercuts.core.errors import FileFormatError, ImageError, InputError
from supercuts.images.io import read_image
from supercuts.refine import runs
from supercuts.refine.fit import Step
from supercuts.refine.objective import Terms
from supercuts.refine.refine_config import PartitionConfig, PreprocessConfig, RefineConfig
from supercuts.refine.runs import Preview, mark, partition, prepare_labels, prepare_run, read_input, read_scribbles
from supercuts.superpixels.grid import connected_pieces

SMALL = RefineConfig(n_features=8, n_classes=6, epochs=4, min_classes=0)


@pytest.fixture
def photo(tmp_path):
    return draw(tmp_path / "photo.png", 0)


def draw(path, seed, height=24, width=32):
    pixels = np.random.default_rng(seed).integers(0, 40, (height, width, 3)).astype(np.uint8)
    pixels[:, width // 2 :] += 180
    Image.fromarray(pixels).save(path)
    return path


def labels_in(path):
    with Image.open(path) as image:
        assert image.mode == "I;16"
        return np.array(image, dtype=np.int32)


def test_an_image_gives_labels_colours_a_network_and_a_document(tmp_path, photo):
    run = runs.Run(tmp_path / "out", SMALL, show_every=2)
    runs.start(run)
    steps = []
    document = runs.refine_file(run, photo, "photo", watch=steps.append)
    labels = labels_in(tmp_path / "out" / "photo_labels.png")
    assert np.unique(labels).size == document["labels"]
    colors = read_image(tmp_path / "out" / "photo_colors.png")
    assert np.unique(colors.reshape(-1, 3), axis=0).shape[0] == document["labels"]
    assert document["steps"] == len(steps) == 4
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {f"photo{s}" for s in runs.SUFFIXES} | {"config.yaml", "photo_steps", "photo_steps.gif"}
    assert all((tmp_path / "out" / name).exists() for name in document["files"])


def test_a_finished_image_is_not_processed_again(tmp_path, photo):
    run = runs.Run(tmp_path / "out", SMALL)
    runs.start(run)
    first = runs.refine_file(run, photo, "photo")
    photo.unlink()
    runs.start(run)
    assert runs.refine_file(run, photo, "photo") == {**first, "resumed": True}
    (tmp_path / "out" / "photo_refine.json").write_text("{")
    assert runs.read_document(tmp_path / "out", "photo") is None  # damaged: the image is processed again
    with pytest.raises(InputError, match="give another folder to --out"):
        runs.start(runs.Run(tmp_path / "out", SMALL.model_copy(update={"mu": 2.0})))
    with pytest.raises(InputError, match="is not available: give cpu"):
        runs.start(runs.Run(tmp_path / "out", SMALL, device="abacus"))


def tree_of(labels):
    """Return a tree in which the leaves join one after the other."""
    n = int(labels.max()) + 1
    parents = np.minimum(np.concatenate([[n], np.arange(n, 2 * n - 1), np.arange(n + 1, 2 * n)]), 2 * n - 2)
    altitudes = np.concatenate([np.zeros(n), np.linspace(0.1, 1, n - 1)])
    return supercuts.Hierarchy(
        labels, parents.astype(np.int32), altitudes.astype(np.float32), np.zeros((n, 1), np.float32)
    )


@pytest.mark.parametrize("half_steps", [0, 2])
def test_the_first_targets_are_a_cut_of_the_tree(tmp_path, photo, half_steps):
    squares = (np.arange(24)[:, None] // 6 * 4 + np.arange(32) // 8).astype(np.int32)
    config = SMALL.model_copy(
        update={"initial_regions": 5, "initial_steps": 3, "half_steps": half_steps, "connected": True, "mu": 1.0}
    )
    run = runs.Run(tmp_path / "out", config, lambda image, n: tree_of(squares))
    example = runs.read_example(run, photo)
    np.testing.assert_array_equal(example.initial, tree_of(squares).cut(regions=5))
    assert example.superpixels is None  # method st
    steps = []
    runs.refine_file(run, photo, "photo", watch=steps.append)
    assert all(step.labels.shape == (24, 32) for step in steps)
    labels = labels_in(tmp_path / "out" / "photo_labels.png")
    np.testing.assert_array_equal(labels, connected_pieces(labels.astype(np.int32), np.zeros((24, 32), np.int32)))


def test_sp_labels_are_constant_within_superpixels_that_the_caller_makes(tmp_path, photo):
    config = SMALL.model_copy(update={"method": "sp", "nu": 0.0})
    squares = (np.arange(24)[:, None] // 6 * 4 + np.arange(32) // 8).astype(np.int32)
    asked = []
    run = runs.Run(tmp_path / "out", config, lambda image, n: asked.append((image.shape, n)) or tree_of(squares))
    document = runs.refine_file(run, photo, "photo")
    assert asked == [((24, 32, 3), 1000)]
    assert document["superpixels"] == 16
    labels = labels_in(tmp_path / "out" / "photo_labels.png")
    assert all(np.unique(labels[squares == i]).size == 1 for i in range(16))


def test_slic_and_preprocessing_are_of_the_same_picture(tmp_path, photo):
    config = SMALL.model_copy(
        update={
            "method": "sp",
            "partition": PartitionConfig(method="slic", n_segments=12),
            "preprocess": PreprocessConfig(crop_px=(0, 7, 0, 0), multiple=8),
        }
    )
    example = runs.read_example(runs.Run(tmp_path, config), photo)
    assert example.image.shape == (16, 32, 3)
    assert example.superpixels.shape == (16, 32)


def test_scribbles_of_a_file_are_kept(tmp_path, photo):
    values = np.full((24, 32), 255, np.uint8)
    values[3:5, 3:9], values[3:5, 20:30] = 0, 5
    Image.fromarray(values).save(tmp_path / "photo_scribble.png")
    run = runs.Run(tmp_path / "out", SMALL)
    runs.refine_file(run, photo, "photo", tmp_path / "photo_scribble.png")
    labels = labels_in(tmp_path / "out" / "photo_labels.png")
    np.testing.assert_array_equal(labels[values != 255], values[values != 255])
    Image.fromarray(values[:5]).save(tmp_path / "short.png")
    with pytest.raises(ImageError, match="draw on that one"):
        runs.read_example(run, photo, tmp_path / "short.png")


def test_one_network_for_a_folder_labels_other_images(tmp_path):
    config = SMALL.model_copy(update={"epochs": 40, "nu": 3.0, "batch_size": 2})
    train = [draw(tmp_path / f"train{i}.png", i, 20 + 4 * i, 30) for i in range(3)]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    run = runs.Run(tmp_path / "out", config)
    runs.start(run)
    network, failures = runs.train_file(run, [*train, tmp_path / "bad.png"])
    assert list(failures) == [str(tmp_path / "bad.png")]
    classes = []
    for i, (height, width) in enumerate(((24, 32), (18, 26))):
        test = draw(tmp_path / f"test{i}.png", 10 + i, height, width)
        document = runs.label_file(run, network, test, f"test{i}")
        assert (document["image"], document["height"]) == (str(test), height)
        labels = labels_in(tmp_path / "out" / f"test{i}_labels.png")
        assert labels.shape == (height, width)
        classes.append([np.bincount(part.ravel()).argmax() for part in np.array_split(labels, 2, axis=1)])
    assert classes[0] == classes[1]
    assert classes[0][0] != classes[0][1]
    again, _ = runs.train_file(run, [*train, tmp_path / "bad.png"])
    assert again.channels == network.channels
    with pytest.raises(InputError, match="fitted to other images"):
        runs.train_file(run, train[:1])
    assert json.loads((tmp_path / "out" / "test0_refine.json").read_text())["files"]


@pytest.mark.parametrize("method", ["slic", "felzenszwalb"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_superpixels_are_numbered_without_gaps(method, channels):
    noise = np.random.default_rng(0).random((32, 40, channels), dtype=np.float32)
    image = np.linspace(0, 0.9, 40, dtype=np.float32)[:, None] + 0.1 * noise
    labels = partition(image, PartitionConfig(method=method, n_segments=20))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() >= 4


def test_our_own_come_from_the_caller():
    with pytest.raises(InputError, match="give the labels of its superpixels"):
        partition(np.zeros((4, 4, 3), np.float32), PartitionConfig())


def step(number):
    return Step(number, 9, 1.0, 2, Terms(1, 0, 0, 0, 0), np.full((4, 6), number, np.int32))


def test_every_second_step_is_drawn_and_all_move(tmp_path):
    preview = Preview(tmp_path / "x_steps", 2)
    for number in range(5):
        preview(step(number))
    names = sorted(path.name for path in (tmp_path / "x_steps").iterdir())
    assert names == ["00000.png", "00002.png", "00004.png", "live.png"]
    with Image.open(preview.finish()) as moving:
        assert moving.n_frames == 3
        assert moving.size == (6, 4)


def test_without_steps_there_are_no_pictures(tmp_path):
    assert Preview(tmp_path / "x", 1).finish() is None
    with pytest.raises(InputError, match="Show each step by 1"):
        Preview(tmp_path, 0)


@pytest.fixture
def image():
    return np.random.default_rng(0).random((70, 101, 3), dtype=np.float32)


def test_no_pictures_are_drawn_by_default(image):
    np.testing.assert_array_equal(prepare_run(image, PreprocessConfig()), image)


def test_a_crop_then_a_multiple(image):
    config = PreprocessConfig(crop_px=(2, 3, 0, 1), multiple=32)
    assert prepare_run(image, config).shape == (64, 96, 3)
    np.testing.assert_array_equal(prepare_run(image, PreprocessConfig(crop_px=(2, 3, 0, 1))), image[2:-3, :-1])


def test_the_median_takes_away_specks_of_each_channel():
    image = np.full((9, 9, 2), 0.5, np.float32)
    image[4, 4, 1] = 1
    np.testing.assert_array_equal(prepare_run(image, PreprocessConfig(median_px=3)), 0.5)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_equalisation_stretches_contrast(channels):
    image = np.random.default_rng(0).random((40, 48, channels), dtype=np.float32) * 0.1 + 0.4
    equalised = prepare_run(image, PreprocessConfig(clahe_clip=0.5))
    assert equalised.std() > 2 * image.std()
    assert equalised.dtype == np.float32
    assert equalised.shape == image.shape


def test_labels_move_with_the_image_and_no_label_is_new(image):
    config = PreprocessConfig(crop_px=(1, 1, 1, 1), size=(30, 40))
    labels = np.random.default_rng(1).choice([-1, 3, 77], (70, 101)).astype(np.int32)
    moved = prepare_labels(labels, config)
    assert moved.shape == prepare_run(image, config).shape[:2]
    assert set(np.unique(moved)) == {-1, 3, 77}


def test_a_crop_of_everything_is_refused(image):
    with pytest.raises(InputError, match="crop less"):
        prepare_run(image, PreprocessConfig(crop_px=(40, 30, 0, 0)))


def test_grey_files_have_one_channel_or_three(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(np.array([[0, 255], [51, 102]], np.uint8)).save(path)
    np.testing.assert_allclose(read_input(path, 1)[..., 0], [[0, 1], [0.2, 0.4]], atol=1e-6)
    assert read_input(path, 3).shape == (2, 2, 3)


@pytest.mark.parametrize("channels", [5, None])
def test_tiffs_keep_16_bits_and_five_channels(tmp_path, channels):
    path = tmp_path / "five.tif"
    values = np.random.default_rng(0).integers(0, 65536, (8, 9, 5)).astype(np.uint16)
    tifffile.imwrite(path, values, photometric="minisblack")
    np.testing.assert_allclose(read_input(path, channels), values / 65535, atol=1e-6)


def test_a_16_bit_grey_tiff(tmp_path):
    values = np.arange(0, 60000, 1000, dtype=np.uint16).reshape(6, 10)
    tifffile.imwrite(tmp_path / "grey.tif", values)
    np.testing.assert_allclose(read_input(tmp_path / "grey.tif", 1)[..., 0], values / 65535, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, None])
def test_a_16_bit_rgb_tiff(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 65536, (6, 10, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "rgb.tif", values, photometric="rgb")
    expected = (values / 65535) @ [[0.299], [0.587], [0.114]] if channels == 1 else values / 65535
    np.testing.assert_allclose(read_input(tmp_path / "rgb.tif", channels), expected, atol=2e-7)


@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize("channels", [1, 3, None])
def test_a_16_bit_png_keeps_steps_that_8_bits_do_not(tmp_path, stored, channels):
    """A gradient of 1000 values within four steps of 8 bits, one of 257 values within one of them."""
    cv2 = pytest.importorskip("cv2")
    for n in (1000, 257):
        grey = (30_000 - n // 2 + np.arange(n)).astype(np.uint16).reshape(1, -1)
        picture = grey if stored == 1 else np.stack([grey, grey[:, ::-1], grey], axis=2)  # in the order blue green red
        cv2.imwrite(str(tmp_path / "deep.png"), picture)
        actual = read_input(tmp_path / "deep.png", channels)
        rgb = grey[..., None] if stored == 1 else picture[..., ::-1]
        if channels == 1 and stored == 3:
            expected = (rgb / 65535) @ [[0.299], [0.587], [0.114]]
        else:
            expected = np.broadcast_to(rgb, (*grey.shape, channels or stored)) / 65535
        assert actual.dtype == np.float32
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, atol=2e-7)
        assert np.unique(actual[..., 0]).size >= (n if (channels, stored) != (1, 3) else n // 2)
        assert np.unique(np.rint(255 * actual[..., 0])).size <= 1 + n // 200


@pytest.mark.parametrize("channels", [1, 3])
def test_npy_files_of_three_bands_keep_16_bits(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 3)).astype(np.uint16)
    np.save(tmp_path / "a.npy", values)
    expected = values / 65535 if channels == 3 else (values / 65535) @ [[0.299], [0.587], [0.114]]
    np.testing.assert_allclose(read_input(tmp_path / "a.npy", channels), expected, atol=2e-7)


def test_a_transparent_16_bit_png_is_laid_over_white(tmp_path):
    cv2 = pytest.importorskip("cv2")
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 4)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    np.testing.assert_array_equal(read_input(tmp_path / "a.png", 3), read_image(tmp_path / "a.png") / np.float32(255))


def test_another_number_of_channels_is_refused():
    with pytest.raises(ImageError, match="Set channels=4"):
        read_input(np.zeros((3, 3, 4), np.uint8), 5)


def test_scribbles_are_classes_and_255_is_unlabelled(tmp_path):
    Image.fromarray(np.array([[0, 8, 255]], np.uint8)).save(tmp_path / "s.png")
    np.testing.assert_array_equal(read_scribbles(tmp_path / "s.png"), [[0, 8, -1]])
    np.testing.assert_array_equal(mark(np.array([[-1, 255, 300]])), [[-1, -1, 300]])
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(FileFormatError, match="Save the map itself"):
        read_scribbles(tmp_path / "rgb.png")
    np.save(tmp_path / "three.npy", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ImageError, match="grey picture of classes"):
        read_scribbles(tmp_path / "three.npy")
    with pytest.raises(InputError, match="give integers"):
        mark.__wrapped__(np.zeros((2, 2)))  # around the check of annotations
