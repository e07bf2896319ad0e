"""A network and all that was learned for it, in one bundle.

In   networks; what `supercuts calibrate` learned
Out  Learned
Not  no files, no settings
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from supercuts.merging.affinity import Affinity
from supercuts.merging.perceptrons import Perceptrons
from supercuts.networks.network import Network

if TYPE_CHECKING:
    from torch import nn

    GNN = nn.Module
else:
    GNN = Any  # naming it would import torch, which the engine "onnx" does without


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What segments images.

    network        None: colour and position alone (SSN_pix)
    levels         altitudes of the named levels
    affinity       how probable it is that people separate two regions
    gnn            an EdgeGNN, which says the same of all regions at once
    figure_ground  how probable it is that a region is figure
    """

    network: Network | None
    levels: Mapping[str, float] = field(default_factory=dict)
    affinity: Affinity | None = None
    gnn: GNN | None = None
    figure_ground: Perceptrons | None = None
