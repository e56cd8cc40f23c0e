"""The settings of runs as text."""

from typing import Any

from sequifier.config.dump import inline
from sequifier.config.identity import plain


def shown(value: Any) -> str:
    """A value in a table or a message: `AdamW(weight_decay=0.01)`, else as in YAML."""
    value = plain(value)
    if isinstance(value, dict) and "name" in value:
        options = ", ".join(f"{key}={shown(below)}" for key, below in value.items() if key != "name")
        return f"{value['name']}({options})" if options else str(value["name"])
    return str(value) if isinstance(value, str) else inline(value)
