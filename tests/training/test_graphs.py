import functools
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.transforms import BaseTransform, ToSLIC

import supercuts
from supercuts.core.errors import FileFormatError, InputError
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import Sample
from supercuts.merging.affinity import feature_names
from supercuts.merging.gnn import DataLoader, GNNConfig, edge_probabilities
from supercuts.model import Model
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig
from supercuts.training.affinity import by_boundary, describe_leaves
from supercuts.training.graphs import SETTINGS, GNNTrainingConfig, SuperpixelGraphs, ToSuperCuts, graphs_of, learn_gnn

LEFT = np.zeros((32, 48), np.int32)
LEFT[:, 24:] = 1
TOP = np.zeros((32, 48), np.int32)
TOP[16:] = 1


def stored(truths, _):
    return truths


@pytest.fixture
def samples(tmp_path):
    samples = []
    for i in range(3):
        path = tmp_path / f"{i}.png"
        noise = np.random.default_rng(i).integers(0, 60, (32, 48, 1))
        Image.fromarray((noise + 80 * LEFT[..., None] + 60 * TOP[..., None]).repeat(3, 2).astype(np.uint8)).save(path)
        samples.append(Sample(str(i), path, path, functools.partial(stored, [LEFT, TOP])))
    return samples


def test_graphs_of_a_data_set_make_batches(samples, tmp_path):
    graphs = SuperpixelGraphs(samples, tmp_path / "graphs", Model(None), superpixels=12)
    assert graphs.prepare() == {}
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == ["0.pt", "1.pt", "2.pt", "settings.json"]
    batch = next(iter(DataLoader(graphs, batch_size=3)))
    assert (batch.num_graphs, batch.num_nodes) == (3, 36)
    assert batch.y.shape == (batch.num_edges,)
    assert set(batch.y.tolist()) <= {0.0, 0.5, 1.0}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transform_has_the_form_of_to_slic(channels):
    img = torch.from_numpy((0.3 * LEFT + 0.5 * TOP).astype(np.float32))[None].repeat(channels, 1, 1)
    transform, slic = ToSuperCuts(12, add_seg=True, add_img=True), ToSLIC(add_seg=True, add_img=True, n_segments=12)
    data, expected = transform(img), slic(img)
    assert isinstance(transform, BaseTransform)
    assert data.num_nodes == 12
    for name in ("seg", "img", "pos"):
        assert data[name].dtype == expected[name].dtype
        assert data[name].shape[1:] == expected[name].shape[1:]
    h = transform.model.segment(img, superpixels=12)
    np.testing.assert_array_equal(data.seg[0], h.labels)
    assert data.level_names == list(h.levels)
    for column, level in enumerate(data.level_names):
        np.testing.assert_array_equal(data.levels[data.seg[0], column], h.cut(level=level))
    batch = next(iter(DataLoader([data, data], batch_size=2)))
    assert (batch.num_nodes, tuple(batch.levels.shape), tuple(batch.seg.shape)) == (24, (24, 3), (2, 32, 48))
    assert int(batch.edge_index.max()) == 23


def test_the_transform_without_levels():
    data = ToSuperCuts(6, Model(None))(torch.zeros(3, 16, 24))
    assert (data.level_names, tuple(data.levels.shape), "seg" in data, "img" in data) == ([], (6, 0), False, False)


@pytest.mark.parametrize("load", [lambda: Model(None), supercuts.load], ids=["pixels", "compact"])
def test_the_target_is_the_share_of_annotators_who_separate_two_superpixels(samples, tmp_path, load):
    model = load()
    graph = SuperpixelGraphs(samples, tmp_path / "graphs", model, superpixels=12)[0]
    labels = model.segment(samples[0].image_path, superpixels=12).labels
    side, half = (np.array([np.bincount(truth[labels == i]).argmax() for i in range(12)]) for truth in (LEFT, TOP))
    first, second = graph.edge_index
    expected = ((side[first] != side[second]).astype(float) + (half[first] != half[second])) / 2
    np.testing.assert_array_equal(graph.y, expected)


def test_graphs_of_another_affinity_are_refused(samples, tmp_path):
    model = supercuts.load()
    SuperpixelGraphs(samples, tmp_path / "graphs", model, superpixels=12)[0]
    model.affinity = None
    with pytest.raises(supercuts.InputError, match="the model differs"):
        SuperpixelGraphs(samples, tmp_path / "graphs", model, superpixels=12)[0]


def test_a_graph_that_was_made_is_read_again(samples, tmp_path):
    made = SuperpixelGraphs(samples, tmp_path / "graphs", Model(None), superpixels=12)[1]
    samples[1].image_path.unlink()
    read = SuperpixelGraphs(samples, tmp_path / "graphs", Model(None), superpixels=12)[1]
    assert made.keys() == read.keys()
    for name in made.keys():  # noqa: SIM118 - Data is no dict
        if isinstance(made[name], list):
            assert made[name] == read[name]
        else:
            torch.testing.assert_close(made[name], read[name], rtol=0, atol=0)


def test_a_folder_gives_its_images_with_classes_by_subfolder(samples, tmp_path):
    for i, place in enumerate(("cat/a.png", "cat/more/b.png", "dog/a.png")):
        (tmp_path / "photos" / place).parent.mkdir(parents=True, exist_ok=True)
        samples[i].image_path.rename(tmp_path / "photos" / place)
    for given in (str(tmp_path / "photos"), tmp_path / "photos"):
        graphs = SuperpixelGraphs(given, tmp_path / "graphs", Model(None), superpixels=9)
        assert graphs.names == ["cat/a", "cat/more/b", "dog/a"]
        assert graphs.classes == ["cat", "dog"]
        assert [graphs[i].y.tolist() for i in range(3)] == [[0], [0], [1]]
    batch = next(iter(DataLoader(graphs, batch_size=3)))
    assert batch.y.tolist() == [0, 0, 1]
    columns = graphs[0].x_columns
    assert (len(columns), columns[-1]) == (graphs[0].x.shape[1], "area_share")
    assert len(graphs[0].edge_attr_columns) == graphs[0].edge_attr.shape[1]
    flat = SuperpixelGraphs(tmp_path / "photos/cat/more", tmp_path / "flat", Model(None), superpixels=9)
    assert (flat.names, flat.classes, flat[0].y) == (["b"], [], None)
    one = SuperpixelGraphs(str(tmp_path / "photos/cat/a.png"), tmp_path / "one", Model(None), superpixels=9)
    assert (len(one), one.names) == (1, ["a"])


def test_a_folder_without_images_or_with_some_beside_its_classes_is_refused(samples, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        SuperpixelGraphs(tmp_path / "empty", tmp_path / "graphs", Model(None))
    (tmp_path / "cat").mkdir()
    samples[0].image_path.rename(tmp_path / "cat" / "a.png")
    with pytest.raises(InputError, match="both beside and in subfolders"):
        SuperpixelGraphs(str(tmp_path), tmp_path / "graphs", Model(None))


def test_image_files_have_no_target_and_may_share_a_name(samples, tmp_path):
    twice = [samples[0].image_path, str(samples[0].image_path), samples[1].image_path]
    graphs = SuperpixelGraphs(twice, tmp_path / "graphs", Model(None), superpixels=9)
    assert graphs.names == ["0_0", "0_1", "1_2"]
    assert graphs[1].y is None


def test_an_image_that_fails_does_not_stop_the_others(samples, tmp_path):
    samples[1].image_path.write_bytes(b"nonsense")
    graphs = SuperpixelGraphs(samples, tmp_path / "graphs", Model(None), superpixels=12)
    failures = graphs.prepare()
    assert list(failures) == ["1"]
    assert "1.png" in failures["1"]
    assert (tmp_path / "graphs" / "2.pt").is_file()


def test_a_folder_of_other_graphs_is_refused(samples, tmp_path):
    SuperpixelGraphs(samples, tmp_path / "graphs", Model(None), superpixels=12)
    with pytest.raises(InputError, match=r"graphs of 12 superpixels, requested are 13; the number differs\. Give"):
        SuperpixelGraphs(samples, tmp_path / "graphs", Model(None), superpixels=13)
    with pytest.raises(InputError, match="the model differs"):
        SuperpixelGraphs(samples, tmp_path / "graphs", supercuts.load("compact"), superpixels=12)


def test_damaged_graphs_and_settings_are_named(samples, tmp_path):
    folder = tmp_path / "graphs"
    graphs = SuperpixelGraphs(samples, folder, Model(None), superpixels=12)
    path = folder / f"{graphs.names[0]}.pt"
    for content in (b"no archive", torch_bytes({"x": torch.ones(1)})):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=path.name):
            graphs[0]
    for text in ("{", "[]", "[" * 100_000):
        (folder / SETTINGS).write_text(text)
        with pytest.raises(FileFormatError, match="Remove its folder"):
            SuperpixelGraphs(samples, folder, Model(None), superpixels=12)


def torch_bytes(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def images(training_root):
    network = SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=3)).eval()
    return [describe_leaves(sample, network, 40) for sample in BSDS500(training_root, "train+val")]


def boundary_affinity(images):
    return by_boundary(len(feature_names(images[0].statistics)))


def test_an_image_gives_its_leaves_and_coarser_graphs(images):
    graphs = graphs_of(images[0], boundary_affinity(images), 5, np.random.default_rng(0))
    assert graphs[0].num_nodes == 40
    assert all(4 <= graph.num_nodes <= 40 for graph in graphs)
    assert len({graph.num_nodes for graph in graphs}) > 2
    for graph in graphs:
        assert graph.y.shape == (graph.num_edges,)
        assert set(graph.y.tolist()) <= {0.0, 0.5}  # one of two annotators draws the one border
        assert graph.weight.sum().item() == pytest.approx(1)
    assert set(graphs[0].y.tolist()) == {0.0, 0.5}


def test_the_network_learns_which_edges_separate(images):
    config = GNNTrainingConfig(epochs=40, graphs=3, batch_size=4)
    affinity = boundary_affinity(images)
    network = learn_gnn(images, affinity, config, GNNConfig(hidden=16, layers=2))
    assert not network.training
    image = images[0]
    probability = edge_probabilities(image.graph, image.statistics, network)
    wanted = graphs_of(image, affinity, 1, np.random.default_rng(0))[0].y.numpy()
    assert probability[wanted == 0.5].mean() > 3 * probability[wanted == 0].mean()
    again = learn_gnn(images, affinity, config, GNNConfig(hidden=16, layers=2))
    np.testing.assert_array_equal(edge_probabilities(image.graph, image.statistics, again), probability)


def test_importing_it_warns_of_nothing():
    command = [sys.executable, "-W", "error::FutureWarning", "-c", "import supercuts.training.graphs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
