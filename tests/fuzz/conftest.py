"""Make the modules beside the tests importable: workers, which are processes of their own, import them too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
