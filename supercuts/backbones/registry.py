"""The backbones by name.

In   a name and the backbone's own arguments
Out  a Backbone with random weights
Not  no weights are read or downloaded here
"""

from collections.abc import Callable

from supercuts.backbones.base import Backbone
from supercuts.backbones.compact_cnn import CompactCNN
from supercuts.core.checks import check_choice

BACKBONES: dict[str, Callable[..., Backbone]] = {"compact": CompactCNN}


def make_backbone(name: str, **arguments: object) -> Backbone:
    """Return a new backbone, for example `make_backbone("compact", stem_channels=8)`."""
    check_choice("backbone", name, BACKBONES)
    return BACKBONES[name](**arguments)
