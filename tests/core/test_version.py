import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import supercuts
from supercuts.core import version


def test_version_is_that_of_pyproject_or_marks_a_missing_installation():
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    declared = tomllib.loads(pyproject.read_text())["project"]["version"]
    assert version.package_version() in {declared, "0+unknown"}
    assert supercuts.__version__ == version.package_version()


def test_checkout_without_installation_has_a_version(monkeypatch):
    def refuse(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(version, "version", refuse)
    assert version.package_version() == "0+unknown"
