"""Open data sets of objects and parts by their names on the command line."""

import os
from collections.abc import Callable
from functools import partial

from supercuts.core.checks import check_choice
from supercuts.core.errors import InputError
from supercuts.datasets.annotations import AnnotatedSequence, ObjectMasks, ObjectTruth, PartTruth
from supercuts.datasets.coco import COCO20k, CocoParts
from supercuts.datasets.cub_ccp import CCP, CUBObjects, CUBParts
from supercuts.datasets.voc import VOC

Root = str | os.PathLike[str]
OBJECTS: dict[str, Callable[[Root], AnnotatedSequence[ObjectTruth]]] = {
    "ecssd": partial(ObjectMasks, dataset="ecssd"),
    "duts": partial(ObjectMasks, dataset="duts"),
    "omron": partial(ObjectMasks, dataset="omron"),
    "voc07": partial(VOC, year=2007),
    "voc12": partial(VOC, year=2012),
    "coco20k": COCO20k,
    "cub": CUBObjects,
}
PARTS: dict[str, Callable[[Root], AnnotatedSequence[PartTruth]]] = {
    "ccp": CCP,
    "carparts": partial(CocoParts, dataset="carparts"),
    "cub": CUBParts,
    "coco": CocoParts,
}


def open_objects(name: str, root: Root, no_hard: bool = False) -> AnnotatedSequence[ObjectTruth]:
    """Return a data set of objects.

    Parameters
    ----------
    name
        "ecssd", "duts", "omron", "voc07", "voc12", "coco20k" or "cub".
    root
        Folder that holds the data set.
    no_hard
        Whether to omit difficult and truncated objects, which only VOC marks.

    Returns
    -------
    AnnotatedSequence of ObjectTruth
        Images with their masks or boxes.

    Raises
    ------
    InputError
        If the name is unknown, or if `no_hard` is given for another data set than VOC.
    FileFormatError
        If the folder does not hold the data set.

    Examples
    --------
    >>> open_objects("ecsdd", "data")
    Traceback (most recent call last):
    supercuts.core.errors.InputError: dataset='ecsdd' is unknown. Choose one of: ecssd, duts, omron, voc07, ...
    """
    check_choice("dataset", name, OBJECTS)
    if not no_hard:
        return OBJECTS[name](root)
    if not name.startswith("voc"):
        raise InputError(f"no_hard with {name}: only VOC marks difficult and truncated objects. Leave it out.")
    return VOC(root, year=2007 if name == "voc07" else 2012, no_hard=True)


def open_parts(name: str, root: Root) -> AnnotatedSequence[PartTruth]:
    """Return a data set of parts.

    Parameters
    ----------
    name
        "ccp", "carparts", "cub" or "coco".
    root
        Folder that holds the data set.

    Returns
    -------
    AnnotatedSequence of PartTruth
        Images with their parts or keypoints.

    Raises
    ------
    InputError, FileFormatError
        As in `open_objects`.

    Examples
    --------
    >>> open_parts("cars", "data")
    Traceback (most recent call last):
    supercuts.core.errors.InputError: dataset='cars' is unknown. Choose one of: ccp, carparts, cub, coco.
    """
    check_choice("dataset", name, PARTS)
    return PARTS[name](root)
