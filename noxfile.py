"""Every check of the project as a session: `nox` runs all, `nox -s lint` runs one."""

import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "doctests", "docs", "avx2", "build"]

PYTHONS = ["3.11", "3.12", "3.13"]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, spelling, the direction of imports and the docstrings of public names."""
    session.install(".[dev]", env={"SUPERCUTS_COMPILE": "0"})
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("lint-imports")
    session.run("pytest", "-n", "0", "-q", "tests/test_public_surface.py", "-k", "numpydoc")


@nox.session
def types(session: nox.Session) -> None:
    """Check the package with the strict type checker."""
    session.install(".[dev,train]", env={"SUPERCUTS_COMPILE": "0"})
    session.run("mypy")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the default suite, or the arguments after `--`: `nox -s tests-3.11 -- -m slow`."""
    session.install(".[dev,train]")
    session.run("pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the default suite and fail if less than the floor in pyproject.toml is covered."""
    session.install(".[dev,train]", "pytest-cov>=6.0")
    session.run("pytest", "--cov", "--cov-report=term-missing:skip-covered", "--cov-report=xml", *session.posargs)


@nox.session
def avx2(session: nox.Session) -> None:
    """Run networks and pipeline as on a processor with AVX2 only."""
    session.install(".[dev,train]")
    session.run(".ci/avx2", external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks in benchmarks/asv, with --quick once each."""
    session.install(".", "asv>=0.6.4")
    with session.chdir("benchmarks/asv"):
        session.run("asv", "machine", "--yes")
        session.run("asv", "check", "--python=same")
        session.run("asv", "run", "--python=same", "--show-stderr", *session.posargs)


@nox.session
def doctests(session: nox.Session) -> None:
    """Run the examples in the docstrings."""
    session.install(".[dev,train]")
    session.run("pytest", "tests/test_doctests.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site, with its gallery and notebook executed and warnings as errors, and check its links."""
    session.install(".[dev,docs]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "build/site")
    session.run("python", "docs/check_links.py", "build/site")
    session.run("pytest", "tests/test_docs.py")


@nox.session
def tools(session: nox.Session) -> None:
    """Read exports with the libraries of Label Studio, CVAT, labelme, FiftyOne, napari and ultrack, and with QGIS."""
    session.install(".[dev]")
    env = {}
    # their requirements contradict ours and each other's
    for name, packages in {
        "TOOLS": ("label-studio-sdk", "datumaro", "labelme", "fiftyone", "napari-ome-zarr"),
        "ULTRACK": ("ultrack",),
    }.items():
        folder = Path(session.create_tmp()) / name.lower()
        session.run("python", "-m", "venv", str(folder))
        env[f"SUPERCUTS_{name}_PYTHON"] = python = str(folder / "bin" / "python")
        session.run(python, "-m", "pip", "install", *packages, external=True)
    names = ("annotation_tools", "ome_zarr", "qgis_script")
    session.run(
        "pytest",
        "-n",
        "0",
        *(f"tests/export/test_{name}.py" for name in names),
        "tests/hierarchy/test_contours.py",
        env=env,
    )


@nox.session
def fuzz(session: nox.Session) -> None:
    """Try thousands of broken files on every reader, and kill trainings and batches 50 times; takes half an hour."""
    session.install(".[dev,train]")
    session.run("python", "tests/fuzz/run.py", "--inputs", "400", "--json", "fuzz.json", *session.posargs)
    session.env["SUPERCUTS_FUZZ"] = "long"
    session.env["SUPERCUTS_KILLS"] = "50"
    kills = [path for path in ("tests/training/test_kills.py", "tests/batch/test_faults.py") if Path(path).is_file()]
    session.run("pytest", "-n", "0", "tests/fuzz", *kills, "-s")


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Install the lowest versions that pyproject.toml allows, import every module and segment an image."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = ["train", "export", "onnx"]
    bounds = [
        *project["dependencies"],
        *(bound for extra in extras for bound in project["optional-dependencies"][extra]),
    ]
    session.install(f".[{','.join(extras)}]", *(bound.replace(">=", "==") + ".*" for bound in bounds))
    modules = [".".join(path.with_suffix("").parts) for path in sorted(Path("supercuts").rglob("[!_]*.py"))]
    modules.remove("supercuts.napari_widget")
    with session.chdir(session.create_tmp()):  # away from the checkout, so that the installed package is imported
        code = f"import importlib; [importlib.import_module(name) for name in {modules}]"
        session.run("python", "-c", code)
        photo = str(Path(__file__).parent / "examples" / "photo.jpg")
        session.run("supercuts", "segment", photo, "-o", "out")
        session.run("python", "-c", f"import supercuts; supercuts.load('compact', engine='onnx').segment({photo!r})")


@nox.session
def build(session: nox.Session) -> None:
    """Build wheel and sdist, install each alone, run the commands' examples; they stay in the folder after `--`."""
    dist = Path(session.posargs[0] if session.posargs else Path(session.create_tmp()) / "dist").resolve()
    shutil.rmtree(dist, ignore_errors=True)
    session.install("build", "twine")
    # without kernels, which are for one processor: users compile them where they install the sdist, or at first use
    session.run("python", "-m", "build", "--outdir", str(dist), env={"SUPERCUTS_COMPILE": "0"})
    packages = sorted(map(str, dist.iterdir()))
    session.run("twine", "check", "--strict", *packages)
    photo = str(Path(__file__).parent / "examples" / "photo.jpg")
    for package in packages:
        session.install("--force-reinstall", package)
        with session.chdir(session.create_tmp()):  # away from the checkout, so that the installed package is imported
            session.run("python", "-c", "import supercuts; [getattr(supercuts, name) for name in supercuts.__all__]")
            session.run("supercuts", "doctor")
            session.run("supercuts", "segment", photo, "-o", "out")
    wheel = next(package for package in packages if package.endswith(".whl"))
    session.install("--force-reinstall", f"{wheel}[train,onnx]", "pytest")
    session.run("python", str(Path(__file__).parent / "tests" / "test_help_examples.py"))


@nox.session
def recipe(session: nox.Session) -> None:
    """Render the conda recipe with rattler-build's own parser; building it needs conda-forge."""
    session.install("py-rattler-build")
    code = "import rattler_build as r; print(*r.Stage0Recipe.from_yaml(open('recipe/recipe.yaml').read()).render())"
    session.run("python", "-c", code)
