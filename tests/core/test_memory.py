import os
import subprocess
import sys
from pathlib import Path

import pytest

from supercuts.core import memory

ROOT = Path(__file__).resolve().parents[2]
IS_GLIBC = sys.platform.startswith("linux") and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")

# arrays of the size of an image's maps, freed and allocated in turns: their pages are cleared once or every time
FAULTS = """
import resource, sys
import numpy as np
from supercuts.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    a, b = np.ones(3 * 10**5), np.ones(3 * 10**5)
    del a, b
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    a, b = np.ones(3 * 10**5), np.ones(3 * 10**5)
    del a, b
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    environment = {name: value for name, value in os.environ.items() if name not in memory._SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not IS_GLIBC, reason="glibc alone is told")
def test_freed_memory_is_used_again():
    assert faults("keep") < 100
    assert faults("let go") > 1000


@pytest.mark.parametrize("name", memory._SETTINGS)
def test_settings_of_the_environment_stand(monkeypatch, name):
    for other in memory._SETTINGS:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "1")
    assert not memory.keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    for name in memory._SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not memory.keep_freed_memory()


GIVEN_BACK = """
import numpy as np
from supercuts.core.memory import give_freed_memory_back, keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
keep_freed_memory()
arrays = [np.ones(10**5) for _ in range(200)]
last = np.ones(10**4)  # what lies below it on the heap cannot go back by itself
del arrays
before = resident()
give_freed_memory_back()
print(before - resident())
"""


@pytest.mark.skipif(not IS_GLIBC, reason="glibc alone is told")
def test_freed_memory_is_given_back():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100e6


def test_other_systems_give_nothing_back(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    memory.give_freed_memory_back()
