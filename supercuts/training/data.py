"""The images of a run.

In   DataConfig and the part of the data: what is trained on, or what judges it
Out  a data set: a sequence of Samples that has been checked
Not  no decoding of images, no crops (samples.py)
"""

from collections.abc import Sequence

from supercuts.datasets.base import Sample, data_root
from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.label_folder import LabelFolder
from supercuts.training.config import DataConfig


def make_dataset(config: DataConfig, split: str) -> Sequence[Sample]:
    """Return one split of the data that the configuration names, once it is known to be complete."""
    samples: BSDS500 | LabelFolder
    if config.folder is not None:
        samples = LabelFolder(config.folder, split, config.val_fraction)
    else:
        samples = BSDS500(data_root(config.root), split)
    samples.check()
    return samples


def training_samples(config: DataConfig) -> Sequence[Sample]:
    """Return the images to train on; FileFormatError names those whose annotations are missing."""
    return make_dataset(config, config.split)


def validation_samples(config: DataConfig) -> Sequence[Sample]:
    """Return the images that judge a run on the train split; none when it trains on them."""
    return make_dataset(config, "val") if config.split == "train" else ()
