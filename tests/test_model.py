import itertools
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import skimage.measure
import tifffile
import torch
from PIL import Image
from pydantic import ValidationError

import supercuts
from supercuts.core.errors import FileFormatError, ImageError, InputError
from supercuts.images.io import read_channels
from supercuts.model import Model, _default_model
from supercuts.networks import maps as maps_module
from supercuts.networks.files import make_ssn, save_network
from supercuts.networks.network import EMBEDDED, ViewsConfig, weights_path
from supercuts.networks.predict import predict
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig
from supercuts.objects.discover import discover
from supercuts.objects.features import dino_keys
from supercuts.pipeline import segment_by_maps
from supercuts.selftaught.learned import pixel_maps
from supercuts.settings import ORIGINAL_CONFIG, PIXEL_CONFIG, PipelineConfig, default_config

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "photo.jpg"
N_SEEDS, CASES_PER_SEED = 20, 5
ARRAYS = ("labels", "parents", "altitudes", "embeddings", "image")


def random_model(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Model(SSN(SSNConfig()).eval(), {"scene": 0.5, "object": 0.3, "part": 0.1})


@pytest.fixture(scope="session")
def model():
    """Return the embedded model, or before it exists the same network with random weights."""
    weights = resources.files("supercuts") / "weights" / "compact.safetensors"
    return supercuts.load("compact") if weights.is_file() else random_model()


@pytest.fixture(scope="session", params=["network", "colour and position only"])
def either_model(request, model):
    return model if request.param == "network" else Model(None)


@pytest.fixture(scope="session")
def photo():
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB").resize((96, 64)))


@pytest.fixture
def restore_threads():
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


def random_picture(photo, rng):
    """Return a piece of the photo, noise, or flat rectangles, of random size."""
    height, width = rng.integers(1, 41, 2)
    kind = rng.integers(3)
    if kind == 0:
        y, x = rng.integers(0, 64 - height + 1), rng.integers(0, 96 - width + 1)
        return photo[y : y + height, x : x + width]
    if kind == 1:
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    colors = rng.integers(0, 256, (3, 3, 3), np.uint8)
    return colors[np.arange(height)[:, None] * 3 // height, np.arange(width)[None, :] * 3 // width]


def random_cuts(h, rng):
    """Return a cut of a random number of regions, with that number, and one by each other keyword."""
    n_regions = int(rng.integers(1, h.n_leaves + 1))
    others = [h.cut(altitude=float(rng.random())), h.cut(granularity=float(rng.random()))]
    return n_regions, [h.cut(regions=n_regions), *others, *(h.cut(level=name) for name in h.levels)]


def n_components(labels):
    """Return the number of 4-connected pieces of one label."""
    return int(skimage.measure.label(labels, background=-1, connectivity=1).max())


def is_nested(first, second):
    n_pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1).shape[1]
    return n_pairs == max(first.max(), second.max()) + 1


def assert_valid(h, n_leaves):
    """Check that the leaves are exactly 0..n_leaves-1, each one 4-connected piece."""
    assert h.n_leaves == n_leaves
    assert np.unique(h.labels).tolist() == list(range(n_leaves))
    assert n_components(h.labels) == n_leaves


def assert_equal(first, second):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert first.levels == second.levels


@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_leaves_and_cuts_are_exact_nested_and_connected(model, photo, seed):
    rng = np.random.default_rng(seed)
    for _ in range(CASES_PER_SEED):
        image = random_picture(photo, rng)
        n_pixels = image.shape[0] * image.shape[1]
        n_leaves = int(rng.integers(1, n_pixels + 1)) if rng.random() < 0.3 else int(rng.integers(1, 60))
        h = model.segment(image, superpixels=n_leaves)
        assert_valid(h, min(n_leaves, n_pixels))
        np.testing.assert_array_equal(h.image, image)
        n_regions, cuts = random_cuts(h, rng)
        assert np.unique(cuts[0]).tolist() == list(range(n_regions))
        for cut in [*cuts, h.labels]:
            assert n_components(cut) == cut.max() + 1
        assert all(is_nested(first, second) for first, second in itertools.combinations([*cuts, h.labels], 2))


def test_photo_with_the_default_number_of_leaves(either_model, photo):
    h = either_model.segment(photo)
    assert_valid(h, PipelineConfig().superpixels)
    assert h.levels == either_model.levels
    n_regions, cuts = random_cuts(h, np.random.default_rng(0))
    assert cuts[0].max() + 1 == n_regions
    assert all(n_components(cut) == cut.max() + 1 for cut in cuts)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 40)])
@pytest.mark.parametrize("n_leaves", [1, 2, 4, 1000])
def test_tiny_pictures(either_model, shape, n_leaves):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    n_pixels = shape[0] * shape[1]
    h = either_model.segment(image, superpixels=n_leaves)
    assert_valid(h, min(n_leaves, n_pixels))
    for n_regions in range(1, h.n_leaves + 1):
        assert h.cut(regions=n_regions).max() + 1 == n_regions


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("n_leaves", [1, 7, 100, 600])
def test_constant_picture_still_has_every_leaf(either_model, value, n_leaves):
    h = either_model.segment(np.full((20, 31, 3), value, np.uint8), superpixels=n_leaves)
    assert_valid(h, min(n_leaves, 20 * 31))
    for n_regions in (1, h.n_leaves // 2 + 1, h.n_leaves):
        cut = h.cut(regions=n_regions)
        assert n_components(cut) == cut.max() + 1 == n_regions


def test_two_flat_halves_are_separated_by_colour_alone():
    image = np.zeros((16, 24, 3), np.uint8)
    image[:, 12:] = 255
    h = Model(None).segment(image, superpixels=8)
    for leaf in range(8):
        assert np.unique(image[h.labels == leaf]).size == 1
    assert h.embeddings.shape == (8, 0)


def test_maps_of_another_network_decide_the_tree():
    image = np.full((16, 24, 3), 128, np.uint8)
    is_left = np.broadcast_to(np.arange(24) < 10, (16, 24)).astype(np.float32)
    classes = np.stack([is_left, 1 - is_left])
    h = segment_by_maps(image, pixel_maps(image, classes), 12)
    assert h.n_leaves == 12
    np.testing.assert_array_equal(h.cut(regions=2), 1 - is_left)
    assert segment_by_maps(image[:2, :2], pixel_maps(image[:2, :2], classes[:, :2, :2]), 12).n_leaves == 4
    with pytest.raises(InputError, match="n_leaves=0"):
        segment_by_maps(image, pixel_maps(image, classes), 0)


def test_embeddings_are_the_means_over_each_leaf(model, photo):
    h = model.segment(photo, superpixels=20)
    maps = predict(photo, model.network)
    expected = [maps.embeddings[:, h.labels == leaf].mean(axis=1) for leaf in range(20)]
    np.testing.assert_allclose(h.embeddings, expected, rtol=1e-3, atol=1e-4)


def test_same_input_gives_identical_arrays(either_model, photo):
    assert_equal(either_model.segment(photo, superpixels=50), either_model.segment(photo.copy(), superpixels=50))


def test_number_of_threads_does_not_matter(either_model, restore_threads):
    with Image.open(PHOTO) as image:
        large = np.asarray(image.convert("RGB").resize((240, 160)))
    results = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        results.append(either_model.segment(large, superpixels=150))
    assert_equal(*results)


def test_saving_and_reading_keeps_every_array(model, photo, tmp_path):
    h = model.segment(photo, superpixels=30)
    h.save(tmp_path / "photo.npz")
    assert_equal(h, supercuts.read(tmp_path / "photo.npz"))


def test_every_kind_of_input_gives_the_same_hierarchy(model, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    h = model.segment(photo, superpixels=25)
    same = {
        "path": tmp_path / "photo.png",
        "name": str(tmp_path / "photo.png"),
        "pil": Image.fromarray(photo),
        "float32": photo.astype(np.float32) / 255,
        "float64": photo / 255,
        "uint16": photo.astype(np.uint16) * 257,
        "tensor": torch.from_numpy(photo.copy()).permute(2, 0, 1),
        "float tensor": torch.from_numpy(photo / np.float32(255)).permute(2, 0, 1),
        "opaque": np.concatenate([photo, np.full_like(photo[..., :1], 255)], axis=2),
        "flipped view": photo[::-1].copy()[::-1],
        "read-only image of a hierarchy": h.image,
    }
    for source in same.values():
        assert_equal(model.segment(source, superpixels=25), h)


def test_grey_picture_is_the_same_picture_in_rgb(model, photo):
    grey = photo[..., 1]
    expected = model.segment(np.repeat(grey[..., None], 3, axis=2), superpixels=25)
    for source in (grey, grey[..., None], torch.from_numpy(grey.copy())[None], Image.fromarray(grey)):
        assert_equal(model.segment(source, superpixels=25), expected)


def test_list_gives_a_list_in_its_order(model, photo):
    pictures = [photo[:20, :30], photo[20:33]]
    hierarchies = model.segment(pictures, superpixels=10)
    assert isinstance(hierarchies, list)
    for h, picture in zip(hierarchies, pictures, strict=True):
        assert_equal(h, model.segment(picture, superpixels=10))
    assert model.segment([]) == []


def test_saved_network_segments_as_the_one_in_memory(photo, tmp_path):
    model = random_model(seed=1)
    save_network(tmp_path / "mine.safetensors", model.network, model.levels)
    expected = model.segment(photo, superpixels=20)
    for path in (tmp_path / "mine.safetensors", str(tmp_path / "mine.safetensors")):
        assert_equal(supercuts.load(path).segment(photo, superpixels=20), expected)


@pytest.fixture(scope="module")
def ssn_dino(tmp_path_factory):
    """Write a checkpoint of the original SSN_DINO with random weights, under the original's names."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make_ssn(SSNConfig(backbone="dino_vits16", head="original", embedding_channels=15))
    names = {name: name.replace("backbone.vit.model.", "backbone.") for name in network.state_dict()}
    path = tmp_path_factory.mktemp("original") / "ssn_dino.pth"
    torch.save({names[name]: value for name, value in network.state_dict().items()}, path)
    return path


def test_checkpoint_of_the_original_segments_a_photo(ssn_dino, photo):
    model = supercuts.load(ssn_dino)
    assert model.config == ORIGINAL_CONFIG
    h = model.segment(photo[:60, :90], superpixels=40)  # no multiples of a patch
    assert_valid(h, 40)
    assert (h.embeddings.shape, h.levels) == ((40, 15), {})
    assert h.cut(regions=7).max() == 6
    assert_equal(model.segment(photo[:60, :90], superpixels=40), h)
    maps = predict(photo[:60, :90], model.network)
    assert not maps.boundary.any()
    assert maps.embeddings.std() > 0.01


def test_objects_and_parts_of_a_transformer_are_sought_among_its_keys(ssn_dino, photo):
    model = supercuts.load(ssn_dino)
    h = model.segment(photo[:60, :90], superpixels=30)
    keys = model.leaf_features(h)
    assert keys.shape == (30, 384)
    np.testing.assert_allclose(keys, dino_keys(model, h.image).pool(h.labels, 30))
    actual = model.objects(h)  # figure and ground were not learned for it
    np.testing.assert_array_equal(actual.masks, discover(h, keys, "tokencut").masks)
    parts = model.parts(h, k=2, method="spectral")
    np.testing.assert_array_equal(parts.labels > 0, actual.mask)
    with pytest.raises(InputError, match="supercuts calibrate"):
        model.objects(h, method="tree")


def test_objects_of_other_models_are_sought_among_their_embeddings(model, photo):
    h = model.segment(photo[:60, :90], superpixels=30)
    np.testing.assert_array_equal(model.leaf_features(h), h.embeddings, strict=True)
    assert not np.shares_memory(model.leaf_features(h), h._embeddings)
    with pytest.raises(InputError, match="features have no channels"):
        Model(None).objects(photo[:60, :90])


def test_settings_follow_from_the_networks_calibration(model):
    assert default_config(None) == PIXEL_CONFIG
    assert default_config(model.network) == PipelineConfig()
    assert supercuts.load("compact", PIXEL_CONFIG).config == PIXEL_CONFIG


@pytest.mark.parametrize("name", ["run/model.safetensors", "ssn_dino.pth", "ssn_dino.pt", "ssn_dino.ckpt"])
def test_paths_of_weights_are_taken_as_they_are(name):
    assert weights_path(name) == Path(name)


def test_config_decides_the_default_number_of_leaves(photo):
    assert Model(None, config=PipelineConfig(superpixels=13)).segment(photo).n_leaves == 13


def test_count_is_exact_when_the_grid_falls_short_of_it():
    model = Model(None, config=PipelineConfig(oversampling=1.0))
    image = np.full((5, 7, 3), 128, np.uint8)
    for n_leaves in range(1, 36):  # no grid of 5x7 pixels has 11, 13 or 17 cells
        assert_valid(model.segment(image, superpixels=n_leaves), n_leaves)


def test_config_refuses_unknown_keys_and_impossible_values():
    with pytest.raises(ValidationError, match="Extra inputs"):
        PipelineConfig(superpixel=3)
    with pytest.raises(ValidationError, match="greater than 0"):
        PipelineConfig(superpixels=0)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        PipelineConfig(oversampling=0.5)


@pytest.mark.parametrize("n_leaves", [0, -3])
def test_no_leaf_at_all_is_refused(n_leaves):
    with pytest.raises(InputError, match=rf"superpixels={n_leaves} is outside 1\.\.inf\. Ask for at least one"):
        Model(None).segment(np.zeros((4, 4, 3), np.uint8), superpixels=n_leaves)


def test_files_that_are_not_images_are_refused():
    with pytest.raises(ImageError, match="no such file"):
        Model(None).segment("nowhere.jpg")


def test_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=rf"model='big' is unknown\. Give one of {', '.join(EMBEDDED)} or a path"):
        supercuts.load("big")
    with pytest.raises(InputError, match=r"in \.pth, \.pt, \.ckpt for a checkpoint of the original SSN_DINO"):
        supercuts.load("weights.bin")


def test_missing_or_foreign_weights_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"none\.safetensors: no such file"):
        supercuts.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(FileFormatError, match="not a safetensors file"):
        supercuts.load(tmp_path / "text.safetensors")


def bands_model(channels):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Model(SSN(SSNConfig(channels=channels)).eval())


@pytest.fixture(scope="module")
def five_channels():
    return bands_model(5)


def some_bands(channels, dtype=np.float32):
    """Return two halves that differ in the last channel alone."""
    bands = np.random.default_rng(0).random((24, 36, channels)) * 0.1 + 0.4
    bands[:, 18:, -1] += 0.4
    return bands.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(bands * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_images_of_any_channels_have_exact_leaves(channels):
    bands = some_bands(channels)
    h = bands_model(channels).segment(bands, superpixels=10)
    assert_valid(h, 10)
    cut = h.cut(regions=3)
    assert n_components(cut) == cut.max() + 1 == 3
    assert h.image.shape == (24, 36, 3)
    shown = bands[..., :3] if channels >= 3 else bands[..., :1]
    np.testing.assert_allclose(h.image / 255, np.broadcast_to(shown, h.image.shape), atol=0.003)


def test_all_channels_tell_superpixels_apart():
    maps = predict(some_bands(5), bands_model(5).network)
    assert maps.color.shape == (5, 24, 36)
    np.testing.assert_allclose(maps.color, 100 * some_bands(5).transpose(2, 0, 1), rtol=1e-6)
    config = PipelineConfig(leaves=PIXEL_CONFIG.leaves, merging=PIXEL_CONFIG.merging)
    h = Model(bands_model(5).network, config=config).segment(some_bands(5), superpixels=12)
    np.testing.assert_array_equal(h.cut(regions=2)[:, 17:19], np.tile([0, 1], (24, 1)))


def test_the_network_gets_values_in_0_to_1(five_channels, photo):
    of_three = supercuts.load("compact", engine="torch").network
    for network, image in ((five_channels.network, some_bands(5)), (of_three, photo)):
        seen = []
        handle = network.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        predict(image, network)
        handle.remove()
        unit = image if image.dtype == np.float32 else image / np.float32(255)
        np.testing.assert_allclose(seen[0][0].permute(1, 2, 0), unit, atol=1e-6)


def test_every_kind_of_input_of_five_channels_gives_the_same_hierarchy(five_channels, tmp_path):
    bands = some_bands(5, np.uint16)
    np.save(tmp_path / "a.npy", bands)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", bands, **options)
    h = five_channels.segment(bands, superpixels=15)
    same = (
        tmp_path / "a.npy",
        str(tmp_path / "a.tif"),
        bands / np.float32(65535),
        torch.from_numpy(bands / np.float32(65535)).permute(2, 0, 1),
    )
    for source in same:
        assert_equal(five_channels.segment(source, superpixels=15), h)
    listed = five_channels.segment([bands, bands], superpixels=15)
    assert_equal(listed[1], h)


def test_an_rgb_model_reads_npy_files_as_their_arrays(model, photo, tmp_path):
    np.save(tmp_path / "photo.npy", photo)
    np.save(tmp_path / "float.npy", photo / 255)
    for name in ("photo.npy", "float.npy"):
        assert_equal(model.segment(tmp_path / name, superpixels=25), model.segment(photo, superpixels=25))


def test_another_number_of_channels_is_refused_with_the_numbers(five_channels, model, photo, tmp_path):
    with pytest.raises(
        ImageError, match=r"64 rows, 96 columns and 3 channels, but the model was trained on 5\. Give those"
    ):
        five_channels.segment(photo)
    with pytest.raises(ImageError, match=r"channels come first, transpose it to \(30, 20, 5\)"):
        five_channels.segment(np.zeros((5, 30, 20), np.uint8))
    with pytest.raises(ImageError, match=r"photo\.jpg: .* 3 channels, but the model was trained on 5"):
        five_channels.segment(PHOTO)
    np.save(tmp_path / "a.npy", some_bands(2))
    with pytest.raises(ImageError, match=r"a\.npy: 24 rows, 36 columns and 2 channels, but the model was trained on 3"):
        model.segment(tmp_path / "a.npy")


def test_images_come_in_the_form_that_networks_take(photo):
    np.testing.assert_array_equal(read_channels(photo), photo)
    np.testing.assert_array_equal(read_channels(photo / 255), photo)
    for dtype in (np.uint8, np.uint16, np.float64):
        bands = read_channels(some_bands(5, dtype))
        assert bands.dtype == np.float32
        np.testing.assert_allclose(bands, some_bands(5), atol=0.003)
        np.testing.assert_array_equal(read_channels(some_bands(5, dtype), 5), bands)


def test_saved_network_keeps_its_channels(five_channels, tmp_path):
    save_network(tmp_path / "mine.safetensors", five_channels.network, {})
    loaded = supercuts.load(tmp_path / "mine.safetensors")
    assert loaded.network.config.channels == 5
    expected = five_channels.segment(some_bands(5), superpixels=9)
    assert_equal(loaded.segment(some_bands(5), superpixels=9), expected)


def test_another_merger_makes_another_tree_of_the_same_leaves(photo):
    model = supercuts.load("compact", merging="spectral")
    assert model.config.merging.method == "spectral"
    first, second = model.segment(photo, 60), supercuts.load("compact").segment(photo, 60)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert not np.array_equal(first.parents, second.parents)
    with pytest.raises(InputError, match=r"merging='ward' is unknown\. Choose one of: agglomerative, spectral, gnn"):
        supercuts.load("compact", merging="ward")


def test_views_reach_the_hierarchy(model, photo):
    seen = Model(model.network, model.levels, PipelineConfig(views=ViewsConfig(flip=True)), model.affinity)
    h = seen.segment(photo, superpixels=30)
    assert_valid(h, 30)
    assert not np.array_equal(h.labels, model.segment(photo, superpixels=30).labels)
    with pytest.raises(ValidationError):
        ViewsConfig(scales=())


def test_views_are_chosen_by_name(photo):
    seen = supercuts.load("compact", views="flip")
    assert seen.config.views == ViewsConfig(flip=True)
    direct = Model(seen.network, seen.levels, seen.config, seen.affinity)
    assert_equal(seen.segment(photo, 20), direct.segment(photo, 20))
    with pytest.raises(InputError, match=r"views='two' is unknown\. Choose one of: one, flip, many"):
        supercuts.load("compact", views="two")


def is_node(h, mask):
    """Return whether the mask is all pixels of one tree node."""
    inside = np.bincount(h.labels[mask], minlength=h.n_leaves)
    leaves = np.flatnonzero(inside)
    assert (inside[leaves] == np.bincount(h.labels.ravel())[leaves]).all(), "a leaf crosses the border of the mask"
    paths = [{int(leaf), *h.ancestors(int(leaf)).tolist()} for leaf in leaves]
    return h.leaves_of(min(set.intersection(*paths))).tolist() == leaves.tolist()


def test_priors_are_nodes_where_they_nest_or_are_disjoint_and_unions_of_leaves_where_they_cross(either_model, photo):
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    disc = (y - 30) ** 2 + (x - 40) ** 2 < 300
    corners = ((y < 9) | (y > 58)) & (x > 83)  # two pieces
    crossing = (y > 33) & (x > 10)
    h = either_model.segment(photo, superpixels=60, priors=[disc, disc & (x < 40), corners, crossing])
    assert h.n_leaves == 60
    assert [is_node(h, mask) for mask in (disc, disc & (x < 40), corners, crossing)] == [True, True, True, False]
    whole = either_model.segment(photo, superpixels=60, priors=np.ones((1, *h.shape), bool))
    assert whole.n_leaves == 60


def test_no_priors_change_nothing(model, photo):
    for priors in (None, [], np.zeros((0, *photo.shape[:2]), bool)):
        np.testing.assert_array_equal(
            model.segment(photo, superpixels=40, priors=priors).ucm(), model.segment(photo, superpixels=40).ucm()
        )


def test_priors_of_several_images_or_in_too_many_pieces_are_refused(model, photo):
    masks = [np.ones(photo.shape[:2], bool)]
    with pytest.raises(InputError, match="priors are masks of one image: segment the images of a list one by one"):
        model.segment([photo], priors=masks)
    checkers = np.indices(photo.shape[:2]).sum(axis=0) % 2 == 0
    with pytest.raises(InputError, match="superpixels=40 are too few: the priors cut the image into 6144 connected"):
        model.segment(photo, superpixels=40, priors=[checkers])


def test_a_batch_equals_single_images(tmp_path):
    model = supercuts.load("compact")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in ((24, 32), (32, 24), (24, 32), (9, 8), (24, 32))]
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    told = []
    actual = model.segment_batch([*images, tmp_path / "a.png"], superpixels=10, progress=lambda *now: told.append(now))
    assert told == [(i + 1, 6) for i in range(6)]
    for h, image in zip(actual, [*images, images[0]], strict=True):
        alone = model.segment(image, superpixels=10)
        for name in ("labels", "parents", "altitudes", "embeddings", "image"):
            np.testing.assert_array_equal(getattr(h, name), getattr(alone, name))
    assert model.segment_batch([]) == []
    with pytest.raises(InputError, match="Ask for at least one"):
        model.segment_batch([], superpixels=0)
    with pytest.raises(ImageError, match="no such file"):
        model.segment_batch([tmp_path / "b.png"])


def test_large_and_masked_images_of_a_batch_are_predicted_alone(tmp_path, monkeypatch):
    model = supercuts.load("compact")
    rng = np.random.default_rng(0)
    small, large = (rng.integers(1, 256, (*shape, 3), np.uint8) for shape in ((24, 32), (70, 80)))
    tifffile.imwrite(
        tmp_path / "masked.tif",
        np.where(np.arange(32)[:, None] < 9, 0, small).astype(np.uint8),
        photometric="rgb",
        extratags=[(42113, "s", 0, "0", True)],
    )
    monkeypatch.setattr(maps_module, "_WHOLE_PIXELS", 5000)
    images = [large, small, tmp_path / "masked.tif", small]
    expected = [model.segment(image, superpixels=10) for image in images]
    monkeypatch.setattr("supercuts.model.is_on_gpu", lambda _: True)
    actual = model.segment_batch(images, superpixels=10)
    for h, alone in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(h.labels, alone.labels)
        np.testing.assert_array_equal(h.altitudes, alone.altitudes)
    assert [h.is_masked for h in actual] == [False, False, True, False]


def test_a_model_describes_itself():
    model = random_model()
    assert repr(model) == "Model(compact, levels scene 0.50, object 0.30, part 0.10, agglomerative merging, on cpu)"
    assert repr(Model(None)) == "Model(no network, no levels, agglomerative merging, on cpu)"


def test_a_model_moves_to_a_device_that_exists():
    model = random_model()
    assert model.to("cpu") is model
    assert model.to(device=torch.device("cpu")).device == "cpu"
    assert Model(None).to("cpu").device == "cpu"
    for wanted in ("cuda:99", "nowhere"):
        with pytest.raises(InputError, match=f"device='{wanted}' cannot be used"):
            model.to(wanted)
    with pytest.raises(InputError, match=r"device='cuda:99'"):
        supercuts.load(device="cuda:99")


def test_one_call_segments_with_a_model_that_is_loaded_once(monkeypatch):
    image = np.zeros((32, 48, 3), np.uint8)
    loaded = []
    monkeypatch.setattr("supercuts.model.load", lambda name: loaded.append(name) or random_model())
    _default_model.cache_clear()
    try:
        assert supercuts.segment(image, 12).n_leaves == supercuts.segment(image, superpixels=12).n_leaves == 12
        assert supercuts.segment(image, 12, mask=np.arange(48) < np.full((32, 1), 24)).is_masked
        assert loaded == ["compact"]
    finally:
        _default_model.cache_clear()
