"""Small perceptrons that turn features into a probability.

In   features (S, F), weights as plain arrays
Out  Perceptrons; the probability (S,) they give
Not  no learning (training/affinity.py), no features
"""

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, Float64

from supercuts.core.errors import FileFormatError, InputError
from supercuts.merging._kernels import affinity as _kernels_affinity

_Kind = TypeVar("_Kind", bound="Perceptrons")


@dataclass(frozen=True, slots=True, eq=False)
class Perceptrons:
    """M perceptrons of two hidden layers, of whose mean logit the probability is made.

    mean, scale  (F,) float32            features are (x - mean) * scale
    first        (M, F + 1, H) float32   weights; the last row holds the biases, here and below
    second       (M, H + 1, H) float32
    last         (M, H + 1) float32
    """

    mean: Float32[np.ndarray, " features"]
    scale: Float32[np.ndarray, " features"]
    first: Float32[np.ndarray, "members features_and_bias hidden"]
    second: Float32[np.ndarray, "members hidden_and_bias hidden"]
    last: Float32[np.ndarray, "members hidden_and_bias"]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by name; from_arrays takes them back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls: type[_Kind], arrays: dict[str, np.ndarray]) -> _Kind:
        """Return the perceptrons of arrays(); FileFormatError if they are not of such."""
        names = [field.name for field in fields(cls)]
        if sorted(arrays) != sorted(names):
            raise FileFormatError(f"perceptrons have the arrays {', '.join(names)}, not {', '.join(arrays) or 'none'}.")
        n_axes = {"mean": 1, "scale": 1, "first": 3, "second": 3, "last": 2}
        if any(arrays[name].ndim != n_axes[name] or arrays[name].dtype.kind != "f" for name in names):
            shapes = {name: (arrays[name].shape, str(arrays[name].dtype)) for name in names}
            raise FileFormatError(f"the arrays of perceptrons are {shapes}, expected floats of the axes {n_axes}.")
        taken = {name: np.ascontiguousarray(arrays[name], np.float32) for name in names}
        (n_features,), (members, width) = taken["mean"].shape, taken["last"].shape
        width -= 1
        expected = ((n_features,), (members, n_features + 1, width), (members, width + 1, width))
        found = tuple(taken[name].shape for name in ("scale", "first", "second"))
        if found != expected:
            raise FileFormatError(f"the arrays of perceptrons do not fit each other: {found}, expected {expected}.")
        return cls(**taken)

    def check_features(self, n_features: int) -> None:
        """Refuse features of another number than was learned on."""
        if self.mean.size != n_features:
            raise InputError(
                f"the perceptrons were learned on {self.mean.size} features, but there are {n_features}. Use them with "
                "the network that they were learned with, or learn them again (supercuts calibrate)."
            )

    def probability(self, features: Float32[np.ndarray, "samples features"]) -> Float64[np.ndarray, " samples"]:
        """Return the probability, 0..1, of each row of features."""
        self.check_features(features.shape[1])
        probabilities: np.ndarray = _kernels_affinity.separate_edges(features, tuple(self.arrays().values()))
        return probabilities
