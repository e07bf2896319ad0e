"""Settings of the pipeline with their defaults for each kind of network, and the bundle of a network's calibration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from supercuts.core.errors import InputError
from supercuts.merging.affinity import Affinity, Perceptrons
from supercuts.merging.agglomerative import LinkageConfig
from supercuts.merging.mergers import MergingConfig
from supercuts.networks.network import Network, ViewsConfig
from supercuts.superpixels.leaves import LeavesConfig

if TYPE_CHECKING:
    from torch import nn

    GNN = nn.Module
else:
    GNN = Any  # naming it would import torch, which the engine "onnx" does without


class PipelineConfig(LeavesConfig, frozen=True, extra="forbid"):
    """Everything that decides a hierarchy besides the weights."""

    superpixels: PositiveInt = 600  # leaves when the caller does not say
    views: ViewsConfig = ViewsConfig()
    merging: MergingConfig = MergingConfig()  # from the leaves to the root


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A network and what was calibrated for it.

    network        None: colour and position alone (SSN_pix)
    levels         altitudes of the named levels
    affinity       predicts the probability that annotators separate two regions
    gnn            an EdgeGNN, which predicts it for all pairs of regions at once
    figure_ground  predicts the probability that a region is figure
    """

    network: Network | None
    levels: Mapping[str, float] = field(default_factory=dict)
    affinity: Affinity | None = None
    gnn: GNN | None = None
    figure_ground: Perceptrons | None = None


# without a network the boundary map is empty: regions are told apart by colour
_BY_COLOR = LinkageConfig(boundary=0.0, color=1.0)
PIXEL_CONFIG = PipelineConfig(leaves=_BY_COLOR, merging=MergingConfig(linkage=_BY_COLOR))
# nor has the original SSN_DINO one; its embedding counts as it does in SSN, beside 0.26 Lab (colour is Lab / 100)
_BY_EMBEDDING = LinkageConfig(boundary=0.0, color=1.0, embedding=1 / 26)
ORIGINAL_CONFIG = PipelineConfig(leaves=_BY_EMBEDDING, merging=MergingConfig(linkage=_BY_EMBEDDING))
# a network that tells classes apart (selftaught/learned.py): two that no pixel shares are 7 apart; colour decides ties
_BY_CLASS = LinkageConfig(boundary=0.5, color=0.1, embedding=0.5 / 7)
CLASS_CONFIG = PipelineConfig(
    leaves=_BY_CLASS.model_copy(update={"color": 1.0, "small_exponent": 0.8, "small_area": 0.01}),
    merging=MergingConfig(linkage=_BY_CLASS.model_copy(update={"small_exponent": 0.3, "small_area": 0.005})),
)


def default_config(network: Network | None) -> PipelineConfig:
    """Return the settings for a network: those for colours and embeddings alone if it has no boundary map."""
    if network is None:
        return PIXEL_CONFIG
    return PipelineConfig() if network.has_boundary else ORIGINAL_CONFIG


# bands that the network does not see show in the colour alone, which has to count
_WITH_BANDS = LinkageConfig(boundary=1.0, color=1.0, small_exponent=0.3, small_area=0.005)


def adapted_to_bands(learned: Learned, config: PipelineConfig, n_bands: int) -> tuple[Learned, PipelineConfig]:
    """Return what regions merge by, for images with n_bands bands that the network does not see.

    Those count as colour, beside the boundaries. What was learned has never met them, and there are no levels.
    """
    if n_bands == 0:
        return learned, config
    if config.merging.method == "gnn":
        raise InputError('merging="gnn" was learned without these bands: leave them out, or use agglomerative.')
    merging = config.merging.model_copy(update={"linkage": _WITH_BANDS})
    return Learned(learned.network, {}), config.model_copy(update={"merging": merging})
