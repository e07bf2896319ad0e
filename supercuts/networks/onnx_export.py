"""Write a network as an ONNX file for images of any size and batches of any length.

images (batch, C, height, width) in 0..1  ->  boundary (batch, 1, height, width), embeddings, strength, regions
"""

import contextlib
import os
import warnings
from typing import Any

import torch
from torch import nn

from supercuts.core.checks import check_installed
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.networks.onnx_network import CONFIG_KEY, LOCATION, PREFIX
from supercuts.networks.torch_network import TorchNetwork

OPSET = 18
_EXAMPLE = (2, 37, 51)  # images, height and width of the example that is traced


class _Maps(nn.Module):
    """A network that returns tensors, with probabilities instead of logits."""

    def __init__(self, network: TorchNetwork) -> None:
        super().__init__()
        self.network = network  # this attribute's name makes the prefix PREFIX

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return boundary, embeddings and, if the network has regions, strength and region embeddings."""
        outputs = self.network(images)
        maps = (outputs.boundary_logits.sigmoid(), outputs.embeddings)
        if outputs.strength_logits is None:
            return maps
        return *maps, outputs.strength_logits.sigmoid(), outputs.region_embeddings


def export_onnx(path: str | os.PathLike[str], network: TorchNetwork, graph_only: bool = False) -> None:
    """Write the network to an .onnx file; if `graph_only`, without weights, for engine="onnx"."""
    check_installed(["onnx", "onnxscript"], "onnx")
    if not network.has_boundary:
        raise InputError("a network of head='original' cannot be exported: give one of `supercuts train`.")
    names = ["boundary", "embeddings", "strength", "regions"][: 4 if network.config.region_channels else 2]
    batch, height, width = _EXAMPLE
    example = torch.zeros(batch, network.config.channels, height, width, dtype=torch.float32, device=network.device)
    any_size = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            _Maps(network).eval(), (example,), dynamo=True, verbose=False, input_names=["images"], output_names=names,
            dynamic_shapes=({0: any_size, 2: any_size, 3: any_size},), opset_version=OPSET, optimize=not graph_only,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _tidy(model, network)
    if graph_only:
        _take_weights_out(model, set(network.state_dict()))
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _tidy(model: Any, network: TorchNetwork) -> None:
    """Name the dimensions, add config, stride and window as metadata, and remove source locations of the steps."""
    graph = model.graph
    graph.ClearField("value_info")
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for value in (*graph.input, *graph.output):
        small = "small_" if value.name in ("strength", "regions") else ""
        for i, name in ((0, "batch"), (2, f"{small}height"), (3, f"{small}width")):
            value.type.tensor_type.shape.dim[i].dim_param = name
    model.producer_name, model.producer_version = "supercuts", ""
    facts = {CONFIG_KEY: network.config.model_dump_json(), "stride": str(network.stride)}
    with contextlib.suppress(InputError):  # networks that need the whole image have no window
        margin, multiple = network.window()
        facts |= {"margin": str(margin), "multiple": str(multiple)}
    for key, text in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text


def _take_weights_out(model: Any, names: set[str]) -> None:
    from onnx import TensorProto

    for weight in model.graph.initializer:
        if weight.name.removeprefix(PREFIX) in names:
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            entry = weight.external_data.add()
            entry.key, entry.value = "location", LOCATION
