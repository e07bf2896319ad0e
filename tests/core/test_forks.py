import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")

# a parent that has loaded a model, and has used it, forks in every way that libraries do
SCRIPT = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import supercuts

engine = sys.argv[1]
image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
model = supercuts.load(engine=engine)
fork = multiprocessing.get_context("fork")


def segment(_):
    return model.segment(image, superpixels=20).labels


def segment_anew(_):
    return supercuts.load(engine=engine).segment(image, superpixels=20).labels


def check(labels):
    assert all(np.array_equal(one, expected) for one in labels), "a fork segments otherwise"


with fork.Pool(2) as pool:  # before the parent has segmented anything
    first = pool.map(segment, range(2))
expected = segment(0)
check(first)
with fork.Pool(2) as pool:
    check(pool.map(segment, range(2)) + pool.map(segment_anew, range(2)))
with ProcessPoolExecutor(2, mp_context=fork) as pool:
    check(list(pool.map(segment, range(2))))
queue = fork.SimpleQueue()
process = fork.Process(target=lambda: queue.put(segment(0)))
process.start()
check([queue.get()])
process.join()
if engine == "torch":
    from torch.utils.data import DataLoader

    class Images:
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return segment(i)

    loader = DataLoader(Images(), num_workers=2, multiprocessing_context="fork")
    check([labels for batch in loader for labels in batch.numpy()])
import joblib

for backend in ("threading", "multiprocessing"):  # loky starts fresh processes
    with joblib.parallel_config(backend, n_jobs=2):
        check(joblib.Parallel()(joblib.delayed(segment)(i) for i in range(2)))
check([segment(0)])  # the parent continues as before
print("done")
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["torch", "quick"])
def test_a_model_works_in_forks_of_a_process_that_used_it(engine):
    # always two threads: a single one cannot hang
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, engine],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr[-2000:]
