"""Pipeline settings with defaults for each kind of network, and the bundle of a network with its calibration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from supercuts.core.errors import InputError
from supercuts.merging.affinity import Affinity, Perceptrons
from supercuts.merging.agglomerative import LinkageConfig
from supercuts.merging.mergers import MergingConfig
from supercuts.networks.network import Network, ViewsConfig
from supercuts.superpixels.cluster import ClusterConfig, SmoothConfig
from supercuts.superpixels.leaves import LeavesConfig

if TYPE_CHECKING:
    from torch import nn

    GNN = nn.Module
else:
    GNN = Any  # naming the type would import torch, which the engine "onnx" does not need


class PipelineConfig(LeavesConfig, frozen=True, extra="forbid"):
    """All settings that determine a hierarchy, besides the weights."""

    superpixels: PositiveInt = 600  # number of leaves if the caller gives none
    views: ViewsConfig = ViewsConfig()
    merging: MergingConfig = MergingConfig()  # how leaves merge up to the root


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A network and its calibration.

    network        if None, SSN_pix, which uses only colour and position
    levels         altitudes of the named levels
    affinity       predicts the probability that annotators separate two regions
    gnn            EdgeGNN that predicts this probability for all edges together
    figure_ground  predicts the probability that a region is figure
    """

    network: Network | None
    levels: Mapping[str, float] = field(default_factory=dict)
    affinity: Affinity | None = None
    gnn: GNN | None = None
    figure_ground: Perceptrons | None = None


# superpixels that merge by hand-made distances
_BY_HAND = PipelineConfig(
    oversampling=3.0,
    cluster=ClusterConfig(iterations=5, coarse_iterations=0, core_boundary=0.85, core_weight=0.7),
    smooth=SmoothConfig(color=0.0012, embedding=0.02, boundary_power=1.0, diagonal=0.7),
)
# without a network the boundary map is empty, so regions are compared by colour
_BY_COLOR = LinkageConfig(boundary=0.0, color=1.0)
PIXEL_CONFIG = _BY_HAND.model_copy(update={"leaves": _BY_COLOR, "merging": MergingConfig(linkage=_BY_COLOR)})
# the original SSN_DINO has no boundary map either; as in SSN, its embedding has weight 1 next to 0.26 Lab, which is
# 1/26 here because colour is Lab / 100 with weight 1
_BY_EMBEDDING = LinkageConfig(boundary=0.0, color=1.0, embedding=1 / 26)
ORIGINAL_CONFIG = _BY_HAND.model_copy(update={"leaves": _BY_EMBEDDING, "merging": MergingConfig(linkage=_BY_EMBEDDING)})
# a network that predicts classes (selftaught/learned.py): embeddings of two classes without common pixels differ by 7;
# colour decides ties
_BY_CLASS = LinkageConfig(boundary=0.5, color=0.1, embedding=0.5 / 7)
CLASS_CONFIG = _BY_HAND.model_copy(
    update={
        "leaves": _BY_CLASS.model_copy(update={"color": 1.0, "small_exponent": 0.8, "small_area": 0.01}),
        "merging": MergingConfig(linkage=_BY_CLASS.model_copy(update={"small_exponent": 0.3, "small_area": 0.005})),
    }
)


def default_config(network: Network | None) -> PipelineConfig:
    """Return the default settings for a network; without a boundary map, they use only colours and embeddings."""
    if network is None:
        return PIXEL_CONFIG
    return PipelineConfig() if network.has_boundary else ORIGINAL_CONFIG


# bands that are not network input only enter the colour, so colour needs a high weight
_WITH_BANDS = LinkageConfig(boundary=1.0, color=1.0, small_exponent=0.3, small_area=0.005)


def adapted_to_bands(learned: Learned, config: PipelineConfig, n_bands: int) -> tuple[Learned, PipelineConfig]:
    """Adapt the calibration and settings to images with n_bands bands that are not input of the network.

    These bands count as colour, in addition to the boundaries. The learned affinity was trained without them, so it is
    dropped, and so are the levels.
    """
    if n_bands == 0:
        return learned, config
    if config.merging.method == "gnn":
        raise InputError('merging="gnn" was learned without these bands: leave them out, or use agglomerative.')
    merging = config.merging.model_copy(update={"linkage": _WITH_BANDS})
    return Learned(learned.network, {}), config.model_copy(update={"merging": merging})
