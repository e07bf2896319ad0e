import numpy as np
import pytest
import scipy.linalg

from supercuts.core.errors import InputError
from supercuts.objects import eigen
from supercuts.objects.eigen import smallest_eigenpairs


def random_affinity(n, seed):
    rng = np.random.default_rng(seed)
    w = rng.random((n, n))
    return (w + w.T) / 2


@pytest.mark.parametrize("n", [2, 7, 30])
@pytest.mark.parametrize("solver", ["dense", "sparse"])
def test_pairs_are_those_of_the_generalised_problem(monkeypatch, n, solver):
    monkeypatch.setattr(eigen, "_DENSE", 200 if solver == "dense" else 0)
    w, k = random_affinity(n, n), min(n - 1, 4)
    d = np.diag(w.sum(1))
    values, vectors = scipy.linalg.eigh(d - w, d, subset_by_index=[1, k])
    found = smallest_eigenpairs(w, np.full(n, 5), k)
    np.testing.assert_allclose(found.values, values, atol=1e-10)
    signs = np.sign((vectors * found.vectors).sum(0))
    # areas of 5 are areas of 1: they are relative
    np.testing.assert_allclose(found.vectors, vectors * signs, atol=1e-8)


def test_a_node_counts_as_often_as_it_has_pixels():
    w, area = random_affinity(6, 0), np.array([1, 3, 2, 1, 4, 2])
    of_pixel = np.repeat(np.arange(6), area)
    many = smallest_eigenpairs(w[of_pixel][:, of_pixel], np.ones(area.sum(), int), 2)
    few = smallest_eigenpairs(w, area, 2)
    np.testing.assert_allclose(few.values, many.values, atol=1e-10)
    ratio = many.vectors / few.vectors[of_pixel]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-6)


def test_a_graph_of_two_parts_is_told_apart():
    w = scipy.linalg.block_diag(np.ones((3, 3)), np.ones((2, 2)))
    found = smallest_eigenpairs(w, np.ones(5, int), 1)
    assert found.values[0] == pytest.approx(0, abs=1e-12)
    vector = found.vectors[:, 0]
    np.testing.assert_allclose(vector, [vector[0]] * 3 + [vector[3]] * 2)
    assert vector[0] * vector[3] < 0


def test_a_node_that_is_like_none_has_eigenvalue_one():
    w = scipy.linalg.block_diag(random_affinity(4, 1), 0.0)
    d = np.diag([*w.sum(1)[:4], 1.0])
    values = scipy.linalg.eigh(d - w, d, eigvals_only=True)
    np.testing.assert_allclose(smallest_eigenpairs(w, np.ones(5, int), 3).values, values[1:4], atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_without_structure_vectors_are_zero(n):
    found = smallest_eigenpairs(np.ones((n, n)), np.arange(1, n + 1), 2)
    np.testing.assert_array_equal(found.vectors, 0)
    np.testing.assert_array_equal(found.values, 1)


def test_no_vectors_are_refused():
    with pytest.raises(InputError, match="n_vectors=0"):
        smallest_eigenpairs(np.ones((2, 2)), np.ones(2, int), 0)
