"""Compile the kernels while the package is installed, so that the first image does not wait for it.

In   the source tree, an environment with the imports of supercuts.warm (listed in pyproject.toml)
Out  numba's cache of the kernels inside the wheel
Not  editable installs: their folder keeps the kernels that the first segmentation compiles

The cache is for one processor, Python and numba. Elsewhere numba ignores it and compiles kernels at their first use,
as it does where compiling failed here. SUPERCUTS_COMPILE=0 leaves it out, for wheels that are distributed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileKernels(BuildHookInterface):
    """Adds the cache to the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile in a copy of the package, whose folders hold nothing older."""
        if version == "editable" or os.environ.get("SUPERCUTS_COMPILE") == "0":
            return
        self.folder = Path(tempfile.mkdtemp(prefix="supercuts-build-"))
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
            return
        build_data["pure_python"], build_data["infer_tag"] = False, True  # machine code: for this platform alone
        for path in package.rglob("*.nb[ic]"):
            build_data["force_include"][str(path)] = path.relative_to(self.folder).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copy."""
        shutil.rmtree(getattr(self, "folder", None) or "", ignore_errors=True)
