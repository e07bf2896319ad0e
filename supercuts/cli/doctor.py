"""The command `supercuts doctor`: facts on an installation that a bug report needs, and its problems with remedies."""

import json
import os
import platform
import re
import subprocess
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

import supercuts
from supercuts.cli.common import FAILED, print_json, print_lines

# run beside this process: loading torch takes most of the time, and a broken installation may end its process
_ENGINES = {
    "torch": """
import torch
from supercuts.core.private_torch import fastest
torch.nn.functional.conv2d(torch.ones(1, 32, 32, 32), torch.ones(1, 32, 3, 3))
facts = {
    "vector_instructions": torch.backends.cpu.get_cpu_capability(),
    "number_type": str(fastest(torch.device("cpu"))).removeprefix("torch."),
    "threads": torch.get_num_threads(),
    "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
}
""",
    "onnxruntime": "import onnxruntime; facts = {'providers': onnxruntime.get_available_providers()}",
}
_ENVIRONMENT = re.compile("(SUPERCUTS|OMP|MKL|KMP|NUMBA|ATEN|ONEDNN|CUDA|MALLOC|GLIBC|PYTORCH|TORCH)_")
_FEATURES = re.compile("(avx|fma|amx|neon|sve|bf16)")
_HIDDEN_EXTRAS = ("dev", "all")
_SECONDS = 120


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
) -> None:
    """Report versions, processor, threads, kernels, engines and weights; add the output to bug reports.

    Exits with 1 if there is a problem.
    """
    engines = {name: _start(code) for name, code in _ENGINES.items() if find_spec(name)}
    problems: list[str] = []
    packages, extras = _packages(problems)
    facts: dict[str, Any] = {
        "supercuts": {"version": supercuts.__version__, "folder": str(Path(supercuts.__file__).parent)},
        "python": {"version": platform.python_version(), "program": sys.executable, "system": platform.platform()},
        "processor": _processor(problems),
        "kernels": _kernels(problems),
        "weights": _weights(problems),
        "engines": {name: _finish(name, process, problems) for name, process in engines.items()},
        "packages": packages,
        "extras": extras,
        "environment": {name: value for name, value in sorted(os.environ.items()) if _ENVIRONMENT.match(name)},
    }
    if not engines:
        problems.append("no engine is installed: pip install torch, or onnxruntime")
    if as_json:
        print_json({**facts, "problems": problems})
    else:
        for name, value in facts.items():
            print_lines(f"{name:12}{as_text(value)}")
        print_lines(*[f"problem     {problem}" for problem in problems] or ["no problems found"])
    raise typer.Exit(FAILED if problems else 0)


def _start(code: str) -> "subprocess.Popen[str]":
    lines = "import json, sys; sys.path[:] = sys.argv[1:]", code, "print(json.dumps(facts))"
    command = [sys.executable, "-c", "\n".join(lines), *sys.path]
    environment = {**os.environ, "ONEDNN_VERBOSE": "1"}  # oneDNN prints the instructions that it chose
    return subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True)


def _finish(name: str, process: "subprocess.Popen[str]", problems: list[str]) -> dict[str, Any]:
    """Return the facts that a process printed about an engine."""
    try:
        out, error = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        out, error = "", f"loading took longer than {_SECONDS} s"
    *earlier, last = out.splitlines() or [""]
    if process.returncode != 0 or not last:
        reason = (error.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        problems.append(f"{name} does not load ({reason}): pip install --force-reinstall {name}")
        return {"loads": False}
    facts = {"version": version(name), "loads": True, **json.loads(last)}
    chosen = [line.partition("isa:")[2] for line in earlier if ",isa:" in line]
    return {**facts, "onednn": chosen[0]} if chosen else facts


def _processor(problems: list[str]) -> dict[str, Any]:
    from supercuts.core.threads import thread_count

    facts = {"machine": platform.machine(), "processors": os.cpu_count(), "threads": thread_count()}
    try:
        from llvmlite import binding
    except Exception as error:
        problems.append(f"numba's compiler does not load ({error}): pip install --force-reinstall numba llvmlite")
        return facts
    features = [name for name, is_there in binding.get_host_cpu_features().items() if is_there]
    return {"name": binding.get_host_cpu_name(), **facts, "features": sorted(filter(_FEATURES.search, features))}


def _kernels(problems: list[str]) -> dict[str, Any]:
    """Run a small kernel; return whether its machine code was loaded, and where all kernels are stored."""
    start = time.perf_counter()
    try:
        import numpy as np

        from supercuts.core._kernels import to_half
        from supercuts.core.compiled import cache_folders

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            to_half(np.zeros(1, np.float32), np.zeros(1, np.int32), np.empty(1, np.uint16))
    except Exception as error:
        problems.append(f"kernels cannot be compiled ({error}): pip install --force-reinstall numba llvmlite")
        return {"source": "none"}
    problems += [str(warning.message) for warning in caught]
    statistics = getattr(to_half, "stats", None)  # absent where NUMBA_DISABLE_JIT turns compiling off
    source = "not compiled" if statistics is None else "stored" if statistics.cache_hits else "compiled now"
    package = Path(supercuts.__file__).parent
    files = [*package.rglob("_kernels.py"), *package.rglob("_kernels/*.py")]
    n_files: dict[str, int] = {}
    for folder in {folder for file in files for folder in cache_folders(str(file))[0]}:
        place = str(package if package in folder.parents else folder.parent)
        n_files[place] = n_files.get(place, 0) + len([*folder.glob("*.nbc")])
    seconds = round(time.perf_counter() - start, 2)
    return {"source": source, "seconds": seconds, "files": n_files}


def _weights(problems: list[str]) -> dict[str, Any]:
    from safetensors import safe_open

    from supercuts.networks.network import EMBEDDED, weights_path

    facts = {}
    for name in EMBEDDED:
        path = weights_path(name)
        try:
            with safe_open(path, framework="np") as file:
                n_tensors = len([*file.keys()])
        except Exception as error:
            problems.append(f"the weights of {name} cannot be read ({error}): pip install --force-reinstall supercuts")
        else:
            facts[name] = {"tensors": n_tensors, "onnx": path.with_suffix(".onnx").is_file()}
    return facts


def _packages(problems: list[str]) -> tuple[dict[str, str | None], dict[str, dict[str, str | None]]]:
    """Return the versions of the required packages, and of those of each extra; None for a package that is missing."""
    required: dict[str, str | None] = {}
    extras: dict[str, dict[str, str | None]] = {}
    try:
        requirements = requires("supercuts") or []
    except PackageNotFoundError:  # a checkout that was never installed
        return required, extras
    for requirement in requirements:
        name, lowest = re.findall(r"^([\w.-]+)[^;>]*(?:>=([\d.]+))?", requirement)[0]
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = None
        if extra is None:
            required[name] = installed
            if installed is None or _numbers(installed) < _numbers(re.sub(r"(\.0)+$", "", lowest)):
                problems.append(f"{name} is {installed or 'missing'}: pip install '{requirement}'")
        elif extra[1] not in _HIDDEN_EXTRAS:
            extras.setdefault(extra[1], {})[name] = installed
    return required, extras


def _numbers(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text)[:3]]


def as_text(value: Any) -> str:
    """Return a value in words: mappings as names with values, None as missing."""
    if isinstance(value, dict):
        texts = {name: as_text(item) for name, item in value.items()}
        pairs = (
            f"{name} ({texts[name]})" if isinstance(item, dict) else f"{name} {texts[name]}"
            for name, item in value.items()
        )
        return ", ".join(pairs) or "none"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if value is None:
        return "missing"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
