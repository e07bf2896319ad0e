from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import scipy.io
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from supercuts.core.errors import FileFormatError, InputError
from supercuts.evaluate.results import (
    FORMS,
    ContourMap,
    Segmentations,
    SoftMap,
    as_labels,
    as_strength,
    check_result_size,
    find_results,
    is_integral,
    read_hierarchy_result,
    read_labels,
    read_result_hierarchy,
)
from supercuts.hierarchy.tree import Hierarchy

NAMES = ("2018", "3063", "5096")
SHAPE = (2, 3)
IDS = np.array([[3, 3, 9], [300, 300, 3]], np.uint16)
LABELS = [[0, 0, 1], [2, 2, 0]]
UCM = np.zeros((5, 7))
UCM[:, 2], UCM[2, :] = 0.5, 0.25
SOFT = np.array([[0, 0.5, 1], [0.25, 0, 0]])
REFERENCE = "bsds_bench_reference"


@pytest.fixture
def as_installed():
    """Switch the annotations off, as outside the tests, to reach our own error messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def cell(*arrays):
    cells = np.empty((1, len(arrays)), object)
    for index, array in enumerate(arrays):
        cells[0, index] = array
    return cells


def write(path, content):
    """Write an array in the format of the suffix; a dict as variables of a .mat or .npz."""
    if path.suffix == ".mat":
        scipy.io.savemat(path, content if isinstance(content, dict) else {"x": content})
    elif path.suffix == ".npz":
        np.savez(path, **(content if isinstance(content, dict) else {"x": content}))
    elif path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".png":
        Image.fromarray(content).save(path)
    else:
        tifffile.imwrite(path, content, photometric="minisblack")  # a width of 3 would be read as colours
    return path


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


@pytest.fixture
def saved_tree(tmp_path):
    tree = Hierarchy(
        labels=np.array([[0, 0, 1], [2, 2, 2]], dtype=np.int32),
        parents=np.array([3, 3, 4, 4, 4], dtype=np.int32),
        altitudes=np.array([0, 0, 0, 0.25, 0.75], dtype=np.float32),
        embeddings=np.zeros((3, 0), dtype=np.float32),
    )
    tree.save(tmp_path / "tree.npz")
    return tmp_path / "tree.npz"


def stems(paths):
    return {name: path.name for name, path in paths.items()}


def test_files_called_like_their_images_are_found(tmp_path):
    touch(tmp_path, "2018.mat", "3063.PNG", "3063_overlay.png", "5096_overlay.png", "notes.txt", ".3063.mat")
    (tmp_path / "5096.npz").mkdir()
    actual = find_results(tmp_path, NAMES)
    assert stems(actual.files) == {"2018": "2018.mat", "3063": "3063.PNG"}
    assert actual.missing == ("5096",)
    assert [path.name for path in actual.unexpected] == ["3063_overlay.png", "5096_overlay.png"]
    assert actual.duplicates == {}
    assert list(actual.problems) == ["5096"]
    assert actual.problems["5096"] == (
        f"{tmp_path} has no file for image 5096. 5096_overlay.png has a similar name: if it is the result, call it "
        "5096.png."
    )


@pytest.mark.parametrize("kind", ["{}_ucm.mat", "{}seg.png", "img_{}.npy", "img{}_v2.tif", "val-{}.result.npz"])
def test_the_same_addition_for_several_images_is_found(tmp_path, kind):
    touch(tmp_path, *(kind.format(name) for name in NAMES[:2]), "stray.mat")
    actual = find_results(tmp_path, NAMES)
    assert stems(actual.files) == {name: kind.format(name) for name in NAMES[:2]}
    assert actual.missing == ("5096",)
    assert [path.name for path in actual.unexpected] == ["stray.mat"]
    assert "no file for image 5096. Name its result 5096.mat, .npy, .npz, .png or .tif" in actual.problems["5096"]


def test_an_addition_of_one_image_is_not_enough(tmp_path):
    touch(tmp_path, "2018_ucm.mat", "3063_seg.mat")
    with pytest.raises(InputError, match=r"no file belongs to any of the 3 images"):
        find_results(tmp_path, NAMES)
    assert stems(find_results(tmp_path, ["2018"]).files) == {"2018": "2018_ucm.mat"}


def test_names_within_longer_numbers_and_words_do_not_count(tmp_path):
    touch(tmp_path, "12018.mat", "13063.mat", "xcat.mat", "xdog.mat")
    with pytest.raises(InputError, match="no file belongs"):
        find_results(tmp_path, ["2018", "3063", "cat", "dog"])


def test_names_that_contain_each_other(tmp_path):
    names = ["img_1", "img_1_2", "img_3"]
    touch(tmp_path, "img_1_ucm.mat", "img_1_2_ucm.mat", "img_3_ucm.mat")
    assert stems(find_results(tmp_path, names).files) == {name: f"{name}_ucm.mat" for name in names}
    touch(tmp_path, "img_1_2.mat")
    actual = find_results(tmp_path, names)
    assert stems(actual.files) == {"img_1_2": "img_1_2.mat"}
    assert actual.missing == ("img_1", "img_3")


def test_images_with_several_files_are_errors(tmp_path):
    touch(tmp_path, "2018.mat", "2018.png", "3063.mat")
    actual = find_results(tmp_path, NAMES)
    assert stems(actual.files) == {"3063": "3063.mat"}
    assert [path.name for path in actual.duplicates["2018"]] == ["2018.mat", "2018.png"]
    assert actual.missing == ("5096",)
    assert actual.problems["2018"].endswith("has 2 files for image 2018: 2018.mat, 2018.png. Keep one of them.")


def test_a_rarer_addition_makes_duplicates(tmp_path):
    touch(tmp_path, *(f"{name}_a.mat" for name in NAMES), *(f"{name}_b.mat" for name in NAMES[:2]))
    actual = find_results(tmp_path, NAMES)
    assert stems(actual.files) == {"5096": "5096_a.mat"}
    assert [path.name for path in actual.duplicates["2018"]] == ["2018_a.mat", "2018_b.mat"]
    assert actual.unexpected == ()


def test_a_file_of_one_image_is_not_taken_for_another(tmp_path):
    """A version number may look like the name of an image: img_1_v2 is of image 1, not of 2."""
    names = ["1", "2", "3"]
    touch(tmp_path, *(f"img_{name}_v2.mat" for name in names), "img_1_v3.mat")
    actual = find_results(tmp_path, names)
    assert stems(actual.files) == {"1": "img_1_v2.mat", "2": "img_2_v2.mat"}
    assert [path.name for path in actual.duplicates["3"]] == ["img_3_v2.mat", "img_1_v3.mat"]  # mentioned, not used


def test_two_kinds_of_files_for_equally_many_images_are_refused(tmp_path):
    touch(tmp_path, "2018_ours.mat", "3063_ours.mat", "5096_base.mat", "6046_base.mat")
    with pytest.raises(InputError, match=r"NAME_(ours|base) and NAME_(base|ours) fit equally many images.*own"):
        find_results(tmp_path, [*NAMES, "6046"])


def test_upper_case_is_only_similar(tmp_path):
    touch(tmp_path, "cat.mat", "Dog.mat")
    actual = find_results(tmp_path, ["cat", "dog"])
    assert actual.missing == ("dog",)
    assert actual.similar == {"dog": tmp_path / "Dog.mat"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    names=st.sets(st.text("ab1_", min_size=1, max_size=3), min_size=1, max_size=4),
    files=st.sets(st.text("ab1_", min_size=1, max_size=5), max_size=6),
)
def test_every_name_and_file_is_accounted_for_once(tmp_path_factory, names, files):
    folder = tmp_path_factory.mktemp("found")
    touch(folder, *(f"{stem}.mat" for stem in files))
    try:
        actual = find_results(folder, sorted(names))
    except InputError:
        assert not names & files
        return
    assert sorted([*actual.files, *actual.missing, *actual.duplicates]) == sorted(names)
    used = [*actual.files.values(), *(path for paths in actual.duplicates.values() for path in paths)]
    assert sorted([*used, *actual.unexpected]) == sorted(folder.iterdir())
    assert actual.problems.keys() == {*actual.missing, *actual.duplicates}
    assert all(name in path.stem for name, path in actual.files.items())


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none cannot be listed \(No such file.* 2018.mat, 3063.mat, 5096.mat: check"):
        find_results(tmp_path / "none", NAMES)
    with pytest.raises(InputError, match=r"Expected 2018.mat, 3063.mat, 5096.mat; found nothing. Call each file like"):
        find_results(tmp_path, NAMES)
    touch(tmp_path, "a.mat", "b.txt", "d.mat")
    (tmp_path / "c").mkdir()
    expected = (
        r"any of the 4 images. Expected 2018.mat, 3063.mat, 5096.mat, ...; found a.mat, b.txt, c/, .... Call each"
    )
    with pytest.raises(InputError, match=expected):
        find_results(tmp_path, [*NAMES, "6046"])
    with pytest.raises(InputError, match=r"a.mat cannot be listed \(Not a directory"):
        find_results(tmp_path / "a.mat", NAMES)
    with pytest.raises(InputError, match="give the name of at least one"):
        find_results(tmp_path, [])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.png", IDS),
        ("a.tif", IDS),
        ("a.tiff", IDS.astype(np.int32)),
        ("a.npy", IDS.astype(np.float64)),
        ("a.npy", IDS.astype(">i8")),
        ("a.npz", IDS),
        ("a.npz", {"map": IDS, "n": np.array(3)}),
        ("a.mat", IDS),
        ("a.mat", {"L": IDS.astype(np.float64), "distance": SOFT, "n": 3, "ids": [[3, 9, 300]], "by": "them"}),
        ("a.mat", {"mask": IDS > 3, "superpixels": IDS}),
        ("a.mat", {"segs": cell(IDS)}),
    ],
)
def test_labels_are_read_from_every_format(tmp_path, file, content):
    labels = read_labels(write(tmp_path / file, content), SHAPE)
    assert labels.dtype == np.int32
    assert labels.tolist() == LABELS


@pytest.mark.parametrize("name", ["labels", "seg", "segs", "S", "superpixels", "Segmentation"])
def test_the_usual_names_are_known(tmp_path, name):
    assert read_labels(write(tmp_path / "a.mat", {"other": IDS + 1, name: IDS}), SHAPE).tolist() == LABELS


def test_labels_of_8_bit_and_palette_pngs(tmp_path):
    small = (IDS % 256).astype(np.uint8)  # 3 3 9 / 44 44 3
    image = Image.fromarray(small)
    image.save(tmp_path / "grey.png")
    image.putpalette([7] * 768)  # one colour: read as colours, the map would be one region
    image.save(tmp_path / "palette.png")
    for name in ("grey.png", "palette.png"):
        assert read_labels(tmp_path / name, SHAPE).tolist() == LABELS


def test_labels_of_a_hierarchy_are_its_leaves(saved_tree):
    assert read_labels(saved_tree, SHAPE).tolist() == [[0, 0, 1], [2, 2, 2]]
    with pytest.raises(FileFormatError, match=r"tree.npz is transposed: \(2, 3\). Expected \(3, 2\)"):
        read_labels(saved_tree, (3, 2))


@pytest.mark.parametrize("n_leaves", [1, 2])
def test_pixels_without_a_leaf_are_one_more_region_that_merges_last(tmp_path, n_leaves):
    labels = np.array([[0, n_leaves - 1, -1]], np.int32)
    parents = np.array([2, 2, 2] if n_leaves == 2 else [0], np.int32)
    altitudes = np.array([0, 0, 0.5] if n_leaves == 2 else [0], np.float32)
    h = Hierarchy(labels, parents, altitudes, np.ones((n_leaves, 1), np.float32))
    h.save(tmp_path / "a.npz")
    assert read_labels(tmp_path / "a.npz", (1, 3)).tolist() == [[0, n_leaves - 1, n_leaves]]
    whole = read_hierarchy_result(tmp_path / "a.npz", (1, 3))
    assert whole.cut(regions=2).tolist() == [[0, 0, 1]]
    assert whole.cut(altitude=0.5).tolist() == [[0, 0, 1]]
    assert whole.cut(regions=1).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.npy", IDS.T, r"a.npy is transposed: \(3, 2\). Expected \(2, 3\)"),
        ("a.mat", IDS.T, r"a.mat is transposed"),
        ("a.npy", np.zeros((4, 6), int), r"a.npy is \(4, 6\). Expected \(2, 3\) .rows, columns. of the image"),
        ("a.npy", IDS.astype(int) - 4, r"a.npy holds -1 at row 0, column 0"),
        ("a.npy", SOFT, r"a.npy holds 0.5 at row 0, column 1"),
        ("a.npy", np.full(SHAPE, np.nan), r"a.npy holds nan at row 0"),
        ("a.npy", np.zeros((2, 3, 3), int), r"a.npy holds array \(2, 3, 3\) int64. Expected one 2-D array of ids"),
        ("a.npy", np.array("text"), r"a.npy holds array \(\) <U4"),
        ("a.mat", {"a": IDS, "b": IDS}, r"a.mat holds a \(2, 3\) uint16, b \(2, 3\) uint16. Expected one .*save only"),
        ("a.mat", {"labels": IDS, "seg": IDS}, r"a.mat holds labels \(2, 3\) uint16, seg .*. Expected one 2-D array"),
        ("a.mat", {"segs": cell(IDS, IDS)}, r"a.mat holds segs \(1, 2\) cell. Expected one 2-D array of ids"),
        ("a.mat", {}, r"a.mat holds nothing. Expected one"),
        ("a.npz", {"a": IDS, "b": IDS}, r"a.npz holds a .*, b .*Expected one"),
        ("a.png", np.zeros((2, 3, 3), np.uint8), r"a.png is a PNG of mode RGB.*Save the map itself"),
    ],
)
def test_arrays_that_are_not_label_maps_are_refused(tmp_path, file, content, message):
    with pytest.raises(FileFormatError, match=message):
        read_labels(write(tmp_path / file, content), SHAPE)


@pytest.mark.parametrize("kind", ["auto", "ucm"])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.mat", {"ucm2": UCM, "ucm": SOFT, "other": UCM}),
        ("a.mat", {"ucm": UCM, "other": UCM}),
        ("a.mat", {"m": UCM, "threshold": 0.5}),
        ("a.npy", UCM.astype(np.float32)),
        ("a.npz", UCM),
        ("a.tif", UCM),
    ],
)
def test_contour_maps_are_read(tmp_path, file, content, kind):
    result = read_hierarchy_result(write(tmp_path / file, content), SHAPE, kind)
    assert isinstance(result, ContourMap)
    assert result.ucm.dtype.kind == "f"
    np.testing.assert_array_equal(result.ucm, UCM)


def test_bytes_of_a_contour_map_are_divided_by_255(tmp_path):
    for name in ("a.mat", "a.png", "a.npy"):
        result = read_hierarchy_result(write(tmp_path / name, np.uint8(UCM * 204)), SHAPE)
        assert isinstance(result, ContourMap)
        np.testing.assert_allclose(result.ucm, UCM * 0.8)


@pytest.mark.parametrize("kind", ["auto", "soft"])
@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("a.npy", SOFT, SOFT),
        ("a.npy", SOFT > 0, SOFT > 0),
        ("a.mat", {"ucm": SOFT}, SOFT),
        ("a.mat", {"pb": SOFT, "angle": 2}, SOFT),
        ("a.png", np.uint8(SOFT * 252), np.uint8(SOFT * 252) / 255),
        ("a.png", np.uint16(SOFT * 40000), SOFT * 40000 / 65535),
        ("a.png", SOFT > 0, SOFT > 0),
    ],
)
def test_soft_maps_are_read(tmp_path, file, content, expected, kind):
    result = read_hierarchy_result(write(tmp_path / file, content), SHAPE, kind)
    assert isinstance(result, SoftMap)
    np.testing.assert_allclose(result.strength, expected)


@pytest.mark.parametrize("kind", ["auto", "segmentations"])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.mat", {"segs": cell(IDS, np.ones(SHAPE)), "n": 2}),
        ("a.npy", np.stack([IDS, np.ones(SHAPE, np.uint16)])),
        ("a.npy", np.stack([IDS, np.ones(SHAPE)])),
        ("a.tif", np.stack([IDS, np.ones(SHAPE, np.uint16)])),
    ],
)
def test_segmentations_are_read_in_order(tmp_path, file, content, kind):
    if kind == "segmentations" and isinstance(content, dict):
        content = {**content, "ucm2": UCM}  # on request, they need not be alone
    result = read_hierarchy_result(write(tmp_path / file, content), SHAPE, kind)
    assert isinstance(result, Segmentations)
    assert [labels.tolist() for labels in result.label_maps] == [LABELS, [[0, 0, 0], [0, 0, 0]]]
    assert all(labels.dtype == np.int32 for labels in result.label_maps)


def test_one_label_map_is_a_segmentation_on_request(tmp_path):
    image = Image.fromarray((IDS % 256).astype(np.uint8))
    image.putpalette([7] * 768)
    image.save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", write(tmp_path / "b.npy", IDS)):
        result = read_hierarchy_result(path, SHAPE, "segmentations")
        assert isinstance(result, Segmentations)
        assert [labels.tolist() for labels in result.label_maps] == [LABELS]


def test_hierarchies_are_read(saved_tree):
    for kind in ("auto", "ucm"):
        result = read_hierarchy_result(saved_tree, SHAPE, kind)
        assert isinstance(result, Hierarchy)
        assert result.n_leaves == 3
    with pytest.raises(FileFormatError, match=r"tree.npz holds a hierarchy. Expected soft: leave out --form"):
        read_hierarchy_result(saved_tree, SHAPE, "soft")
    with pytest.raises(FileFormatError, match=r"tree.npz is \(2, 3\). Expected \(4, 4\)"):
        read_hierarchy_result(saved_tree, (4, 4))


@pytest.mark.parametrize(
    ("file", "content", "kind", "message"),
    [
        ("a.npy", IDS, "auto", r"a.npy holds \(2, 3\) uint16: integers.*strengths or ids.*--form ucm, soft or seg"),
        ("a.tif", IDS, "auto", r"a.tif holds .*--form"),
        ("a.mat", {"segs": cell(IDS), "ucm2": UCM}, "auto", r"both segmentations and a contour map.*--form"),
        ("a.mat", {"a": UCM, "b": UCM}, "auto", r"holds a \(5, 7\) float64, b .*Expected a cell array segs, or one"),
        ("a.npy", UCM.T, "auto", r"a.npy is transposed: \(7, 5\). Expected \(5, 7\) .*\(2H\+1, 2W\+1\)"),
        ("a.npy", SOFT.T, "auto", r"a.npy is transposed: \(3, 2\). Expected \(2, 3\)"),
        ("a.npy", np.zeros((4, 6)), "auto", r"\(4, 6\). Expected \(2, 3\) for a soft .* or \(5, 7\) for a contour map"),
        ("a.npy", SOFT, "ucm", r"a.npy is \(2, 3\). Expected \(5, 7\)"),
        ("a.npy", UCM, "soft", r"a.npy is \(5, 7\). Expected \(2, 3\) .*soft boundary map"),
        ("a.npy", UCM * 100, "auto", r"a.npy holds values 0..50. Expected strengths in 0..1"),
        ("a.npy", SOFT * 9, "auto", r"a.npy holds values 0..9. Expected .*--form segmentations"),
        ("a.npy", UCM - 0.1, "ucm", r"a.npy holds values -0.1..0.4"),
        ("a.npy", np.where(UCM > 0, np.nan, 0), "auto", r"a.npy holds NaN at 11 of 35 values"),
        ("a.npy", np.full((5, 7), 0.5), "auto", r"a.npy: ucm is not 0 at 6 of the pixels"),
        ("a.npy", np.zeros((2, 3, 9), int), "auto", r"is \(2, 3, 9\). Expected \(9, 2, 3\), .*moveaxis"),
        ("a.npy", np.zeros((9, 3, 2), int), "auto", r"transposed: \(3, 2\).*for segmentation 1 of 9"),
        ("a.npy", np.zeros((0, 2, 3), int), "auto", r"a.npy holds no segmentation: array \(0, 2, 3\)"),
        ("a.npy", np.full((1, 2, 3), 0.5), "auto", r"a.npy holds 0.5 at row 0"),
        ("a.npy", np.zeros(3), "auto", r"a.npy holds array \(3,\) float64. Expected a cell"),
        ("a.npy", np.zeros(3), "segmentations", r"a.npy holds array \(3,\) float64. Expected segmentations: a cell"),
        ("a.npy", np.zeros(3), "soft", r"a.npy holds array \(3,\) float64. Expected one 2-D array of strengths"),
        ("a.mat", {"segs": cell(IDS, UCM)}, "auto", r"a.mat is \(5, 7\).*for segmentation 2 of 2"),
        ("a.mat", {"segs": cell(IDS, "text")}, "auto", r"a.mat is \(1,\).*for segmentation 2 of 2"),
        ("a.mat", {"segs": cell(cell(IDS))}, "auto", r"a.mat is \(1, 1\).*for segmentation 1 of 1"),
        ("a.mat", {"segs": np.empty((0, 0), object)}, "auto", r"a.mat holds no segmentation: segs \(0, 0\) cell"),
    ],
)
def test_files_without_a_hierarchy_are_refused(tmp_path, file, content, kind, message):
    with pytest.raises(FileFormatError, match=message) as caught:
        read_hierarchy_result(write(tmp_path / file, content), SHAPE, kind)
    assert str(tmp_path / file) in str(caught.value)


def test_palette_pngs_are_not_strengths(tmp_path):
    Image.new("P", (3, 2)).save(tmp_path / "a.png")
    with pytest.raises(FileFormatError, match=r"a.png is a palette image.*--form segmentations"):
        read_hierarchy_result(tmp_path / "a.png", SHAPE)


@pytest.mark.usefixtures("as_installed")
def test_unknown_forms_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"kind='ucm3' is unknown. Choose one of: auto, ucm, soft, segmentations"):
        read_hierarchy_result(tmp_path / "a.npy", SHAPE, "ucm3")


@pytest.mark.parametrize("kind", FORMS)
def test_broken_files_are_refused_in_every_form(tmp_path, kind):
    content = write(tmp_path / "whole.mat", {"ucm2": UCM}).read_bytes()
    (tmp_path / "a.mat").write_bytes(content[:-40])
    with pytest.raises(FileFormatError, match=r"a.mat is damaged or not .mat .*-v7"):
        read_hierarchy_result(tmp_path / "a.mat", SHAPE, kind)


@pytest.mark.dataset
@pytest.mark.parametrize("name", ["2018", "3063", "5096", "6046", "8068"])
def test_the_three_forms_of_the_reference_results(data_root, name):
    folder = data_root / REFERENCE
    with Image.open(folder / "images" / f"{name}.jpg") as image:
        shape = (image.height, image.width)
    ucm = read_hierarchy_result(find_results(folder / "ucm2", [name]).files[name], shape)
    soft = read_hierarchy_result(find_results(folder / "png", [name]).files[name], shape)
    segs = read_hierarchy_result(find_results(folder / "segs", [name]).files[name], shape)
    assert isinstance(ucm, ContourMap)
    assert isinstance(soft, SoftMap)
    assert isinstance(segs, Segmentations)
    assert ucm.ucm.shape == (2 * shape[0] + 1, 2 * shape[1] + 1)
    assert 0.8 < ucm.ucm.max() <= 1
    assert soft.strength.shape == shape
    np.testing.assert_array_equal(soft.strength * 255, np.rint(soft.strength * 255))
    assert 0.8 < soft.strength.max() <= 1
    assert len(segs.label_maps) == 5
    for labels in segs.label_maps:
        assert labels.shape == shape
        np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))


@pytest.mark.dataset
def test_all_reference_results_are_found(data_root):
    names = sorted(path.stem for path in (data_root / REFERENCE / "images").glob("*.jpg"))
    for form in ("ucm2", "png", "segs"):
        actual = find_results(data_root / REFERENCE / form, names)
        assert sorted(actual.files) == names
        assert actual.problems == {}
        assert actual.unexpected == ()


@pytest.fixture
def as_installed_result_files():
    """Switch the array annotations off, as outside the tests: damaged files must reach our own error messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def tree():
    return Hierarchy(
        labels=np.array([[0, 0, 1], [2, 2, 2]], dtype=np.int32),
        parents=np.array([3, 3, 4, 4, 4], dtype=np.int32),
        altitudes=np.array([0, 0, 0, 0.25, 0.75], dtype=np.float32),
        embeddings=np.zeros((3, 0), dtype=np.float32),
    )


def test_hierarchies_are_distinguished_from_other_files(tmp_path):
    tree().save(tmp_path / "h.npz")
    read = read_result_hierarchy(tmp_path / "h.npz")
    assert isinstance(read, Hierarchy)
    np.testing.assert_array_equal(read.labels, tree().labels)
    np.savez(tmp_path / "a.npz", array=np.zeros((2, 3), np.uint16))
    assert read_result_hierarchy(tmp_path / "a.npz") is None
    assert read_result_hierarchy(tmp_path / "a.mat") is None


def test_damaged_hierarchy_is_refused(tmp_path, as_installed_result_files):
    tree().save(tmp_path / "h.npz")
    content = (tmp_path / "h.npz").read_bytes()
    (tmp_path / "h.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match=r"h.npz is damaged or not .npz .*Hierarchy.save"):
        read_result_hierarchy(tmp_path / "h.npz")
    with pytest.raises(FileFormatError, match=r"none.npz cannot be read"):
        read_result_hierarchy(tmp_path / "none.npz")


PATH = Path("res/2018.mat")
REAL = ["float16", "float32", "float64", ">f4", ">f8"]
WHOLE = ["uint8", "int8", "uint16", ">u2", "int32", "uint32", "int64", "uint64", ">i8"]


@pytest.mark.parametrize("dtype", [*WHOLE, *REAL])
def test_labels_of_any_type_are_renumbered_in_order(dtype):
    labels = as_labels(PATH, np.asfortranarray(np.array([[9, 3, 3], [100, 9, 0]], dtype)))
    assert labels.dtype == np.int32
    assert labels.tolist() == [[2, 1, 1], [3, 2, 0]]


def test_labels_may_be_a_mask():
    assert as_labels(PATH, np.array([[False, True]])).tolist() == [[0, 1]]


@given(arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 2**53 - 1)))
def test_labels_keep_the_partition(ids):
    labels = as_labels(PATH, ids)
    pairs = set(zip(ids.ravel().tolist(), labels.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(ids)) == labels.max() + 1
    assert labels.min() == 0
    np.testing.assert_array_equal(as_labels(PATH, ids.astype(np.float64)), labels)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.array([[0, -1], [-1, 2]]),
            r"2018.mat holds -1 at row 0, column 1, and 2 such.*Give every pixel to a super",
        ),
        (np.array([[0.0], [np.nan]]), r"holds nan at row 1, column 0, and 1 such.*integers from 0.*Give every pixel"),
        (np.array([[-7]]), r"holds -7 at row 0, column 0.*Renumber the ids"),
        (np.array([[2**63]], np.uint64), r"holds 9223372036854775808 at.*Renumber"),
        (np.array([[np.inf]]), r"holds inf at.*Renumber"),
        (np.array([[1.0, 0.25]]), r"holds 0.25 at row 0, column 1.*supercuts evaluate hierarchy"),
        (np.array([["a"]]), r"holds values of type <U1.*Save them as int32"),
        (np.array([[1j]]), r"holds values of type complex128"),
    ],
)
def test_invalid_labels_are_refused(array, message):
    with pytest.raises(FileFormatError, match=message):
        as_labels(PATH, array)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[1.0, 2.0]]), True),
        (np.array([[1.0, 2.5]]), False),
        (np.array([[np.nan]]), False),
        (np.array([[3]], np.uint8), True),
        (np.array([[True]]), True),
        (np.array([["a"]]), False),
    ],
)
def test_integral_values(array, expected):
    assert is_integral(array) is expected


@pytest.mark.parametrize("dtype", REAL)
def test_floats_keep_their_values(dtype):
    given_ = np.asfortranarray(np.array([[0, 0.5, 1], [0.25, 0, 0.125]], dtype))
    strength = as_strength(PATH, given_)
    assert strength.dtype == (np.float64 if given_.dtype.itemsize == 8 else np.float32)
    assert strength.flags.c_contiguous
    np.testing.assert_array_equal(strength, given_.astype(np.float64))


@pytest.mark.parametrize(("dtype", "full"), [("uint8", 255), ("uint16", 65535), (">u2", 65535)])
def test_integers_are_divided_by_the_highest_of_their_type(dtype, full):
    strength = as_strength(PATH, np.array([[0, 2, full]], dtype))
    np.testing.assert_array_equal(strength, [[0, 2 / full, 1]])
    assert as_strength(PATH, np.zeros((1, 2), dtype)).tolist() == [[0, 0]]


def test_hard_boundaries_are_strengths():
    assert as_strength(PATH, np.array([[False, True]])).tolist() == [[0.0, 1.0]]


def test_rounding_errors_are_clipped():
    strength = as_strength(PATH, np.array([[-1e-8, 1 + 1e-7]]))
    assert strength.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.5, np.nan]]), r"2018.mat holds NaN at 1 of 2 values. Expected.*replace NaN"),
        (np.array([[0.0, 254.0]]), r"holds values 0..254. Expected strengths in 0..1: divide .*255 if they were uint8"),
        (np.array([[-0.5, 0.5]]), r"holds values -0.5..0.5"),
        (np.array([[0.0, np.inf]]), r"holds values 0..inf"),
        (np.array([[0, 100]]), r"holds 0..100 of type int64. Expected strengths as float"),
        (np.array([[0, 1]], np.uint8), r"only 0 and 1 as uint8. Expected strengths 0..255: save 255 on boundaries"),
        (np.array([[0, 1]], np.uint16), r"only 0 and 1 as uint16. Expected strengths 0..65535"),
        (np.array([[1j]]), r"holds values of type complex128"),
    ],
)
def test_invalid_strengths_are_refused(array, message):
    with pytest.raises(FileFormatError, match=message):
        as_strength(PATH, array)


def test_size_is_checked():
    check_result_size(PATH, (2, 3), (2, 3), "the image")
    with pytest.raises(FileFormatError, match=r"2018.mat is transposed: \(3, 2\). Expected \(2, 3\).*x.' in MATLAB"):
        check_result_size(PATH, (3, 2), (2, 3), "the image")
    with pytest.raises(FileFormatError, match=r"2018.mat is \(4, 6\). Expected \(2, 3\) .*of the image.*resized"):
        check_result_size(PATH, (4, 6), (2, 3), "the image")
