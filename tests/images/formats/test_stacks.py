import struct

import numpy as np
import pytest
import tifffile

from supercuts.core.errors import FileFormatError, ImageError, ImageWarning, InputError
from supercuts.images.formats import stacks
from supercuts.images.formats.array_files import read_variables
from supercuts.images.io import read_bands
from supercuts.images.raster import ReadOptions, read_raster, read_shape

H, W = 20, 30
SIZES = {"T": 2, "Z": 3, "C": 4, "Y": H, "X": W, "S": 3}


def write(path, n_pages, **options):
    with tifffile.TiffWriter(path, **options) as tiff:
        for _ in range(n_pages):
            tiff.write(np.zeros((4, 5), np.uint8), contiguous=False)
    return path


def some_stack(axes, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 255, [SIZES[axis] for axis in axes]).astype(dtype)


def plane_of(values, axes, **at):
    """Return (H, W, C) of the plane at these places, with numpy alone."""
    for axis in ("T", "Z"):
        if axis in axes:
            values, axes = values.take(at.get(axis, 0), axes.index(axis)), axes.replace(axis, "")
    values = np.moveaxis(values, axes.index("Y"), 0)
    axes = "Y" + axes.replace("Y", "")
    values = np.moveaxis(values, axes.index("X"), 1)
    return values.reshape(H, W, -1)


@pytest.mark.parametrize("kind", ["ome", "imagej", "tifffile"])
@pytest.mark.parametrize("axes", ["CYX", "TCYX", "ZCYX", "TZCYX", "ZYX", "TYX", "TZYX", "ZYXS"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "lzw"}], ids=str)
def test_axes_decide_channels_and_the_chosen_plane(tmp_path, kind, axes, dtype, options):
    if kind == "imagej" and ("S" in axes) != (dtype == "uint8" and "S" in axes):
        pytest.skip("ImageJ has RGB of 8 bits alone")
    values = some_stack(axes, dtype)
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    options |= {"imagej": True} if kind == "imagej" else {"ome": True} if kind == "ome" else {}
    photometric = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(path, values, photometric=photometric, metadata={"axes": axes}, **options)
    n_planes = int(np.prod([SIZES[axis] for axis in axes if axis in "TZ"]))
    if n_planes == 1:
        raster = read_raster(path)
    else:
        with pytest.warns(ImageWarning, match=rf"the first of {n_planes} is read\. page=2 \(--page 2\)"):
            raster = read_raster(path)
    np.testing.assert_array_equal(raster.values, plane_of(values, axes))
    assert raster.values.flags.c_contiguous
    for page in {n_planes, (n_planes + 1) // 2}:
        sizes = [SIZES[axis] for axis in axes if axis in "TZ"]
        names = [axis for axis in axes if axis in "TZ"]
        at = dict(zip(names, np.unravel_index(page - 1, sizes), strict=True)) if names else {}
        actual = read_raster(path, ReadOptions(page=page)).values
        np.testing.assert_array_equal(actual, plane_of(values, axes, **at))
    with pytest.raises(InputError, match=f"Give a number from 1 to {n_planes}"):
        read_raster(path, ReadOptions(page=n_planes + 1))


def test_channels_of_ome_and_imagej_are_bands(tmp_path):
    values = some_stack("CYX")
    for name, options in (("a.ome.tif", {}), ("a.tif", {"imagej": True})):
        tifffile.imwrite(tmp_path / name, values, metadata={"axes": "CYX"}, photometric="minisblack", **options)
        np.testing.assert_allclose(read_bands(tmp_path / name), np.moveaxis(values, 0, -1) / 65535, atol=1e-7)
        assert read_shape(tmp_path / name) == (H, W, 4)


def test_depths_of_lsm_files_are_counted_without_their_thumbnails(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (2, 3, H, W)).astype(np.uint16)
    info = np.zeros((), [(name, kind if kind[0] in "<>" else f"<{kind}") for name, kind in tifffile.TIFF.CZ_LSMINFO])
    sizes = {"DimensionX": W, "DimensionY": H, "DimensionZ": 2, "DimensionChannels": 3, "DimensionTime": 1}
    for name, value in {"MagicNumber": 67127628, "StructureSize": info.nbytes, "DataType": 2, **sizes}.items():
        info[name] = value
    with tifffile.TiffWriter(tmp_path / "a.lsm") as file:
        for depth in values:
            tag = (34412, 1, info.nbytes, info.tobytes(), True)
            file.write(depth, photometric="rgb", planarconfig="separate", metadata=None, extratags=[tag])
            file.write(depth[0, ::8, ::8], photometric="minisblack", subfiletype=1, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.lsm") as file:
        assert (file.is_lsm, file.series[0].axes) == (True, "ZCYX")
    for page in (1, 2):
        raster = read_raster(tmp_path / "a.lsm", ReadOptions(page=page))
        np.testing.assert_array_equal(raster.values, np.moveaxis(values[page - 1], 0, -1))
    with pytest.warns(ImageWarning, match="holds 2 depths; the first of 2 is read"):
        read_raster(tmp_path / "a.lsm")


def test_unnamed_pages_are_bands_only_on_request(tmp_path):
    pages = some_stack("CYX", "uint8")
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    with pytest.warns(ImageWarning, match=r"several pages; the first is read.*bands=\(1, 2, 3\)"):
        np.testing.assert_array_equal(read_raster(tmp_path / "a.tif").values[..., 0], pages[0])
    actual = read_raster(tmp_path / "a.tif", ReadOptions(as_bands=True)).values
    np.testing.assert_array_equal(actual, np.moveaxis(pages, 0, -1))


def test_pages_are_counted_over_all_images_without_thumbnails(tmp_path):
    values = some_stack("ZCYX")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        for image in (values, values[0, :, :9, :8] + 1):
            axes = {"axes": "ZCYX"[4 - image.ndim :]}
            tiff.write(image, metadata=axes, photometric="minisblack", contiguous=False)
    with pytest.warns(ImageWarning, match=r"holds 2 images and 3 depths; the first of 4 is read"):
        assert read_raster(tmp_path / "a.ome.tif").values.shape == (H, W, 4)
    last = read_raster(tmp_path / "a.ome.tif", ReadOptions(page=4)).values
    np.testing.assert_array_equal(last, np.moveaxis(values[0, :, :9, :8] + 1, 0, -1))
    with pytest.raises(InputError, match="has 4 planes"):
        read_raster(tmp_path / "a.ome.tif", ReadOptions(page=5))
    with tifffile.TiffWriter(tmp_path / "b.tif") as tiff:
        for kind, image in ((0, values[0, 0]), (1, values[0, 0, :7, :5]), (0, values[0, 1])):
            tiff.write(image, metadata=None, photometric="minisblack", subfiletype=kind)
    actual = read_raster(tmp_path / "b.tif", ReadOptions(as_bands=True)).values
    np.testing.assert_array_equal(actual, np.moveaxis(values[0, :2], 0, -1))


def test_neighbouring_files_are_not_opened(tmp_path):
    """An OME-TIFF names the files that hold its planes."""
    values = some_stack("CYX")
    tifffile.imwrite(tmp_path / "a.ome.tif", values + 1, metadata={"axes": "CYX"}, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        text = tiff.ome_metadata
    for index in range(4):
        place = f'<TiffData IFD="{index}" FirstC="{index}"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
        text = text.replace("<TiffData IFD=", place + "<TiffData IFD=", 1)
    tifffile.imwrite(tmp_path / "c.tif", values, description=text, metadata=None, photometric="minisblack")
    try:
        actual = read_raster(tmp_path / "c.tif").values
    except ImageError:
        return
    assert not np.isin(actual[0, 0] - 1, values[:, 0, 0]).all()


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}], ids=str)
def test_pages_are_counted_in_every_kind_of_file(tmp_path, monkeypatch, options):
    path = write(tmp_path / "a.tif", 3, **options)
    for limit, is_refused in ((3, False), (2, True)):
        monkeypatch.setattr(stacks, "MAX_PAGES", limit)
        with tifffile.TiffFile(path) as tiff:
            if is_refused:
                with pytest.raises(ValueError, match="are more than 2"):
                    stacks.check_pages(tiff)
            else:
                stacks.check_pages(tiff)


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
    with pytest.raises(FileFormatError, match="pages repeat"):
        read_variables(path)
    with pytest.raises(ImageError, match="pages repeat"):
        read_bands(path)


@pytest.mark.timeout(30)
def test_a_long_ring_of_pages_is_refused(tmp_path):
    """tifffile checks for repeated pages at the 100th page only."""
    path = write(tmp_path / "a.tif", 150)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        offsets = [page.offset for page in tiff.pages]
    n_tags = struct.unpack_from("<H", content, offsets[-1])[0]
    struct.pack_into("<I", content, offsets[-1] + 2 + 12 * n_tags, offsets[120])
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="pages repeat"):
        read_variables(path)
    with pytest.raises(ImageError, match="pages repeat"):
        read_bands(path)


def write_metamorph(path, values, distance):
    """Write an .stk: one directory, after which all planes follow; the tags UIC count them."""
    n, height, width = values.shape
    per_plane = np.tile(np.array([distance, 1, 2_460_000, 0, 2_460_000, 0], "<u4"), (n, 1))
    extra = per_plane.tobytes() + np.tile(np.array([600, 1], "<u4"), n).tobytes() + bytes(8)
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: 2 * height * width}
    start = 8 + 2 + 12 * (len(tags) + 3) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, value or start + len(extra)) for tag, value in tags.items()]
    entries += [
        struct.pack("<HHII", 33628, 4, 1, start + 32 * n),
        struct.pack("<HHII", 33629, 5, n, start),
        struct.pack("<HHII", 33630, 5, n, start + 24 * n),
    ]
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    path.write_bytes(head + b"".join(entries) + bytes(4) + extra + values.astype("<u2").tobytes())
    return path


@pytest.mark.parametrize(("distance", "kind"), [(1, "depths"), (0, "pages")])
def test_stacks_of_metamorph_are_read_plane_by_plane(tmp_path, distance, kind):
    values = some_stack("ZYX")
    path = write_metamorph(tmp_path / "a.stk", values, distance)
    with pytest.warns(ImageWarning, match=rf"holds 3 {kind}; the first of 3 is read\. page=2 \(--page 2\)"):
        np.testing.assert_array_equal(read_raster(path).values[..., 0], values[0])
    np.testing.assert_array_equal(read_raster(path, ReadOptions(page=3)).values[..., 0], values[2])
    with pytest.raises(InputError, match=r"a\.stk has 3 planes. Give a number from 1 to 3"):
        read_raster(path, ReadOptions(page=4))
