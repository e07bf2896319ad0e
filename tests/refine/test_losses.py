import numpy as np
import pytest
import torch

from supercuts.refine.losses import area_terms, continuity, similarity


@pytest.fixture
def response():
    return torch.randn(5, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def naive_softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def test_similarity_is_the_cross_entropy_of_each_pixel(response):
    rng = np.random.default_rng(0)
    targets, weights = rng.integers(0, 5, (6, 7)), rng.random((6, 7))
    r = response.detach().numpy()
    expected = sum(
        -weights[y, x] * np.log(naive_softmax(r[:, y, x])[targets[y, x]]) for y in range(6) for x in range(7)
    )
    found = similarity(response, torch.from_numpy(targets), torch.from_numpy(weights))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)


def test_continuity_is_the_mean_difference_of_neighbours(response):
    r = response.detach().numpy()
    vertical = [abs(r[k, y + 1, x] - r[k, y, x]) for k in range(5) for y in range(5) for x in range(7)]
    horizontal = [abs(r[k, y, x + 1] - r[k, y, x]) for k in range(5) for y in range(6) for x in range(6)]
    found = [float(term.detach()) for term in continuity(response)]
    assert found == pytest.approx([np.mean(vertical), np.mean(horizontal)], rel=1e-12)


def test_areas_are_mean_probabilities_of_living_classes(response):
    r = response.detach().numpy()
    areas = np.mean([naive_softmax(r[:, y, x]) for y in range(6) for x in range(7)], axis=0)
    alive = np.array([True, True, False, True, False])
    found = [float(term.detach()) for term in area_terms(response, torch.from_numpy(alive))]
    assert found == pytest.approx([areas.max(), 1 - areas[alive].min()], rel=1e-12)


def test_gradients_are_those_of_finite_differences(response):
    targets, weights = torch.arange(42).reshape(6, 7) % 5, torch.full((6, 7), 0.1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda r: similarity(r, targets, weights), response)
    assert torch.autograd.gradcheck(continuity, response)
    assert torch.autograd.gradcheck(lambda r: area_terms(r, torch.ones(5, dtype=torch.bool)), response)


def test_one_pixel_has_no_neighbours():
    assert [float(term) for term in continuity(torch.ones(3, 1, 1))] == [0, 0]
