"""Write the ultrametric contour map to a file.

In   a hierarchy, a path ending in .npy or .mat
Out  (2H+1, 2W+1): .npy float32; .mat float64 under the key ucm2, as the BSDS benchmark reads it
Not  no drawing: the map comes from hierarchy/saliency.py
"""

import io
import os
from pathlib import Path

import numpy as np
import scipy.io

from supercuts.core.checks import check_choice
from supercuts.core.files import atomic_path
from supercuts.hierarchy.tree import Hierarchy


def write(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write the contour map in the format that the suffix names."""
    suffix = Path(path).suffix
    check_choice("suffix of a contour map file", suffix, (".npy", ".mat"))
    contours = hierarchy.ucm()
    with atomic_path(path) as temporary:
        if suffix == ".npy":
            buffer = io.BytesIO()  # numpy itself counts the bytes that a full disk does not take, but does not say why
            np.save(buffer, contours, allow_pickle=False)
            temporary.write_bytes(buffer.getbuffer())
        else:
            scipy.io.savemat(temporary, {"ucm2": contours.astype(np.float64)}, do_compression=True)
