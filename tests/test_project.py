"""The files around the code agree with pyproject.toml and with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# names on conda-forge that differ from those on PyPI
CONDA_NAMES = {"torch": "pytorch", "torch-geometric": "pytorch_geometric", "matplotlib": "matplotlib-base"}


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_citation_and_recipe_have_the_version_of_the_package():
    version = PROJECT["project"]["version"]
    assert read_yaml("CITATION.cff")["version"] == version
    assert read_yaml("recipe/recipe.yaml")["context"]["version"] == version


def test_recipe_requires_what_the_package_requires():
    expected = [re.fullmatch(r"([\w-]+)(>=.*)", line).groups() for line in PROJECT["project"]["dependencies"]]
    expected = {f"{CONDA_NAMES.get(name, name.lower())} {bound}" for name, bound in expected}
    run = read_yaml("recipe/recipe.yaml")["requirements"]["run"]
    assert set(run) == expected | {f"python {PROJECT['project']['requires-python']}"}


def test_changes_have_a_category_and_a_text():
    categories = {kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]}
    fragments = {path.name: path for path in (ROOT / "changes").iterdir() if path.name != "README.md"}
    odd = [name for name in fragments if not re.fullmatch(rf"(\d+|\+[\w.-]+)\.({'|'.join(categories)})\.md", name)]
    assert odd == []
    assert [name for name, path in fragments.items() if not path.read_text(encoding="utf-8").strip()] == []


def test_bug_reports_ask_for_the_doctor():
    fields = {field["id"]: field for field in read_yaml(".github/ISSUE_TEMPLATE/bug_report.yml")["body"]}
    assert "supercuts doctor" in fields["doctor"]["attributes"]["label"]
    assert fields["doctor"]["validations"]["required"]


@pytest.mark.parametrize("name", ["ci", "release"])
def test_sessions_that_workflows_run_exist(name):
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE))
    jobs = read_yaml(f".github/workflows/{name}.yml")["jobs"]
    lines = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    asked = {name for line in lines for name in re.findall(r"nox -s ((?:\w+ ?)+)", line)}
    asked = {name for names in asked for name in names.split()}
    assert asked
    assert asked <= sessions


def test_readme_fits_in_ninety_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90
