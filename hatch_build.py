"""Compile the kernels while the package is installed, so that the first image does not wait for it.

In   the source tree, an environment with the imports of supercuts.warm (listed in pyproject.toml)
Out  numba's cache of the kernels inside the wheel, and in build/kernels/ for the next build of the same sources
Not  editable installs: their folder keeps the kernels that the first segmentation compiles

The cache is for one processor, Python and numba. Elsewhere numba ignores it and compiles kernels at their first use,
as it does where compiling failed here. SUPERCUTS_COMPILE=0 leaves it out, for wheels that are distributed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileKernels(BuildHookInterface):
    """Adds the cache to the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the kernels, compiled unless a build of the same sources has left them."""
        if version == "editable" or os.environ.get("SUPERCUTS_COMPILE") == "0":
            return
        self.folder = Path(tempfile.mkdtemp(prefix="supercuts-build-"))
        kept = Path(self.root, "build", "kernels", self._identity())
        if not kept.is_dir():
            if not self._compile():
                return
            with suppress(OSError):  # the source tree may be read-only
                shutil.rmtree(kept.parent, ignore_errors=True)
                part = kept.with_suffix(".part")
                for path in self.folder.rglob("*.nb[ic]"):
                    target = part / path.relative_to(self.folder)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target)
                part.rename(kept)
        kernels = kept if kept.is_dir() else self.folder
        build_data["pure_python"], build_data["infer_tag"] = False, True  # machine code: for this platform alone
        for path in kernels.rglob("*.nb[ic]"):
            build_data["force_include"][str(path)] = path.relative_to(kernels).as_posix()

    def _identity(self) -> str:
        """Return a digest of all that the machine code depends on: sources, versions and processor."""
        import numba
        from llvmlite import binding

        processor = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
        digest = hashlib.sha256(repr((numba.__version__, sys.version, processor)).encode())
        for path in sorted(Path(self.root, "supercuts").rglob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def _compile(self) -> bool:
        """Compile in a copy of the package, whose folders hold nothing older, and return whether that worked."""
        package = self.folder / "supercuts"
        shutil.copytree(Path(self.root, "supercuts"), package, ignore=shutil.ignore_patterns("__pycache__"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
        self.app.display_info("compiling kernels: this takes about a minute")
        done = subprocess.run(
            [sys.executable, "-c", "from supercuts.warm import compile_kernels; compile_kernels()"],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            self.app.display_warning(f"kernels are not compiled now but at their first use:\n{done.stderr}")
        return done.returncode == 0

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copy."""
        shutil.rmtree(getattr(self, "folder", None) or "", ignore_errors=True)
