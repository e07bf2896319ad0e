import argparse
import zipfile

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from supercuts.core.errors import FileFormatError
from supercuts.networks.backbones.weights import check_extent, load_weights, read_state_dict, read_tensors, read_torch


def tiny(seed):
    torch.manual_seed(seed)
    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=0, dynamic_img_size=True
    )


STATE = tiny(1).state_dict()
STUDENT = tiny(2).state_dict()


def prefixed(prefix, state=STATE):
    return {f"{prefix}{name}": value for name, value in state.items()}


def full_checkpoint():
    """Return a checkpoint of DINO's training: the student wrapped for distributed training, the teacher not."""
    head = {"head.mlp.0.weight": torch.zeros(2, 2), "head.last_layer.weight_g": torch.ones(1)}
    return {
        "student": prefixed("module.backbone.", STUDENT) | prefixed("module.", head),
        "teacher": prefixed("backbone.") | head,
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=8),
    }


FORMS = {
    "plain": STATE,
    "wrapped": {"model": prefixed("module.")},
    "state_dict": {"state_dict": prefixed("module.backbone."), "epoch": 3},
    "full": full_checkpoint(),
    "ssn_dino": prefixed("backbone.") | {"output_conv.0.0.weight": torch.zeros(1)},
}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("form", FORMS)
def test_every_official_format_gives_the_same_weights(tmp_path, form):
    torch.save(FORMS[form], tmp_path / "w.pth")
    model = tiny(3)
    load_weights(model, tmp_path / "w.pth")
    assert same(model.state_dict(), STATE)


def test_tensors_keep_their_names(tmp_path):
    torch.save({"state_dict": FORMS["ssn_dino"], "epoch": 3}, tmp_path / "w.pth")
    assert same(read_tensors(tmp_path / "w.pth"), FORMS["ssn_dino"])


def test_safetensors_give_the_same_weights(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    model = tiny(3)
    load_weights(model, tmp_path / "w.safetensors")
    assert same(model.state_dict(), STATE)


def test_the_student_is_read_on_request(tmp_path):
    torch.save(full_checkpoint(), tmp_path / "w.pth")
    assert same(read_state_dict(tmp_path / "w.pth", "student"), STUDENT)
    assert same(read_state_dict(tmp_path / "w.pth"), STATE)


def test_positions_of_another_size_are_resampled(tmp_path):
    torch.manual_seed(0)
    large = VisionTransformer(img_size=48, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=0)
    torch.save(large.state_dict(), tmp_path / "w.pth")
    model = tiny(3)
    load_weights(model, tmp_path / "w.pth")
    assert model.pos_embed.shape == (1, 17, 24)
    assert torch.equal(model.blocks[1].attn.qkv.weight, large.blocks[1].attn.qkv.weight)


def test_mismatched_weights_are_named(tmp_path):
    missing = {name: value for name, value in STATE.items() if name != "norm.weight"}
    torch.save(missing | {"surplus.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(FileFormatError, match=r"missing norm\.weight, unexpected surplus\.weight"):
        load_weights(tiny(3), tmp_path / "w.pth")
    deeper = VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=0)
    torch.save(deeper.state_dict(), tmp_path / "deep.pth")
    with pytest.raises(FileFormatError, match=r"missing nothing, unexpected blocks\.2.* and 19 more"):
        load_weights(tiny(3), tmp_path / "deep.pth")
    wider = VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0)
    torch.save(wider.state_dict(), tmp_path / "wide.pth")
    with pytest.raises(FileFormatError, match="Give the weights of the requested backbone"):
        load_weights(tiny(3), tmp_path / "wide.pth")


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"nonsense", "safe to read"),
        ({"model": Evil()}, "safe to read"),
        ({"epoch": 3}, r"holds epoch: expected a state dict"),
        ([1, 2], "holds list: expected a state dict"),
    ],
)
def test_other_files_are_refused(tmp_path, capsys, content, message):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FileFormatError, match=message):
        read_state_dict(path)
    assert capsys.readouterr().out == ""


def test_a_broken_safetensors_file_is_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0nonsense")
    with pytest.raises(FileFormatError, match="Was it copied completely"):
        read_state_dict(tmp_path / "w.safetensors")


def test_settings_of_a_network_far_larger_than_its_weights_are_refused_before_it_is_made():
    layer = torch.nn.Linear(10, 10)
    check_extent(lambda: torch.nn.Linear(10, 10), layer.state_dict())
    with pytest.raises(RuntimeError, match="a network of 1000001000000 weights, the file holds 110"):
        check_extent(lambda: torch.nn.Linear(10**6, 10**6), layer.state_dict())


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_packed_archive_is_refused(tmp_path, packing):
    path = tmp_path / "a.pth"
    torch.save({"x": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if packing == zipfile.ZIP_STORED:
        assert read_torch(path)["x"].numel() == 1000
    else:
        with pytest.raises(FileFormatError, match=r"above the limit.*copied completely"):
            read_torch(path)


# a model of each family of classifiers in timm: fc, head, head.fc, head.fc with norm, classifier, last_linear, ...
FAMILIES = [
    "resnet18",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "regnetx_002",
    "convnext_atto",
    "tf_efficientnet_lite0",
    "mobilenetv3_small_050",
    "densenet121",
    "vgg11",
    "levit_128s",
    "legacy_seresnet18",
    "crossvit_tiny_240",
    "repvit_m0_9",
    "shvit_s1",
    "inception_next_atto",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_saved_with_its_classifier_loads(tmp_path, name):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in timm.create_model(name).state_dict().items()}
    # one stored number a tensor: VGG has 133 million weights
    torch.save({key: torch.tensor(0.5).expand(shape) for key, shape in shapes.items()}, tmp_path / "w.pth")
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
    model.load_state_dict = lambda state, strict: nn.Module.load_state_dict(model, state, strict=strict, assign=True)
    load_weights(model, tmp_path / "w.pth")
    assert all(float(value.flatten()[0]) == 0.5 for value in model.state_dict().values())


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "densenet121"])
def test_weights_of_another_model_are_refused(tmp_path, name):
    other = timm.create_model("regnetx_002").state_dict()
    torch.save(other, tmp_path / "w.pth")
    with pytest.raises(FileFormatError, match=r"does not fit .*: missing .*, unexpected"):
        load_weights(timm.create_model(name, num_classes=0), tmp_path / "w.pth")


def test_layers_that_no_classifier_has_are_refused(tmp_path):
    model = timm.create_model("resnet18", num_classes=0)
    torch.save(model.state_dict() | {"layer9.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(FileFormatError, match=r"unexpected layer9\.weight\. Give"):
        load_weights(model, tmp_path / "w.pth")
