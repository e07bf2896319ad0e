"""The value every dataset yields: one image and where its human annotations are.

In   names, paths and the function that reads an annotation file
Out  Sample
Not  no image decoding, no download, no cache
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset with its annotations, which are read when asked for.

    name         unique within the dataset
    image_path   the photograph
    truth_path   the annotation file
    read_truths  turns truth_path into segmentations: (H, W) int32, regions numbered 0..R-1, one per annotator
    """

    name: str
    image_path: Path
    truth_path: Path
    read_truths: Callable[[Path], list[np.ndarray]]

    @property
    def truths(self) -> list[np.ndarray]:
        """The (H, W) int32 segmentations, read from disk at every access."""
        return self.read_truths(self.truth_path)
