"""Exports are tested on the small architectures of the model tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
