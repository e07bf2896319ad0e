import numpy as np
import pytest
from PIL import Image

from supercuts.core.errors import InputError
from supercuts.refine.fit import Step
from supercuts.refine.objective import Terms
from supercuts.refine.preview import Preview


def step(number):
    return Step(number, 9, 1.0, 2, Terms(1, 0, 0, 0, 0), np.full((4, 6), number, np.int32))


def test_every_second_step_is_drawn_and_all_move(tmp_path):
    preview = Preview(tmp_path / "x_steps", 2)
    for number in range(5):
        preview(step(number))
    names = sorted(path.name for path in (tmp_path / "x_steps").iterdir())
    assert names == ["00000.png", "00002.png", "00004.png", "live.png"]
    with Image.open(preview.finish()) as moving:
        assert moving.n_frames == 3
        assert moving.size == (6, 4)


def test_without_steps_there_is_nothing(tmp_path):
    assert Preview(tmp_path / "x", 1).finish() is None
    with pytest.raises(InputError, match="Show each step by 1"):
        Preview(tmp_path, 0)
