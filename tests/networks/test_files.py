import itertools
import json

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from supercuts.core.errors import FileFormatError
from supercuts.networks.files import FORMAT_VERSION, load_network, load_original, save_network
from supercuts.networks.original import OriginalSSNDINO
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import OriginalConfig, SSNConfig

CONFIG = SSNConfig(head_channels=(4, 4, 6, 8), embedding_channels=3, color_scale=0.5)
LEVELS = {"scene": 0.75, "object": 0.5, "part": 0.25}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = SSN(CONFIG)
    with torch.no_grad():
        network(torch.rand(2, 3, 32, 32))  # moves the running statistics of BatchNorm
    return network.eval()


@pytest.fixture
def path(network, tmp_path):
    save_network(tmp_path / "model.safetensors", network, LEVELS)
    return tmp_path / "model.safetensors"


def read_metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def rewrite(path, tensors=None, **metadata):
    """Save the file again with other tensors or metadata; None takes a key away."""
    merged = {key: value for key, value in (read_metadata(path) | metadata).items() if value is not None}
    save_file(load_file(path) if tensors is None else tensors, path, metadata=merged)


def test_a_network_comes_back_as_it_was(network, path):
    loaded, levels = load_network(path)
    assert levels == LEVELS
    assert loaded.config == CONFIG
    assert not loaded.training
    expected = network.state_dict()
    for name, value in loaded.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)
    images = torch.rand(1, 3, 20, 17, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images).embeddings, network(images).embeddings, rtol=0, atol=0)


def test_channels_last_weights_are_saved_like_any_other(network, path, tmp_path):
    save_network(tmp_path / "other.safetensors", SSN(CONFIG).to(memory_format=torch.channels_last), LEVELS)
    assert load_file(tmp_path / "other.safetensors").keys() == load_file(path).keys()


def test_float16_files_are_half_as_large_and_load_as_float32(network, path, tmp_path):
    half = tmp_path / "half.safetensors"
    save_network(half, network, LEVELS, torch.float16)
    assert all(tensor.dtype == torch.float16 for tensor in load_file(half).values())
    assert half.stat().st_size < 0.6 * path.stat().st_size
    loaded, _ = load_network(half)
    for name, value in loaded.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, network.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"none\.safetensors: no such file\. Give a \.safetensors file"):
        load_network(tmp_path / "none.safetensors")
    with pytest.raises(FileFormatError, match="no such file"):
        load_network(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_a_truncated_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileFormatError, match=r"not a safetensors file .* Was it copied completely"):
        load_network(path)


def test_a_pickle_is_refused_without_being_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was run",))

    torch.save({"weights": Trap()}, tmp_path / "model.safetensors")
    with pytest.raises(FileFormatError, match="not a safetensors file"):
        load_network(tmp_path / "model.safetensors")
    torch.save({"state_dict": Trap()}, tmp_path / "model.pth")
    with pytest.raises(FileFormatError, match=r"model\.pth: not a file of tensors that is safe to read"):
        load_network(tmp_path / "model.pth")


@pytest.mark.parametrize(("version", "shown"), [(str(FORMAT_VERSION + 1), str(FORMAT_VERSION + 1)), (None, "missing")])
def test_another_version_is_refused(path, version, shown):
    rewrite(path, format_version=version)
    with pytest.raises(FileFormatError, match=f"format_version {shown}, expected {FORMAT_VERSION}. Give a file"):
        load_network(path)


@pytest.mark.parametrize("config", [None, "{", json.dumps({"colour": 1})], ids=["none", "not JSON", "unknown key"])
def test_a_file_without_a_networks_config_is_refused(path, config):
    rewrite(path, config=config)
    with pytest.raises(FileFormatError, match="its config is not an SSN's"):
        load_network(path)


@pytest.mark.parametrize(
    ("lacks", "has", "message"),
    [
        ({"head.output.weight"}, {}, r"missing \['head.output.weight'\], unexpected none\. Train again"),
        (set(), {"extra": torch.ones(1)}, r"missing none, unexpected \['extra'\]\. Train again"),
        ({"head.output.bias"}, {"extra": torch.ones(1)}, r"missing \['head.output.bias'\], unexpected \['extra'\]"),
    ],
)
def test_missing_and_unexpected_tensors_are_named(path, lacks, has, message):
    rewrite(path, tensors={key: value for key, value in load_file(path).items() if key not in lacks} | has)
    with pytest.raises(FileFormatError, match=message):
        load_network(path)


def test_a_tensor_of_another_shape_is_named(path):
    rewrite(path, tensors=load_file(path) | {"head.output.bias": torch.ones(99)})
    with pytest.raises(FileFormatError, match=r"model\.safetensors(.|\n)*head\.output\.bias(.|\n)*Train again"):
        load_network(path)


def test_a_config_that_makes_no_network_is_refused_with_the_files_name(path):
    rewrite(path, config=SSNConfig(backbone="gone").model_dump_json())
    with pytest.raises(FileFormatError, match=r"model\.safetensors.*backbone='gone' is unknown"):
        load_network(path)


@pytest.mark.parametrize("levels", ["{", "[1]", '{"scene": "high"}', '{"scene": null}'])
def test_invalid_levels_are_refused(path, levels):
    rewrite(path, levels=levels)
    with pytest.raises(FileFormatError, match=r"model\.safetensors: its levels are not names with altitudes"):
        load_network(path)


@pytest.fixture(scope="module")
def original_state():
    """Return random tensors by the names that the original SSN_DINO gives them."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_small_patch16_224.dino", pretrained=False, num_classes=0)
    widths = (389, 256, 64, 15)
    blocks = [
        nn.Sequential(nn.Conv2d(n, m, 3, padding=1, bias=False), nn.BatchNorm2d(m), nn.ReLU())
        for n, m in itertools.pairwise(widths)
    ]
    modules = {"backbone": vit, "output_conv": nn.Sequential(*blocks)}
    state = {f"{part}.{name}": value for part, module in modules.items() for name, value in module.state_dict().items()}
    # one number for each tensor: torch.save writes an expanded tensor as small as it is
    return {
        name: torch.rand(()).expand(value.shape) if value.is_floating_point() else value
        for name, value in state.items()
    }


def prefixed(state):
    return {f"module.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("file", "wrap"),
    [
        ("ssn_dino.pth", lambda state: state),
        ("ssn_dino.pt", prefixed),
        ("ssn_dino.ckpt", lambda state: {"state_dict": prefixed(state), "epoch": 3}),
        ("ssn_dino.pth", lambda state: {"model": state}),
    ],
)
def test_every_form_of_the_originals_checkpoints_is_read(original_state, tmp_path, file, wrap):
    torch.save(wrap(original_state), tmp_path / file)
    network, levels = load_network(tmp_path / file)
    assert type(network) is OriginalSSNDINO
    assert (levels, network.training) == ({}, False)
    assert (network.config.original, network.config.embedding_channels) == (OriginalConfig(scrambled=True), 15)
    theirs = network.backbone.pretrained.state_dict()
    for name, value in original_state.items():
        part, _, rest = name.partition(".")
        loaded = theirs[rest] if part == "backbone" else network.state_dict()[name]
        assert torch.equal(loaded, value), name
    assert len(theirs) == 150


def test_the_original_comes_back_from_a_safetensors_file(original_state, tmp_path):
    torch.save(original_state, tmp_path / "ssn_dino.pth")
    network = load_original(tmp_path / "ssn_dino.pth", OriginalConfig(scrambled=False, nominal_superpixels=500))
    with torch.no_grad():
        for value in network.parameters():  # tensors of one number each would give the same keys everywhere
            value.normal_(0, 0.05)
    save_network(tmp_path / "mine.safetensors", network, LEVELS)
    loaded, levels = load_network(tmp_path / "mine.safetensors")
    assert (type(loaded), loaded.config, levels) == (OriginalSSNDINO, network.config, LEVELS)
    assert loaded.config.original == OriginalConfig(scrambled=False, nominal_superpixels=500)
    images = torch.rand(1, 3, 40, 33, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images).embeddings, network(images).embeddings, rtol=0, atol=0)


def test_missing_counts_of_batches_do_not_matter(original_state, tmp_path):
    kept = {name: value for name, value in original_state.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) == len(original_state) - 3
    torch.save(kept, tmp_path / "ssn_dino.pth")
    load_network(tmp_path / "ssn_dino.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"cls_token": torch.zeros(1), "pos_embed": torch.zeros(1)}, r"2 tensors \(cls_token, pos_embed, \.\.\.\)"),
        ({"state_dict": {"network.head.output.bias": torch.zeros(1)}}, r"1 tensors \(network\.head\.output\.bias"),
        ({"backbone.cls_token": torch.zeros(1)}, r"expected a checkpoint of the original SSN_DINO, with backbone\.\*"),
        ({"epoch": 3}, "holds epoch: expected a state dict"),
        (b"nonsense", "not a file of tensors that is safe to read"),
    ],
)
def test_other_torch_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(FileFormatError, match=message):
        load_network(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone.norm.bias": None}, r"missing: backbone\.vit\.model\.norm\.bias\)"),
        ({"output_conv.3.0.bias": torch.zeros(1), "extra": torch.zeros(1)}, r"unexpected: extra and 1 more\)"),
        ({"output_conv.0.0.weight": torch.zeros(()).expand(500, 2757, 3, 3)}, r"of another shape: output_conv\.0\.0"),
    ],
)
def test_checkpoints_of_the_originals_other_networks_are_refused(original_state, tmp_path, changes, message):
    content = {name: value for name, value in (original_state | changes).items() if value is not None}
    torch.save(content, tmp_path / "ssn_vgg.pth")
    with pytest.raises(
        FileFormatError,
        match=rf"is not an SSN_DINO on ViT-S/16 \(.*{message}.*No other network of the original can be read",
    ):
        load_network(tmp_path / "ssn_vgg.pth")
