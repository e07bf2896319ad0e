import dataclasses
import hashlib
import json

import pytest

from supercuts.batch.task import Result, Settings, Task


@pytest.mark.parametrize("data", [None, b"", bytes(range(256))])
def test_tasks_and_results_survive_their_lines(data):
    task = Task(3, "ä\n.png", "in/a", "abc", data)
    assert Task.from_line(task.to_line()) == task
    assert "\n" not in task.to_line()
    result = Result(3, "failed", "abc", "f", {".npz": "out/a.npz"}, "OSError", "two\nlines \udcff", 0.5, ("a", "b"))
    assert Result.from_line(result.to_line()) == result
    assert "\n" not in result.to_line()


def test_every_setting_changes_the_fingerprint():
    changed = {
        "superpixels": 7, "merging": "spectral", "views": "many", "formats": ("svg",), "overlays": True,
        "mask": "m", "bands": (3, 2, 1), "axes": "CHW", "page": 2, "stretch": "none",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(Settings)} == {"model", *changed}
    prints = {Settings(**{name: value}).fingerprint("w", 1) for name, value in changed.items()}
    prints |= {Settings().fingerprint(*arguments) for arguments in (("w", 1), ("v", 1), ("w", 2))}
    assert len(prints) == len(changed) + 3
    # the weights count, not what their file is called
    assert Settings(model="a.safetensors").fingerprint("w", 1) == Settings(model="b.safetensors").fingerprint("w", 1)


def test_options_of_reading_that_are_not_given_leave_earlier_fingerprints():
    given = {"superpixels": 9, "merging": None, "views": None, "formats": ["svg"], "overlays": False}
    earlier = given | {"model": "w", "format_version": 1}
    expected = hashlib.sha256(json.dumps(earlier, sort_keys=True).encode()).hexdigest()
    assert Settings(superpixels=9, formats=("svg",)).fingerprint("w", 1) == expected
