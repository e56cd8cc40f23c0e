"""The scripts in docs/, which are no package, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[2] / "docs"


def docs_script(name: str) -> ModuleType:
    """Import docs/NAME.py."""
    found = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look there
    found.loader.exec_module(module)
    return module
