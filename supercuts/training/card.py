"""The model card of a run: what was trained, on what, how, and how well it did.

In   TrainConfig, the validation curve, steps, seconds
Out  model.md beside model.safetensors
Not  no measuring
"""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml

from supercuts.core.files import atomic_path
from supercuts.core.version import package_version
from supercuts.training.config import TrainConfig


def write_card(
    config: TrainConfig, curve: Sequence[Mapping[str, float]], steps: int, seconds: float, n_images: int
) -> Path:
    """Write the card; `seconds` are of the last start of the run."""
    path = config.out / "model.md"
    with atomic_path(path) as temporary:
        temporary.write_text(_card(config, curve, steps, seconds, n_images), encoding="utf-8")
    return path


def _card(config: TrainConfig, curve: Sequence[Mapping[str, float]], steps: int, seconds: float, n_images: int) -> str:
    facts = {
        "network": f"SSN on {config.model.backbone}",
        "data": f"{config.data.split}, {n_images} images",
        "steps": f"{steps} of {config.batch_size} crops of {config.data.crop_px} px",
        "seed": config.seed,
        "started from": config.init or "new weights",
        "time": f"{seconds / 60:.0f} minutes since the last start, on {_device()}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "code": f"supercuts {package_version()}, commit {_commit()}",
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    recipe = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return (
        f"# {config.out.name}\n\n| | |\n|---|---|\n{rows}\n\n{_scores(curve)}\n"
        f'Load it with `supercuts.load("{config.out / "model.safetensors"}")`.\n\n## Recipe\n\n```yaml\n{recipe}```\n'
    )


def _scores(curve: Sequence[Mapping[str, float]]) -> str:
    if not curve:
        return "No validation: the weights are the averaged ones of the last step.\n"
    best = max(curve, key=lambda point: point["val_asa"])
    names = [name for name in best if name != "step"]
    rows = "\n".join(f"| {name.removeprefix('val_')} | {best[name]:.4f} | {curve[-1][name]:.4f} |" for name in names)
    head = f"| validation | step {best['step']:.0f} (these) | step {curve[-1]['step']:.0f} (last) |\n|---|---|---|"
    return (
        "The weights are the averaged ones with the best ASA on the validation split, mean over all annotators.\n\n"
        f"{head}\n{rows}\n"
    )


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def _commit() -> str:
    """Return the commit of the code if it runs from a checkout."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() if found.returncode == 0 else "unknown"
