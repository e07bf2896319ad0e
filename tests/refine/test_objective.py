import numpy as np
import pytest
import torch

from supercuts.refine.objective import area_terms, classify, continuity, objective, pixel_weights, similarity
from supercuts.refine.refine_config import ObjectiveConfig

ALL = ObjectiveConfig(mu=2, nu=1.5, nu_y=0.5, nu_x=2, M=3, m=0.7)
ONE_EACH = [
    ObjectiveConfig(nu=0),
    ObjectiveConfig(mu=0, nu_x=0),
    ObjectiveConfig(mu=0, nu_y=0),
    ObjectiveConfig(mu=0, nu=0, M=1),
    ObjectiveConfig(mu=0, nu=0, m=1),
    ALL,
]
FREE = np.full((6, 7), -1, np.int32)


def random_response(dtype=torch.float64, height=6, width=7):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, 5, height, width, dtype=torch.float64, generator=generator).to(dtype)
    return values.contiguous(memory_format=torch.channels_last).requires_grad_()


def by_definition(response, targets, weights, config):
    alive = torch.from_numpy(np.bincount(response.detach()[0].argmax(0).numpy().ravel(), minlength=5) > 0)
    l_y, l_x = continuity(response[0])
    l_max, l_min = area_terms(response[0], alive)
    entropy = similarity(response[0], torch.from_numpy(targets), torch.from_numpy(weights).to(response.dtype))
    return entropy + config.nu * (config.nu_y * l_y + config.nu_x * l_x) + config.M * l_max + config.m * l_min


@pytest.mark.parametrize("config", ONE_EACH, ids=["mu", "nu_y", "nu_x", "M", "m", "all"])
def test_the_kernel_gives_each_term_and_its_gradient(config):
    response = random_response()
    targets = np.random.default_rng(1).integers(0, 5, (6, 7)).astype(np.int32)
    weights = pixel_weights(FREE, config)
    expected = by_definition(response, targets, weights, config)
    (gradient,) = torch.autograd.grad(expected, response)
    loss, _ = objective(response, classify(response), targets, weights, config)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(torch.autograd.grad(loss, response)[0], gradient, rtol=1e-6, atol=1e-12)
    assert float(gradient.abs().max()) > 1e-4  # the published area losses have a gradient of zero


@pytest.mark.parametrize("config", ONE_EACH, ids=["mu", "nu_y", "nu_x", "M", "m", "all"])
def test_gradients_are_those_of_finite_differences(config):
    targets = np.random.default_rng(2).integers(0, 5, (6, 7)).astype(np.int32)
    weights = pixel_weights(FREE, config)

    def loss(response):
        return objective(response, classify(response), targets, weights, config)[0]

    assert torch.autograd.gradcheck(loss, random_response())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (20, 33)])
def test_float32_of_any_size_is_close_to_float64(height, width):
    targets = np.zeros((height, width), np.int32)
    weights = pixel_weights(np.full((height, width), -1, np.int32), ALL)
    results = []
    for dtype in (torch.float32, torch.float64):
        response = random_response(dtype, height, width)
        loss, _ = objective(response, classify(response), targets, weights, ALL)
        results.append((loss.detach().double(), torch.autograd.grad(loss, response)[0].double()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


def test_extreme_responses_stay_finite():
    response = (random_response(torch.float32).detach() * 1e3).requires_grad_()
    loss, terms = objective(response, classify(response), np.zeros((6, 7), np.int32), pixel_weights(FREE, ALL), ALL)
    loss.backward()
    assert np.isfinite(terms).all()
    assert response.grad.isfinite().all()


def test_without_the_kernel_the_loss_is_the_same():
    response = random_response()
    targets, weights = np.ones((6, 7), np.int32), pixel_weights(FREE, ALL)
    actual = classify(response)
    slow, slow_terms = objective(response, actual._replace(soft=None), targets, weights, ALL)
    fast, fast_terms = objective(response, actual, targets, weights, ALL)
    assert float(slow.detach()) == pytest.approx(float(fast.detach()), rel=1e-6)
    assert slow_terms == pytest.approx(fast_terms, rel=1e-6)


def test_labels_are_the_first_of_the_highest_and_counted():
    response = torch.tensor([1.0, 3.0, 3.0, 0.0]).reshape(1, 4, 1, 1)
    actual = classify(response)
    assert (actual.labels.tolist(), actual.counts.tolist(), actual.n_labels) == ([[1]], [0, 1, 0, 0], 1)


@pytest.mark.parametrize("shift", [0, -50, 50])
@pytest.mark.parametrize("shape", [(20, 33), (100, 200)])
def test_labels_and_probabilities_are_those_of_torch(shift, shape):
    response = (random_response(torch.float32, *shape) * 3 + shift).contiguous(memory_format=torch.channels_last)
    actual = classify(response)
    rows = response.detach().permute(0, 2, 3, 1).reshape(-1, 5)
    np.testing.assert_array_equal(actual.labels.ravel(), rows.argmax(1))
    torch.testing.assert_close(actual.soft, rows.softmax(1), rtol=1e-6, atol=1e-8)


def test_the_number_of_threads_changes_nothing(monkeypatch):
    response = random_response(torch.float32, 100, 200)
    targets = np.random.default_rng(1).integers(0, 5, (100, 200)).astype(np.int32)
    weights = pixel_weights(np.full((100, 200), -1, np.int32), ALL)
    results = []
    for n_threads in "13":
        monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
        loss, terms = objective(response, classify(response), targets, weights, ALL)
        results.append((float(loss.detach()), terms, torch.autograd.grad(loss, response)[0].numpy().tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("marked", [0, 1, 6])
def test_weights_sum_to_those_of_the_terms(marked):
    scribbles = np.full((2, 3), -1, np.int32)
    scribbles.ravel()[:marked] = 4
    weights = pixel_weights(scribbles, ObjectiveConfig(mu=2, scribble=0.25))
    assert weights.sum() == pytest.approx(2 * (marked < 6) + 0.25 * (marked > 0))


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
    actual = similarity(response, torch.from_numpy(targets), torch.from_numpy(weights))
    assert float(actual.detach()) == pytest.approx(expected, rel=1e-12)


def test_continuity_is_the_mean_difference_of_neighbours(response):
    r = response.detach().numpy()
    vertical = [abs(r[k, y + 1, x] - r[k, y, x]) for k in range(5) for y in range(5) for x in range(7)]
    horizontal = [abs(r[k, y, x + 1] - r[k, y, x]) for k in range(5) for y in range(6) for x in range(6)]
    actual = [float(term.detach()) for term in continuity(response)]
    assert actual == pytest.approx([np.mean(vertical), np.mean(horizontal)], rel=1e-12)


def test_areas_are_mean_probabilities_of_living_classes(response):
    r = response.detach().numpy()
    areas = np.mean([naive_softmax(r[:, y, x]) for y in range(6) for x in range(7)], axis=0)
    alive = np.array([True, True, False, True, False])
    actual = [float(term.detach()) for term in area_terms(response, torch.from_numpy(alive))]
    assert actual == pytest.approx([areas.max(), 1 - areas[alive].min()], rel=1e-12)


def test_gradients_are_those_of_finite_differences_losses(response):
    targets, weights = torch.arange(42).reshape(6, 7) % 5, torch.full((6, 7), 0.1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda r: similarity(r, targets, weights), response)
    assert torch.autograd.gradcheck(continuity, response)
    assert torch.autograd.gradcheck(lambda r: area_terms(r, torch.ones(5, dtype=torch.bool)), response)


def test_one_pixel_has_no_neighbours():
    assert [float(term) for term in continuity(torch.ones(3, 1, 1))] == [0, 0]
