"""Any arrays make a working Hierarchy or an InputError; any tree is saved and read unchanged."""

import contextlib
import io
import zipfile

import numpy as np
import pytest
from corpus import npy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import TypeCheckError

from supercuts.core.errors import FileFormatError, InputError
from supercuts.export import npz
from supercuts.hierarchy.tree import Hierarchy


@st.composite
def trees(draw):
    """Draw a valid hierarchy: leaves are joined two or three at a time, in any order, at rising altitudes."""
    n_leaves = draw(st.integers(1, 12))
    roots, parents, altitudes = list(range(n_leaves)), [0] * n_leaves, [0.0] * n_leaves
    while len(roots) > 1:
        joined = draw(st.permutations(roots))[: draw(st.integers(2, min(3, len(roots))))]
        node = len(parents)
        for child in joined:
            parents[child] = node
        parents.append(node)
        lowest = max(altitudes[child] for child in joined)
        altitudes.append(draw(st.floats(np.float32(lowest).item(), 1, width=32)))
        roots = [root for root in roots if root not in joined] + [node]
    parents[-1] = len(parents) - 1
    shape = (draw(st.integers(1, 3)), n_leaves)
    labels = np.broadcast_to(np.arange(n_leaves, dtype=np.int32), shape)
    embeddings = draw(hnp.arrays(np.float32, (n_leaves, draw(st.integers(0, 2))), elements=st.floats(-5, 5, width=32)))
    return Hierarchy(labels, np.array(parents, np.int32), np.array(altitudes, np.float32), embeddings)


@given(h=trees(), data=st.data())
def test_a_tree_goes_through_a_file_and_answers(h, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("tree") / "a.npz"
    h.save(path)
    again = npz.read(path)
    for name in ("labels", "parents", "altitudes", "embeddings"):
        np.testing.assert_array_equal(getattr(again, name), getattr(h, name))
    low, high = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    fine, coarse = again.cut(altitude=low), again.cut(altitude=high)
    assert len(np.unique(np.stack([fine, coarse]).reshape(2, -1), axis=1).T) == fine.max() + 1  # nested
    with pytest.raises(InputError):
        again.cut(regions=h.n_leaves + 1)


FLOATS = st.floats(width=32) | st.sampled_from([0.0, 0.5, 1.0])


@given(
    labels=hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=3), elements=st.integers(-2, 4)
    ),
    parents=hnp.arrays(np.int32, st.integers(0, 7), elements=st.integers(-2, 8)),
    altitudes=hnp.arrays(np.float32, st.integers(0, 7), elements=FLOATS),
    n_leaves=st.integers(0, 4),
)
def test_any_arrays_are_a_hierarchy_or_an_input_error(labels, parents, altitudes, n_leaves):
    try:
        h = Hierarchy(labels, parents, altitudes, np.zeros((n_leaves, 0), np.float32))
    except (InputError, TypeCheckError):  # annotations are enforced only in tests
        return
    assert h.cut(regions=1).shape == labels.shape
    assert h.ucm().shape == (2 * labels.shape[0] + 1, 2 * labels.shape[1] + 1)
    assert h.areas()[-1] == labels.size


@given(
    h=trees(),
    name=st.sampled_from(["labels", "parents", "altitudes", "embeddings", "level_altitudes", "format_version"]),
    array=hnp.arrays(
        st.sampled_from([np.int32, np.int64, np.float32, np.float64, np.uint8, bool]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
)
def test_a_file_with_any_array_replaced_is_read_or_refused(h, name, array, tmp_path_factory):
    path = tmp_path_factory.mktemp("forged") / "a.npz"
    h.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in {**members, f"{name}.npy": npy(array)}.items():
            archive.writestr(member, content)
    path.write_bytes(file.getvalue())
    with contextlib.suppress(FileFormatError, TypeCheckError):  # annotations are enforced only in tests
        assert npz.read(path).cut(regions=1).max() == 0
