"""The reference of all fields, `docs/hyperparameters.md`: an index, then a short section for each field.

Everything is read from the declarations in the config models, so there is nothing to keep in step by hand.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sequifier.config.base import is_section
from sequifier.config.fields import COUNTED, MAY_DIFFER_ON_RESUME, run_fields, searchable
from sequifier.config.help.describe import Described, describe, is_in_words, members
from sequifier.config.loading.kinds import KINDS
from sequifier.config.ranges import Range
from sequifier.config.search_sections import Section

WIDTH = 118

HEAD = """# Every field of every config

Generated from the descriptions in `sequifier/config`; `make docs` writes it anew. `sequifier config explain FIELD`
prints one field, [configuration.md](configuration.md) says where values come from.

Fields without a default are mandatory. A search may vary the fields that are marked *searchable*: each takes a list of
values, or a range `{low, high}` where it is a number."""


def reference() -> str:
    """Every field of every config, as Markdown."""
    return hyperparameters({f"{kind}.yaml": model for kind, model in KINDS.items()})


def hyperparameters(models: Mapping[str, type[BaseModel]]) -> str:
    """The reference of some configs, as Markdown.

    Args:
        models: the config model of each file, `{"train.yaml": TrainConfig}`.
    """
    parts: list[str] = []
    index: list[str] = []
    shown: dict[tuple[str, Described], str] = {}
    sections: set[type[BaseModel]] = set()
    for file, model in models.items():
        parts.append(f"## {file}")
        for place, part in models_in(model, ""):
            if part not in sections:
                sections.add(part)
                page = _Page(file, "range" if part is Range else place, part, shown)  # any field can have one
                parts += page.parts()
                index.append(page.index())
    return "\n\n".join([HEAD, *filter(None, index), *parts]) + "\n"


def models_in(model: type[BaseModel], name: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """A model and the models of its fields, with their dotted names."""
    yield name, model
    for key, field in model.model_fields.items():
        inner = [member for member in members(field.annotation) if is_section(member)]
        for member in inner if not issubclass(model, Section) else ():
            yield from models_in(member, f"{name}.{key}" if name else key)


class _Page:
    """One model of one file: its fields, without those that another file describes in the same words."""

    def __init__(self, file: str, place: str, model: type[BaseModel], shown: dict[tuple[str, Described], str]) -> None:
        self.file, self.place, self.model = file, place, model
        fields = {} if issubclass(model, Section) else model.model_fields
        described = {name: describe(field) for name, field in fields.items()}
        self.alike = {name: shown[name, found] for name, found in described.items() if (name, found) in shown}
        self.unused = {name: found for name, found in described.items() if found.unused and name not in self.alike}
        own = {name: found for name, found in described.items() if not found.unused and name not in self.alike}
        self.own = own
        shown |= {(name, found): self.anchor(name) for name, found in own.items()}

    def anchor(self, name: str) -> str:
        """Of a field: `train.training_spec.epochs`."""
        return ".".join(filter(None, (self.file.removesuffix(".yaml"), self.place, name)))

    def index(self) -> str:
        """A line of links."""
        if not self.own:
            return ""
        title = f"{self.file}: {self.place}" if self.place else self.file
        return _filled(f"**{title}**: " + ", ".join(f"[{name}](#{self.anchor(name)})" for name in self.own))

    def parts(self) -> Iterator[str]:
        """The paragraphs of this model."""
        if self.place:
            yield f"### {self.file}: {self.place}"
        about_it = (self.model.__doc__ or "").strip().split("\n")[0]
        if issubclass(self.model, Section):  # the fields of another section, described there
            fixed = [f"`{key}`" for key in self.model.model_fields if key not in self.model.searchable()]
            yield _filled(f"{about_it} These take one value: {', '.join(fixed)}.")
            return
        yield about_it
        for name, found in self.own.items():
            yield self._entry(name, self.model.model_fields[name], found)
        if self.alike:
            links = [f"[{name}](#{anchor})" for name, anchor in self.alike.items()]
            yield _filled(f"As in the files above: {', '.join(links)}.")
        if self.unused:
            yield "Without effect:"
            yield "\n".join(_filled(f"- `{name}`: {found.purpose}") for name, found in self.unused.items())

    def _entry(self, name: str, field: FieldInfo, found: Described) -> str:
        key = f"{self.place}.{name}" if self.place else name
        default = found.default if is_in_words(field) or not found.default else f"`{found.default}`"
        facts = [f"Values: {found.values}", f"default: {default}" if default else "mandatory", *self._flags(key)]
        lines = [f"{'; '.join(facts)}.", *map(_code, found.advice)]
        head = f'#### <a id="{self.anchor(name)}"></a>{key}\n\n{_filled(_code(found.purpose))}\n\n'
        return head + "\n".join(_filled(f"- {line}") for line in lines)

    def _flags(self, key: str) -> Iterator[str]:
        """What is declared of a field of a run beside its values."""
        if self.file != "train.yaml" or key not in {field.key for field in run_fields()}:
            return
        if key in {field.key for field in searchable().values()}:
            yield "*searchable*"
        if key in MAY_DIFFER_ON_RESUME:
            yield "may differ when a run resumes"
        if key not in COUNTED:
            yield "not part of the run's identity"


def _filled(text: str) -> str:
    """A paragraph or an item of a list in lines."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _code(text: str) -> str:
    """A sentence with the names of fields as code, as far as they cannot be words."""
    return re.sub(
        r"`[^`]*`|[\w.]*\w_\w+(?:\.\w+)*",
        lambda found: f"`{found[0]}`" if found[0].rpartition(".")[2] in _NAMES else found[0],
        text,
    )


_NAMES = {name for model in KINDS.values() for _, part in models_in(model, "") for name in part.model_fields}
