"""Segment photographs that nobody has segmented, as people might: to train a network on them.

In   images, a calibrated Model
Out  a folder that datasets.label_folder reads: each image with several label maps, as if of several people
Not  no training (TrainConfig's data.extra names such folders)

Self-training (Lee, "Pseudo-label", ICML workshop 2013; Xie et al., "Noisy student", CVPR 2020). The altitude of a merge
is the share of people who would separate the two regions. So cuts at altitudes that divide 0..1 evenly draw a border as
often as people would, and a network learns from them what merging knows and the boundary map alone does not.
"""

import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from supercuts.core.files import atomic_path
from supercuts.images.io import read_image, write_labels_png, write_png
from supercuts.pipeline import Model

ALTITUDES = (0.1, 0.3, 0.5, 0.7, 0.9)


def segment_for_training(
    image: str | os.PathLike[str], folder: str | os.PathLike[str], name: str, model: Model, longest_px: int
) -> bool:
    """Write FOLDER/images/NAME.png and FOLDER/labels/NAME/*.png; return False if they are there already.

    An image whose longer side is above `longest_px` is shrunk to it: a network knows the scale it was trained on.
    """
    photo, labels = Path(folder, "images", f"{name}.png"), Path(folder, "labels", name)
    if photo.is_file() and labels.is_dir():
        return False
    pixels = _shrink(Image.fromarray(read_image(image)), longest_px)
    h = model.segment(pixels)
    labels.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=labels.parent) as temporary:
        made = Path(temporary, "labels")
        made.mkdir()
        for altitude in ALTITUDES:
            write_labels_png(made / f"{altitude:.2f}.png", h.cut(altitude=altitude))
        shutil.rmtree(labels, ignore_errors=True)
        made.rename(labels)
    with atomic_path(photo) as path:  # last: whoever finds the image finds its labels
        write_png(path, read_image(pixels))
    return True


def _shrink(image: Image.Image, longest_px: int) -> Image.Image:
    scale = longest_px / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(round(scale * side), 1) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
