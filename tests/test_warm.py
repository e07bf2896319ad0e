import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

# one process for all tests: it imports everything and loads the kernels; one compiled or cached is a signature
AFTER_COMPILING = """
import importlib.metadata, json, sys
import numpy as np
from numba.core.dispatcher import Dispatcher

known = []
init = Dispatcher.__init__
def register(self, *args, **kwargs):
    init(self, *args, **kwargs)
    known.append(self)
Dispatcher.__init__ = register

def signatures():
    ours = [dispatcher for dispatcher in known if dispatcher.py_func.__module__.startswith("supercuts.")]
    return {(d.py_func.__module__, d.py_func.__name__, str(s)) for d in ours for s in d.signatures}

from supercuts.warm import compile_kernels
compile_kernels()
distributions = importlib.metadata.packages_distributions()
names = {name.split(".")[0] for name in sys.modules}
imported = sorted({package.lower() for name in names for package in distributions.get(name, [])})
before = signatures()
assert len(before) > 20, before

import supercuts
model = supercuts.load()
h = model.segment(sys.argv[1], superpixels=90)
mask = np.zeros(h.shape, bool)
mask[40:90, 50:200] = True
masked, drawn = model.segment(sys.argv[1], superpixels=90, mask=mask), mask.astype(np.uint8)
model.segment(sys.argv[1], superpixels=90, priors=[mask])
nodes = h.cut_nodes(regions=9)
for tree in (h, masked, h.merge(3, 70), h.split(170), h.lock(nodes[0]), h.merge(3, 70).undo()):
    tree.cut(regions=20, focus=mask), tree.cut(regions=20, focus=(50, 60)), tree.cut(level="object", min_area=100)
    tree.select(point=(50, 60)), tree.select(point=(50, 60), grow=2)
    tree.select(points={1: [(50, 60)], 2: [(80, 99)]}), tree.select(scribbles=drawn)
    tree.select(scribbles={1: [(50, 60), (60, 99)], 2: [(80, 99)]})
    tree.select(box=(9, 9, 90, 90)), tree.select(box=(9, 9, 90, 90), max_nodes=8)
    tree.ucm(), tree.areas(), tree.region_table(), tree.children(100), tree.ancestors(3), tree.leaves_of(100)
    model.objects(tree), model.objects(tree, n=3), model.parts(tree), model.parts(tree, k=3)
queries = signatures() - before

from supercuts.cli.main import app
for image in sys.argv[1:-1]:
    try:
        app(["segment", image, "-o", sys.argv[-1]])
    except SystemExit as stop:
        assert not stop.code
segmentations = signatures() - before - queries
print(json.dumps({"queries": sorted(queries), "segmentations": sorted(segmentations), "imported": imported}))
"""


@pytest.fixture
def after_compiling(tmp_path):
    """Return the kernels that compile_kernels leaves for the first queries and segmentations, and what it imports."""
    folder = tmp_path
    small, large = ROOT / "examples" / "photo.jpg", folder / "large.png"
    with Image.open(small) as image:
        image.resize((1800, 1200)).save(large)
    command = [sys.executable, "-c", AFTER_COMPILING, *map(str, (small, large, folder))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_is_left_for_the_first_use_and_the_build_installs_all_imports(after_compiling):
    assert after_compiling["segmentations"] == after_compiling["queries"] == []
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["dependencies"]
    assert set(needed) <= set(settings["project"]["dependencies"])
    names = {re.split(r"[<>=]", requirement)[0].lower() for requirement in needed}
    direct = {re.split(r"[<>=\[]", requirement)[0].lower() for requirement in settings["project"]["dependencies"]}
    assert {*after_compiling["imported"]} & direct == names
