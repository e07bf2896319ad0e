"""The Processing script of contrib/qgis: with stand-ins for the classes of QGIS, and in QGIS where it is installed."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import rasterio

QGIS = shutil.which("qgis_process.bin") or shutil.which("qgis_process")  # Debian's wrapper adds an option it refuses
LAYERS = """
import json, sys
from qgis.core import QgsApplication, QgsVectorLayer
QgsApplication([], False).initQgis()
for level in ("scene", "object", "part", "superpixels"):
    layer = QgsVectorLayer(f"{sys.argv[1]}|layername={level}", level, "ogr")
    style = layer.loadNamedStyle(sys.argv[2])[1], layer.renderer().symbol().symbolLayer(0).properties()["style"]
    print(json.dumps([level, layer.featureCount(), layer.crs().authid(), *style]))
"""
SCRIPT = Path(__file__).resolve().parents[2] / "contrib/qgis/supercuts_segment.py"


class Layer:
    def __init__(self, source, name, provider):
        self.source, self.provider, self._name = source, provider, name

    def name(self):
        return self._name

    def id(self):
        return self._name

    def isValid(self):
        pyogrio = pytest.importorskip("pyogrio")
        path, name = self.source.split("|layername=")
        return name in pyogrio.list_layers(path)[:, 0]


class Algorithm:
    """Values of parameters instead of a dialogue."""

    def parameterAsRasterLayer(self, parameters, name, _):
        return SimpleNamespace(source=lambda: parameters[name])

    def parameterAsString(self, parameters, name, _):
        return str(parameters[name])

    def parameterAsInt(self, parameters, name, _):
        return int(parameters[name])

    parameterAsFileOutput = parameterAsString


def write_field(path):
    image = np.random.default_rng(0).integers(0, 255, (3, 24, 32)).astype(np.uint8)
    place = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": 24, "width": 32}
    with rasterio.open(path, "w", **profile, crs="EPSG:32632", transform=place) as file:
        file.write(image)


@pytest.fixture
def script(monkeypatch):
    core = ModuleType("qgis.core")
    core.QgsProcessingAlgorithm, core.QgsVectorLayer = Algorithm, Layer
    core.QgsProcessingException = type("QgsProcessingException", (Exception,), {})
    core.QgsProcessingContext = SimpleNamespace(LayerDetails=lambda *names: names)
    for kind in ("FileDestination", "Number", "RasterLayer", "String"):
        setattr(core, f"QgsProcessingParameter{kind}", lambda name, *_, **__: name)
    monkeypatch.setitem(sys.modules, "qgis", ModuleType("qgis"))
    monkeypatch.setitem(sys.modules, "qgis.core", core)
    return runpy.run_path(str(SCRIPT))


def test_a_raster_becomes_a_layer_for_each_level(script, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from supercuts.cli.main import app

    def run(command, **_):
        result = CliRunner().invoke(app, command[1:])
        return SimpleNamespace(stdout=result.stdout, stderr=result.stderr, returncode=result.exit_code)

    monkeypatch.setattr("subprocess.run", run)
    write_field(tmp_path / "field.tif")
    loaded, notes = {}, []
    context = SimpleNamespace(
        temporaryLayerStore=lambda: SimpleNamespace(addMapLayer=lambda layer: None),
        addLayerToLoadOnCompletion=lambda name, details: loaded.update({name: details}),
        project=lambda: None,
    )
    parameters = {"INPUT": str(tmp_path / "field.tif"), "OUTPUT": str(tmp_path / "regions.gpkg"), "SUPERPIXELS": 20}
    parameters |= {"BANDS": "", "PROGRAM": "supercuts"}
    algorithm = script["SuperCutsSegment"]()
    feedback = SimpleNamespace(pushInfo=notes.append)
    assert algorithm.processAlgorithm(parameters, context, feedback) == {"OUTPUT": str(tmp_path / "regions.gpkg")}
    assert list(loaded) == ["scene", "object", "part", "superpixels"]
    import geopandas

    frame = geopandas.read_file(tmp_path / "regions.gpkg", layer="superpixels")
    assert (len(frame), frame.crs.to_epsg()) == (20, 32632)
    with pytest.raises(Exception, match="no such file"):
        algorithm.processAlgorithm(parameters | {"INPUT": str(tmp_path / "none.tif")}, context, feedback)


def test_parameters_are_declared_and_the_style_is_xml(script):
    algorithm, names = script["SuperCutsSegment"](), []
    algorithm.addParameter = names.append
    algorithm.initAlgorithm()
    assert names == ["INPUT", "SUPERPIXELS", "BANDS", "PROGRAM", "OUTPUT"]
    assert (algorithm.name(), type(algorithm.createInstance())) == ("supercuts_segment", type(algorithm))
    assert ET.parse(SCRIPT.with_name("levels.qml")).getroot().tag == "qgis"
    assert script["commands"]("supercuts", "a/b.tif", "out", "c.gpkg", 9, "4,3,2")[0][-2:] == ["--bands", "4,3,2"]


@pytest.mark.skipif(QGIS is None, reason="needs qgis_process, of Debian's package qgis")
def test_qgis_runs_the_script_and_reads_its_layers(tmp_path):
    write_field(tmp_path / "field.tif")
    shutil.copytree(SCRIPT.parent, tmp_path / ".local/share/QGIS/QGIS3/profiles/default/processing/scripts")
    program = tmp_path / "supercuts"
    path = os.environ.get("PYTHONPATH", "")
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" -m supercuts "$@"\n')
    program.chmod(0o755)
    # the Python inside QGIS takes its packages from the first python3 in PATH
    env = {"PATH": os.defpath, "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    env |= {name: value for name, value in os.environ.items() if name == "NUMBA_CACHE_DIR"}

    def run(*command):
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    run(QGIS, "plugins", "enable", "processing")
    paths = {"INPUT": tmp_path / "field.tif", "PROGRAM": program, "OUTPUT": tmp_path / "regions.gpkg"}
    options = [f"--{name}={value}" for name, value in (paths | {"SUPERPIXELS": 20, "BANDS": ""}).items()]
    assert f"OUTPUT:\t{paths['OUTPUT']}" in run(QGIS, "run", "script:supercuts_segment", *options)
    python = shutil.which("python3", path="/usr/bin")  # the one that QGIS belongs to
    lines = run(python, "-c", LAYERS, str(paths["OUTPUT"]), str(SCRIPT.with_name("levels.qml"))).splitlines()
    layers = [json.loads(line) for line in lines]
    assert [level for level, *_ in layers] == ["scene", "object", "part", "superpixels"]
    assert [count for _, count, *_ in layers] == sorted(count for _, count, *_ in layers)
    assert layers[-1][1] == 20
    assert {tuple(rest) for _, _, *rest in layers} == {("EPSG:32632", True, "no")}
