import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import supercuts
from supercuts.core.errors import FileFormatError, InputError
from supercuts.networks import onnx_network
from supercuts.networks.files import save_network
from supercuts.networks.network import VIEWS, weights_path
from supercuts.networks.onnx_network import load_onnx, open_graph
from supercuts.networks.predict import predict
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = weights_path("compact")
GRAPH = WEIGHTS.with_suffix(".onnx")
TORCH = {"torch", "torchvision", "timm", "torch_geometric", "lightning"}

WITHOUT_TORCH = f"""
import sys
import numpy as np
import supercuts, supercuts.pipeline
model = supercuts.load("compact", engine="quick")
h = model.segment(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8), superpixels=20)
assert h.n_leaves == 20 and h.cut(level="object").shape == (40, 60) and model.affinity is not None
print(sorted({TORCH!r} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def network():
    return load_onnx(WEIGHTS)[0]


@pytest.fixture
def _in_float32(monkeypatch):
    """Make torch compute like ONNX Runtime."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)


@pytest.fixture
def same_by_torch(_in_float32):
    return supercuts.load("compact", engine="torch").network


def test_the_main_path_imports_no_torch():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("shape", [(1, 1), (1, 19), (16, 32), (33, 47), (321, 181)])
@pytest.mark.parametrize("views", ["one", "flip", "many"])
def test_maps_are_those_of_torch(network, same_by_torch, shape, views):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    actual = network.maps([image], VIEWS[views])[0]
    expected = same_by_torch.maps([image], VIEWS[views])[0]
    for one, other in zip(actual, expected, strict=True):
        # resized views round differently; the network's own outputs agree to 1e-4 of their range
        atol = (1e-4 if views != "many" else 1e-3) * max(1, float(np.abs(other).max()))
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def test_floats_and_bytes_are_one_image(network):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    first, second = predict(image, network), predict(image / np.float32(255), network)
    np.testing.assert_array_equal(first.boundary, second.boundary)
    assert first.region_stride == 2
    assert first.strength.shape == (10, 15)


def test_a_network_of_another_config_needs_its_own_graph(tmp_path):
    save_network(tmp_path / "model.safetensors", SSN(SSNConfig(embedding_channels=2)), {})
    with pytest.raises(FileFormatError, match=r"compact\.onnx: not a graph of this network .* supercuts onnx MODEL"):
        load_onnx(tmp_path / "model.safetensors")


def test_any_network_of_the_config_runs_on_the_graph(tmp_path, same_by_torch):
    torch.manual_seed(0)
    second = SSN(same_by_torch.config).eval()
    save_network(tmp_path / "model.safetensors", second, {"scene": 0.25})
    network, levels = load_onnx(tmp_path / "model.safetensors")
    assert levels == {"scene": 0.25}
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    actual = network.maps([image], VIEWS["one"])[0]
    for first, expected in zip(actual, second.maps([image], VIEWS["one"])[0], strict=True):
        np.testing.assert_allclose(first, expected, atol=1e-4)


@pytest.mark.parametrize("folds", ["[", "[1]", '{"a": 1}', '{"a": ["b", 1e-3, [[0, 0], [0, 0]]]}'])
def test_a_graph_with_wrong_folds_is_refused(tmp_path, folds):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(GRAPH, load_external_data=False)
    (entry,) = (entry for entry in model.metadata_props if entry.key == onnx_network.FOLDS_KEY)
    entry.value = folds
    path = tmp_path / "wrong.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FileFormatError, match="not a graph of this network"):
        open_graph(path, {}, SSNConfig(), 1)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.parametrize(("engine", "has_bfloat16", "same_as"), [
    ("auto", True, "torch"), ("auto", False, "onnx"), ("quick", True, "onnx"), ("quick", False, "onnx"),
])  # fmt: skip
def test_the_engine_is_chosen_by_the_processor(monkeypatch, photo, engine, has_bfloat16, same_as):
    monkeypatch.setattr("supercuts.model.will_have_bfloat16", lambda: has_bfloat16)
    model, expected = (supercuts.load("compact", engine=name) for name in (engine, same_as))
    maps, others = (loaded.network.maps([photo], VIEWS["one"])[0] for loaded in (model, expected))
    for values, other in zip(maps, others, strict=True):
        np.testing.assert_array_equal(values, other)
    assert model.network.stride == expected.network.stride
    assert model.network.window() == expected.network.window()


def test_large_images_and_other_devices_are_for_torch():
    network = supercuts.load("compact", engine="quick").network
    assert isinstance(network.for_image((1000, 2000)), onnx_network.OnnxNetwork)
    assert isinstance(network.for_image((1001, 2000)), SSN)
    assert network.device == "cpu"
    assert network.to("meta").device == "meta"
    assert isinstance(network.for_image((10, 10)), SSN)


def test_copies_of_the_network_of_the_package_send_no_weights(photo):
    model = supercuts.load("compact", engine="quick")
    before = model.segment(photo, superpixels=12)
    sent = pickle.dumps(model.network)
    assert len(sent) < 10_000
    model.network = pickle.loads(sent)
    np.testing.assert_array_equal(model.segment(photo, superpixels=12).labels, before.labels)


def test_a_graph_that_names_other_files_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(GRAPH, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "/etc/passwd"
    path = tmp_path / "evil.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FileFormatError, match="refers to other files"):
        open_graph(path, {}, SSNConfig(), 1)


def with_entry(change):
    """Return the graph of compact with one entry for the place of weights changed."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(GRAPH, load_external_data=False)
    graph, tensor = model.graph, model.graph.initializer[0]
    del tensor.external_data[:]
    # bytes are put together here, because a library would write an entry of two values with one
    field = b"".join(b"\x6a" + bytes([len(item)]) + item for item in change(onnx_network._ENTRY))
    tensor = as_field(5, tensor.SerializeToString() + field)
    del graph.initializer[0]
    graph = as_field(7, graph.SerializeToString() + tensor)
    model.ClearField("graph")
    return model.SerializeToString() + graph


def as_field(number, content):
    length, size = len(content), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + content


def test_the_changed_entry_is_all_that_is_wrong(tmp_path):
    path = tmp_path / "plain.onnx"
    path.write_bytes(with_entry(lambda entry: [entry]))
    with pytest.raises(FileFormatError, match="not a graph of this network"):  # no weights
        open_graph(path, {}, SSNConfig(), 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: [entry + b"\x12\x0b/etc/passwd"],  # the last of two values counts
        lambda entry: [entry, b"\x0a\x08location\x12\x0b/etc/passwd"],
        lambda entry: [entry, entry.replace(b"\x12", b"\x12\x0b/etc/passwd\x1a", 1)],
        lambda entry: [b"\x7a\x02\x6a\x1d" + entry + b"\x12\x0b/etc/passwd"],  # looks like a whole entry
        lambda entry: [entry, b"\x0a\x06offset\x12\x010"],
    ],
    ids=["two values", "two entries", "value elsewhere", "entry within", "offset"],
)
def test_entries_that_are_more_than_one_word_are_refused(tmp_path, change):
    path = tmp_path / "evil.onnx"
    path.write_bytes(with_entry(change))
    with pytest.raises(FileFormatError, match="refers to other files"):
        open_graph(path, {}, SSNConfig(), 1)


def test_files_that_constants_within_nodes_name_are_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(GRAPH, load_external_data=False)
    tensor = onnx.TensorProto(name="x", data_type=1, dims=[1], data_location=1)
    entry = tensor.external_data.add()
    entry.MergeFromString(onnx_network._ENTRY + b"\x12\x0b/etc/passwd")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["x"], value=tensor))
    whole = model.SerializeToString()
    path = tmp_path / "evil.onnx"
    for content in (whole, whole.replace(b"/etc/passwd", b"/etc/shadow"), b"\x3a\xff\xff\xff\x7f", b"\x3b"):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match="evil"):
            open_graph(path, {}, SSNConfig(), 1)


def test_weights_that_are_not_given_are_not_looked_for(tmp_path, monkeypatch):
    (tmp_path / "given-when-loaded").write_bytes(bytes(10**6))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileFormatError, match="not a graph of this network"):
        open_graph(GRAPH, {}, SSNConfig(), 1)


def test_files_without_a_graph_are_refused(tmp_path):
    shutil.copy(WEIGHTS, tmp_path / "model.safetensors")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(FileFormatError, match=r"model\.onnx: not a graph of this network"):
        load_onnx(tmp_path / "model.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(FileFormatError, match="not a safetensors file"):
        load_onnx(tmp_path / "text.safetensors")


def test_a_graph_records_the_receptive_field(network, same_by_torch):
    assert network.window() == same_by_torch.window()
    del network.facts["margin"]
    with pytest.raises(InputError, match="records no receptive field"):
        network.window()


def test_the_runtime_sends_nothing_and_leaves_the_home_alone(tmp_path):
    code = "import os; from supercuts.networks.onnx_network import _import_runtime as start; before = dict(os.environ)"
    code += "; start(); assert dict(os.environ) == before"
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.rglob("*")) == []
