import struct

import numpy as np
import pytest
import tifffile

from supercuts.core.errors import FileFormatError, ImageError
from supercuts.images import tiff_pages
from supercuts.images.array_files import read_variables
from supercuts.images.bands import read_bands
from supercuts.images.tiff_pages import check_pages


def write(path, n_pages, **options):
    with tifffile.TiffWriter(path, **options) as tiff:
        for _ in range(n_pages):
            tiff.write(np.zeros((4, 5), np.uint8), contiguous=False)
    return path


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}], ids=str)
def test_pages_are_counted_in_every_kind_of_file(tmp_path, monkeypatch, options):
    path = write(tmp_path / "a.tif", 3, **options)
    check_pages(path)
    monkeypatch.setattr(tiff_pages, "MAX_PAGES", 3)
    check_pages(path)
    monkeypatch.setattr(tiff_pages, "MAX_PAGES", 2)
    with pytest.raises(ValueError, match="are more than 2"):
        check_pages(path)


@pytest.mark.timeout(30)
def test_pages_that_come_round_again_are_refused_by_the_readers(tmp_path):
    path = write(tmp_path / "a.tif", 1)
    content = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", content, 4)[0]
    n_tags = struct.unpack_from("<H", content, start)[0]
    end = len(content) + len(content) % 2
    struct.pack_into("<I", content, start + 2 + 12 * n_tags, end)
    # a page without tags that is its own next one: tifffile counts such pages for ever
    path.write_bytes(bytes(content).ljust(end, b"\0") + struct.pack("<HI", 0, end))
    with pytest.raises(FileFormatError, match="come round again"):
        read_variables(path)
    with pytest.raises(ImageError, match="come round again"):
        read_bands(path)


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"no TIFF at all, but longer", b"II*\0\xff\xff\xff\xff" + bytes(20)]
)
def test_what_is_no_tiff_or_cut_off_is_left_to_the_reader(tmp_path, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    check_pages(path)
