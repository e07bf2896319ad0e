import re
import subprocess
import sys
import tomllib
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

# a compiled or cached kernel is a signature of a dispatcher
SIGNATURES = """
import sys
from numba.core.dispatcher import Dispatcher

known = []
init = Dispatcher.__init__
def register(self, *args, **kwargs):
    init(self, *args, **kwargs)
    known.append(self)
Dispatcher.__init__ = register

def signatures():
    ours = [one for one in known if one.py_func.__module__.startswith("supercuts.")]
    return {(one.py_func.__module__, one.py_func.__name__, str(s)) for one in ours for s in one.signatures}

from supercuts.warm import compile_kernels
compile_kernels()
"""
LEFT = """
before = signatures()
assert len(before) > 20, before
from supercuts.cli.main import app
for image in sys.argv[1:-1]:
    try:
        app(["segment", image, "-o", sys.argv[-1]])
    except SystemExit as stop:
        assert not stop.code
print("left:", signatures() - before)
"""
ASKED = """
import numpy as np
import supercuts
before = signatures()
model = supercuts.load()
h = model.segment(sys.argv[1], superpixels=90)
mask = np.zeros(h.shape, bool)
mask[40:90, 50:200] = True
masked, drawn = model.segment(sys.argv[1], superpixels=90, mask=mask), mask.astype(np.uint8)
model.segment(sys.argv[1], superpixels=90, priors=[mask])
nodes = h.cut_nodes(regions=9)
for one in (h, masked, h.merge(3, 70), h.split(170), h.lock(nodes[0]), h.merge(3, 70).undo()):
    one.cut(regions=20, focus=mask), one.cut(regions=20, focus=(50, 60)), one.cut(level="object", min_area=100)
    one.select(point=(50, 60)), one.select(point=(50, 60), grow=2), one.select(points={1: [(50, 60)], 2: [(80, 99)]})
    one.select(scribbles={1: [(50, 60), (60, 99)], 2: [(80, 99)]}), one.select(scribbles=drawn)
    one.select(box=(9, 9, 90, 90)), one.select(box=(9, 9, 90, 90), max_nodes=8)
    one.ucm(), one.areas(), one.region_table(), one.children(100), one.ancestors(3), one.leaves_of(100)
    model.objects(one), model.objects(one, n=3), model.parts(one), model.parts(one, k=3)
print("left:", signatures() - before)
"""
IMPORTED = """
distributions = __import__("importlib.metadata").metadata.packages_distributions()
names = {name.split(".")[0] for name in sys.modules}
print("imported:", *sorted({one.lower() for name in names for one in distributions.get(name, [])}))
"""


def python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_nothing_is_left_for_the_first_segmentation(tmp_path):
    small, large = ROOT / "examples" / "photo.jpg", tmp_path / "large.png"
    with Image.open(small) as image:
        image.resize((1800, 1200)).save(large)
    assert python(SIGNATURES + LEFT, small, large, tmp_path) == "left: set()"


def test_nothing_is_left_for_the_first_query():
    assert python(SIGNATURES + ASKED, ROOT / "examples" / "photo.jpg") == "left: set()"


def test_the_build_installs_all_imports():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["dependencies"]
    assert set(needed) <= set(settings["project"]["dependencies"])
    names = {re.split(r"[<>=]", one)[0].lower() for one in needed}
    imported = set(python(SIGNATURES + IMPORTED).split()[1:])
    direct = {re.split(r"[<>=\[]", one)[0].lower() for one in settings["project"]["dependencies"]}
    assert imported & direct == names
