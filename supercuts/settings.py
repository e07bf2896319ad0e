"""Every setting of the pipeline, stage by stage, and their defaults for each kind of network.

In   values of a config file or of Python
Out  PipelineConfig, validated
Not  no stage is run, nothing is read
"""

from pydantic import PositiveInt

from supercuts.merging.agglomerative import LinkageConfig
from supercuts.merging.registry import MergingConfig
from supercuts.networks.network import Network, ViewsConfig
from supercuts.superpixels.leaves import LeavesConfig


class PipelineConfig(LeavesConfig, frozen=True, extra="forbid"):
    """Everything that decides a hierarchy besides the weights."""

    superpixels: PositiveInt = 600  # leaves when the caller does not say
    views: ViewsConfig = ViewsConfig()
    merging: MergingConfig = MergingConfig()  # from the leaves to the root


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
