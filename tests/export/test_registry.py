import importlib

import pytest

from supercuts.core.errors import InputError
from supercuts.export import npz, registry


@pytest.mark.parametrize("module", registry.WRITERS.values())
def test_every_writer_can_be_called(module):
    assert callable(importlib.import_module(module).write)


def test_export_dispatches_by_name(small, tmp_path):
    registry.export(tmp_path / "h.npz", small, "npz")
    assert npz.read(tmp_path / "h.npz").n_leaves == 3


def test_an_unknown_format_lists_the_known_ones(small, tmp_path):
    with pytest.raises(InputError, match=r"format='tiff' is unknown. Choose one of: npz, ucm, masks"):
        registry.export(tmp_path / "h.tiff", small, "tiff")
