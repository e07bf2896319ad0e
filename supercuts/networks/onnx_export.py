"""Write a network as an ONNX file for images of any size and batches of any length.

images (batch, C, height, width) in 0..1  ->  boundary (batch, 1, height, width), embeddings, strength, regions
"""

import contextlib
import json
import os
import warnings
from typing import Any

import torch
from torch import nn

from supercuts.core.checks import check_installed
from supercuts.core.errors import InputError
from supercuts.core.files import atomic_path
from supercuts.networks.folded import FoldedConv, fold
from supercuts.networks.onnx_network import CONFIG_KEY, FOLDS_KEY, LOCATION, PREFIX
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
    run = fold(network.eval(), torch.float32)
    any_size = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            _Maps(run).eval(), (example,), dynamo=True, verbose=False, input_names=["images"], output_names=names,
            dynamic_shapes=({0: any_size, 2: any_size, 3: any_size},), opset_version=OPSET, optimize=False,
        )  # fmt: skip
    assert program is not None
    weights = set(run.state_dict())
    model = program.model_proto
    program.optimize()
    if not graph_only or _weights_in(model, weights) == _weights_in(program.model_proto, weights):
        model = program.model_proto  # else a step would hold values made from weights
    _tidy(model, network, _folds(network, run) if graph_only else {})
    if graph_only:
        _take_weights_out(model, weights)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _folds(network: nn.Module, run: nn.Module) -> dict[str, Any]:
    """Return the normalisations that convolutions of the folded network `run` include, as fold_weights takes them."""
    norms = {id(tensor): name.rpartition(".")[0] for name, tensor in network.named_buffers()}
    folds = {}
    for name, conv in run.named_modules():
        if isinstance(conv, FoldedConv):
            kernel = network.get_parameter(f"{name}.weight")
            zeros = []
            for axis in (2, 3):  # zeros on one side of the kernel make unequal padding equal
                n = conv.weight.shape[axis] - kernel.shape[axis]
                is_before = not conv.weight.narrow(axis, 0, n).any()
                zeros.append((n, 0) if is_before else (0, n))
            folds[name] = norms[id(conv.norm.running_mean)], conv.norm.eps, zeros
    return folds


def _tidy(model: Any, network: TorchNetwork, folds: dict[str, Any]) -> None:
    """Name the dimensions, add what readers need to know as metadata, and remove source locations of the steps."""
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
    facts |= {FOLDS_KEY: json.dumps(folds)} if folds else {}
    with contextlib.suppress(InputError):  # networks that need the whole image have no window
        margin, multiple = network.window()
        facts |= {"margin": str(margin), "multiple": str(multiple)}
    for key, text in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text


def _weights_in(model: Any, names: set[str]) -> set[str]:
    return {weight.name for weight in model.graph.initializer if weight.name.removeprefix(PREFIX) in names}


def _take_weights_out(model: Any, names: set[str]) -> None:
    from onnx import TensorProto

    for weight in model.graph.initializer:
        if weight.name.removeprefix(PREFIX) in names:
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            entry = weight.external_data.add()
            entry.key, entry.value = "location", LOCATION
