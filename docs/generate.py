"""Write docs/hyperparameters.md and the comments in configs/ from the config models (`make docs`)."""

from pathlib import Path

from sequifier.config.help.comments import annotate
from sequifier.config.help.reference import reference
from sequifier.config.loading.kinds import KINDS, kind_of
from sequifier.project.make import configs

ROOT = Path(__file__).parents[1]


def generated() -> dict[Path, str]:
    """The text that each generated file should have."""
    texts = {ROOT / "docs" / "hyperparameters.md": reference()}
    # The repository is a project for the Python tokens, as `sequifier make NAME --example python` makes it.
    texts |= {ROOT / "configs" / file: text for file, text in configs("python").items()}
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        if path not in texts:
            texts[path] = annotate(path.read_text(encoding="utf-8"), KINDS[kind_of(path)], full=True)
    return texts


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
