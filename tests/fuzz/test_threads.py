"""The same image gives the same hierarchy: in 8 threads, with any number of threads, in any process."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import supercuts

THREADS = 8
FIELDS = ("labels", "parents", "altitudes", "embeddings")
DIGEST = """
import hashlib, json, sys
import numpy as np
import supercuts, torch
torch.set_num_threads(int(sys.argv[1]))
image = np.random.default_rng(7).integers(0, 256, (90, 120, 3), np.uint8)
h = supercuts.load("compact").segment(image, superpixels=60)
print(json.dumps([hashlib.sha256(getattr(h, name).tobytes()).hexdigest() for name in sys.argv[2:]]))
"""


def photo(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 100, 2)
    rows, columns = np.mgrid[:height, :width]
    image = (
        rng.integers(0, 200, 3)
        + 20 * ((rows // 17 + columns // 23)[..., None] % 3)
        + rng.integers(0, 15, (height, width, 3))
    )
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    return supercuts.load("compact")


def assert_equal(first, second) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_one_model_in_eight_threads_gives_the_sequential_results(model):
    images = [photo(seed) for seed in range(THREADS)]
    expected = [model.segment(image, superpixels=40) for image in images]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(2):
            for actual, one in zip(pool.map(lambda i: model.segment(i, superpixels=40), images), expected, strict=True):
                assert_equal(actual, one)


def test_one_hierarchy_is_asked_by_eight_threads(model):
    h = model.segment(photo(3), superpixels=50)
    questions = [
        *(lambda n=n: h.cut(regions=n) for n in range(1, 51, 7)),
        *(lambda a=a: h.cut(altitude=a) for a in (0.1, 0.3, 0.7)),
        lambda: h.cut(level="object"),
        lambda: h.cut(granularity=0.4, min_area=20),
        lambda: h.select(point=(20, 20)),
        lambda: h.select(box=(5, 5, 30, 30), max_nodes=3),
        h.ucm,
        h.areas,
        lambda: h.merge(0, 5).parents,
        lambda: h.region_table().area,
    ]
    expected = [ask() for ask in questions]
    with ThreadPoolExecutor(THREADS) as pool:
        for actual, one in zip(pool.map(lambda ask: ask(), questions * 20), expected * 20, strict=True):
            np.testing.assert_array_equal(actual, one)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_the_number_of_torch_threads_changes_nothing(model, n_threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = model.segment(photo(1), superpixels=40)
        torch.set_num_threads(n_threads)
        assert_equal(model.segment(photo(1), superpixels=40), expected)
    finally:
        torch.set_num_threads(before)


def test_processes_with_other_threads_and_hash_seeds_agree():
    actual = []
    for n_threads, seed in ((1, "0"), (2, "1")):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "OMP_NUM_THREADS": str(n_threads),
            "NUMBA_NUM_THREADS": str(n_threads),
        }
        command = [sys.executable, "-c", DIGEST, str(n_threads), *FIELDS]
        actual.append(json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout))
    assert actual[0] == actual[1]
    assert len(set(actual[0])) == len(FIELDS)
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in actual[0])
