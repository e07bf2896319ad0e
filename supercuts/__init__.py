"""SuperCuts turns an image into a hierarchy of superpixels that can be cut at any granularity."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supercuts.core.errors import (
        ConfigError,
        ConstraintError,
        FileFormatError,
        ImageError,
        InputError,
        MissingDependencyError,
        SuperCutsError,
    )
    from supercuts.export.npz import read
    from supercuts.export.sam import SuperCutsMaskGenerator
    from supercuts.export.sam_predictor import SuperCutsPredictor
    from supercuts.graph.rag import RegionGraph
    from supercuts.hierarchy.tree import Hierarchy
    from supercuts.images.io import read_image
    from supercuts.merging.priors import PriorReport, report_priors
    from supercuts.merging.spectral import spectral_clusters
    from supercuts.model import Model, load, segment
    from supercuts.superpixels.cluster import Superpixels

    __version__: str

__all__ = [
    "ConfigError",
    "ConstraintError",
    "FileFormatError",
    "Hierarchy",
    "ImageError",
    "InputError",
    "MissingDependencyError",
    "Model",
    "PriorReport",
    "RegionGraph",
    "SuperCutsError",
    "SuperCutsMaskGenerator",
    "SuperCutsPredictor",
    "Superpixels",
    "load",
    "read",
    "read_image",
    "report_priors",
    "segment",
    "spectral_clusters",
]

_HOME = {
    "load": "supercuts.model",
    "segment": "supercuts.model",
    "Model": "supercuts.model",
    "read": "supercuts.export.npz",
    "SuperCutsMaskGenerator": "supercuts.export.sam",
    "SuperCutsPredictor": "supercuts.export.sam_predictor",
    "read_image": "supercuts.images.io",
    "report_priors": "supercuts.merging.priors",
    "PriorReport": "supercuts.merging.priors",
    "spectral_clusters": "supercuts.merging.spectral",
    "Hierarchy": "supercuts.hierarchy.tree",
    "RegionGraph": "supercuts.graph.rag",
    "Superpixels": "supercuts.superpixels.cluster",
    "SuperCutsError": "supercuts.core.errors",
    "InputError": "supercuts.core.errors",
    "ConstraintError": "supercuts.core.errors",
    "ImageError": "supercuts.core.errors",
    "FileFormatError": "supercuts.core.errors",
    "ConfigError": "supercuts.core.errors",
    "MissingDependencyError": "supercuts.core.errors",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("supercuts.core.files").package_version()
    if name not in _HOME:
        raise AttributeError(f"supercuts has no {name!r}; public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
