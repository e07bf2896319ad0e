import numpy as np
import pytest

import supercuts
from supercuts.batch.outputs import ALSO, REGIONS, keyword_of, suffixes, write_outputs
from supercuts.core.errors import InputError
from supercuts.export.registry import FORMATS
from supercuts.hierarchy.tree import Hierarchy

NEEDS = {"coco": "pycocotools", "sam": "pycocotools", "ome-zarr": "zarr"}


@pytest.fixture
def quarters():
    """Return a hierarchy of four quarters without levels."""
    rows, columns = np.arange(24) >= 12, np.arange(32) >= 16
    return Hierarchy(
        labels=(rows[:, None] * 2 + columns).astype(np.int32),
        parents=np.array([4, 5, 4, 5, 6, 6, 6], np.int32),
        altitudes=np.array([0, 0, 0, 0, 0.25, 0.5, 0.75], np.float32),
        embeddings=np.zeros((4, 0), np.float32),
        image=np.full((24, 32, 3), 99, np.uint8),
        levels={"scene": 0.6, "object": 0.3, "part": 0.1},
    )


def test_every_format_has_a_name_of_its_own():
    assert {*ALSO, "npz"} == FORMATS.keys()
    assert len({*suffixes(ALSO, True)}) == len(ALSO) + 6
    assert suffixes(("svg",), False) == [".svg", ".npz"]
    with pytest.raises(InputError, match=r"--format='jpg' is unknown\. Choose one of: ucm"):
        suffixes(("jpg",), False)


@pytest.mark.parametrize("format", [name for name in ALSO if name not in ("geotiff", "gpkg")])
def test_a_format_is_what_the_hierarchy_exports(quarters, tmp_path, format):
    if format in NEEDS:
        pytest.importorskip(NEEDS[format])
    written = write_outputs(tmp_path / "out", "a", tmp_path / "a.png", quarters, [format])
    assert list(written) == [FORMATS[format].suffix, ".npz"], "the hierarchy comes last"
    np.testing.assert_array_equal(supercuts.read(written[".npz"]).labels, quarters.labels)
    file = written[FORMATS[format].suffix]
    suffix = "".join(file.suffixes)
    quarters.export(tmp_path / f"a{suffix}", format=format)
    if file.is_file() and format not in ("pyg", "pyg-levels", "ucm"):  # of these the bytes hold a date or a name
        assert file.read_bytes() == (tmp_path / f"a{suffix}").read_bytes()
    assert file.exists()


def test_pictures_are_those_of_the_views(quarters, tmp_path):
    counts = [int(quarters.cut(**keyword_of(quarters, level)).max()) + 1 for level in REGIONS]
    assert counts == [4, 3, 2]
    written = write_outputs(tmp_path / "out", "a", tmp_path / "a.png", quarters, [], True)
    assert list(written) == suffixes([], True)
    changed = (supercuts.read_image(written["_scene.png"]) != 99).any(axis=2)
    assert changed[:, 15:17].all()
    assert not changed[:, :10].any()
