"""Where data sets lie.

In   an explicit folder or the environment variable SUPERCUTS_DATA
Out  the data root as a Path
Not  no check of what the folder holds (each data set does that)
"""

import os
from pathlib import Path


def data_root(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return `folder`, else $SUPERCUTS_DATA, else ./data."""
    return Path(folder or os.environ.get("SUPERCUTS_DATA") or "data")
