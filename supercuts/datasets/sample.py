"""Interface of data sets: images with the paths of their human annotations."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, overload, runtime_checkable

import numpy as np


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset with its annotations, which are read on access.

    name         name, unique within the dataset
    image_path   the photograph
    truth_path   the annotation file
    read_truths  reads the segmentations from truth_path: (H, W) int32, regions numbered 0..R-1, one per annotator
    """

    name: str
    image_path: Path
    truth_path: Path
    read_truths: Callable[[Path], list[np.ndarray]]

    @property
    def truths(self) -> list[np.ndarray]:
        """The (H, W) int32 segmentations, read from disk at every access."""
        return self.read_truths(self.truth_path)


@runtime_checkable
class AnySample(Protocol):
    """Attributes of every kind of sample: a name that is unique in the dataset, the image and the annotation file."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def image_path(self) -> Path: ...  # noqa: D102
    @property
    def truth_path(self) -> Path: ...  # noqa: D102


_AnySample = TypeVar("_AnySample", bound=AnySample)


@dataclass(frozen=True)
class SampleSequence(Sequence[_AnySample]):
    """The samples of one split of a dataset, sorted by name; subclasses set `samples`."""

    samples: tuple[_AnySample, ...] = field(init=False, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> _AnySample: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_AnySample, ...]: ...
    def __getitem__(self, index: int | slice) -> _AnySample | tuple[_AnySample, ...]:
        return self.samples[index]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the samples, in the same order."""
        return tuple(sample.name for sample in self.samples)


def data_root(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return `folder`, else $SUPERCUTS_DATA, else ./data."""
    return Path(folder or os.environ.get("SUPERCUTS_DATA") or "data")
