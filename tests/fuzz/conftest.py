"""Make the modules next to the tests importable, also for worker processes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
