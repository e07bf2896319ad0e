import numpy as np
import onnxruntime
import pytest
import torch

from supercuts.core.errors import InputError
from supercuts.networks.files import make_ssn
from supercuts.networks.network import weights_path
from supercuts.networks.onnx_export import export_onnx
from supercuts.networks.onnx_network import CONFIG_KEY
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


def test_the_graph_of_the_package_is_up_to_date(tmp_path):
    from supercuts.networks.files import load_network

    shipped = weights_path("compact").with_suffix(".onnx")
    export_onnx(tmp_path / "graph.onnx", load_network(weights_path("compact"))[0], graph_only=True)
    actual, expected = (onnx.load(path, load_external_data=False) for path in (shipped, tmp_path / "graph.onnx"))
    remedy = "write it again: supercuts onnx compact --graph -o supercuts/weights/compact.onnx"
    assert [prop.value for prop in actual.metadata_props] == [prop.value for prop in expected.metadata_props], remedy
    assert [node.op_type for node in actual.graph.node] == [node.op_type for node in expected.graph.node], remedy
    assert [(x.name, x.dims) for x in actual.graph.initializer] == [
        (x.name, x.dims) for x in expected.graph.initializer
    ]


@pytest.mark.parametrize(("backbone", "n_features", "regions"), [("timm:test_resnet", 5, 0), ("compact", 4, 3)])
def test_a_complete_file_predicts_what_torch_predicts(tmp_path, backbone, n_features, regions):
    torch.manual_seed(0)
    config = SSNConfig(
        backbone=backbone, head_channels=(4,) * n_features, embedding_channels=2, region_channels=regions
    )
    network = SSN(config).eval()
    export_onnx(tmp_path / "model.onnx", network)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = ["boundary", "embeddings", "strength", "regions"][: 4 if regions else 2]
    assert [output.name for output in session.get_outputs()] == names
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert session.get_modelmeta().custom_metadata_map[CONFIG_KEY] == network.config.model_dump_json()
    for shape in ((1, 3, 1, 1), (2, 3, 17, 33), (1, 3, 48, 64), (3, 3, 50, 21)):
        images = torch.rand(shape)
        with torch.inference_mode():
            said = network(images)
        expected = [said.boundary_logits.sigmoid(), said.embeddings]
        if regions:
            expected += [said.strength_logits.sigmoid(), said.region_embeddings]
        for first, second in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
            np.testing.assert_allclose(first, second, rtol=0, atol=1e-4)


def test_the_original_is_not_exported(tmp_path):
    network = make_ssn(SSNConfig(backbone="dino_vits16", head="original"))
    with pytest.raises(InputError, match="head='original' cannot be exported"):
        export_onnx(tmp_path / "model.onnx", network)
    assert not list(tmp_path.iterdir())
