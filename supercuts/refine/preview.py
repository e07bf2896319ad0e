"""Show how labels form: a picture for every few steps, and all of them as one moving picture.

In   Steps of a fit
Out  FOLDER/NNNNN.png, FOLDER/live.png (the last one), FOLDER.gif
Not  no window
"""

from pathlib import Path

import numpy as np
from PIL import Image

from supercuts.core.checks import check_in_range
from supercuts.core.files import atomic_path
from supercuts.images.draw import random_colors
from supercuts.images.io import write_png
from supercuts.refine.fit import Step

_FRAME_MS = 120
_MOST_FRAMES = 400  # of the moving picture, which is held in memory


class Preview:
    """Writes a picture of every `every`-th step; call it with each step, then finish."""

    def __init__(self, folder: Path, every: int = 10) -> None:
        """Take the folder, which is created."""
        check_in_range("every", every, 1, np.inf, remedy="Show each step by 1.")
        self.folder, self.every = folder, every
        self._frames: list[Path] = []

    def __call__(self, step: Step) -> None:
        """Write the step's labels, if it is one of those."""
        if step.number % self.every:
            return
        picture, path = random_colors(step.labels), self.folder / f"{step.number:05d}.png"
        write_png(path, picture)
        write_png(self.folder / "live.png", picture)
        self._frames.append(path)

    def finish(self) -> Path | None:
        """Write the moving picture and return its path; None without a step."""
        if not self._frames:
            return None
        chosen = np.unique(np.linspace(0, len(self._frames) - 1, _MOST_FRAMES).round().astype(int))
        frames = []
        for i in chosen:
            with Image.open(self._frames[i]) as frame:
                frames.append(frame.convert("P", palette=Image.Palette.ADAPTIVE))
        path = self.folder.with_suffix(".gif")
        with atomic_path(path) as temporary:
            frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=_FRAME_MS, loop=0)
        return path
