"""ECSSD, DUTS-TE and DUT-OMRON: photographs with one mask of their salient objects each.

In   a folder in one of the layouts in which these sets are handed round
Out  samples in the order of their names, with an ObjectTruth of one mask
Not  no download, no boxes: a mask may be of several objects, so CorLoc is not defined on these sets
"""

import os
from dataclasses import dataclass
from pathlib import Path

from supercuts.core.checks import check_choice
from supercuts.datasets.annotations import AnnotatedSample, AnnotatedSequence, ObjectTruth, read_mask
from supercuts.datasets.folders import find_layout, find_partner, list_images

_TITLES = {"ecssd": "ECSSD", "duts": "DUTS-TE", "omron": "DUT-OMRON"}
_LAYOUTS = {  # images, masks; the sets of TokenCut name them img and gt
    "ecssd": (
        ("ECSSD/images", "ECSSD/ground_truth_mask"),
        ("ECSSD-data/images/images", "ECSSD-data/ground_truth_mask/ground_truth_mask"),
        ("ECSSD-data/images", "ECSSD-data/ground_truth_mask"),
        ("ECSSD/img", "ECSSD/gt"),
        ("images/images", "ground_truth_mask/ground_truth_mask"),
        ("images", "ground_truth_mask"),
        ("img", "gt"),
    ),
    "duts": (
        ("DUTS/DUTS-TE/DUTS-TE-Image", "DUTS/DUTS-TE/DUTS-TE-Mask"),
        ("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),
        ("DUTS_Test/img", "DUTS_Test/gt"),
        ("DUTS-TE-Image", "DUTS-TE-Mask"),
        ("img", "gt"),
    ),
    "omron": (
        ("DUT-OMRON/DUT-OMRON-image/DUT-OMRON-image", "DUT-OMRON/pixelwiseGT-new-PNG/pixelwiseGT-new-PNG"),
        ("DUT-OMRON/DUT-OMRON-image", "DUT-OMRON/pixelwiseGT-new-PNG"),
        ("DUT_OMRON/img", "DUT_OMRON/gt"),
        ("DUT-OMRON-image", "pixelwiseGT-new-PNG"),
        ("img", "gt"),
    ),
}
_MASKS = (".png", ".bmp", ".jpg")


@dataclass(frozen=True)
class ObjectMasks(AnnotatedSequence[ObjectTruth]):
    """The samples of "ecssd", "duts" or "omron"; a pixel is object where its mask is above half of full scale.

    >>> data = ObjectMasks("data", "ecssd")                     # doctest: +SKIP
    >>> data[0].name, data[0].truth.mask.shape                  # doctest: +SKIP
    ('0001', (400, 300))
    """

    root: str | os.PathLike[str]
    dataset: str

    def __post_init__(self) -> None:
        check_choice("dataset", self.dataset, _LAYOUTS)
        expected = _expected(self.dataset)
        images, masks = find_layout(self.root, _LAYOUTS[self.dataset], _TITLES[self.dataset], expected)
        samples = tuple(
            AnnotatedSample(image.stem, image, find_partner(image, masks, _MASKS), read_object_mask)
            for image in list_images(images, expected)
        )
        object.__setattr__(self, "samples", samples)


def read_object_mask(path: Path) -> ObjectTruth:
    """Return the truth of one mask file; no object at all when no pixel is above half."""
    mask = read_mask(path)
    return ObjectTruth(mask[None] if mask.any() else mask[None][:0])


def _expected(dataset: str) -> str:
    rows = "\n".join(f"  ROOT/{images}/NAME.jpg  and  ROOT/{masks}/NAME.png" for images, masks in _LAYOUTS[dataset])
    return f"Expected one of\n{rows}"
