"""What is to know of one field, optimizer, scheduler or criterion: `sequifier config explain NAME`."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from sequifier.config.base import field_about
from sequifier.config.catalogue.torch_names import SINGULAR, Family, Option, known_names, options_of, resolve_name
from sequifier.config.dump import inline
from sequifier.config.fields import SEARCH_SECTIONS, searchable
from sequifier.config.help.reference import Described, describe, models_in
from sequifier.config.loading.kinds import KINDS
from sequifier.config.loading.old_names import ELSEWHERE
from sequifier.config.search_sections import ModelSampling, Section, TrainingSampling
from sequifier.errors import SequifierError, did_you_mean, nearest

WIDTH = 100
FAMILIES: tuple[Family, ...] = ("optimizers", "schedulers", "criteria")


@dataclass(frozen=True)
class Place:
    """One field of one config."""

    kind: str
    key: str
    field: FieldInfo

    @property
    def file(self) -> str:
        return f"{self.kind}.yaml"


def all_fields() -> Iterator[Place]:
    """Every field of every config; those of a search's two sections are the fields of a run."""
    for kind, model in KINDS.items():
        for prefix, part in models_in(model, ""):
            if not issubclass(part, Section):
                for name, field in part.model_fields.items():
                    yield Place(kind, f"{prefix}.{name}" if prefix else name, field)


def explain(name: str) -> str:
    """What is to know of a field in every config that has it, as text.

    Args:
        name: a field or its dotted key, with the kind of config in front if wanted (`infer.seed`); or the name of an
            optimizer, a scheduler or a criterion.

    Raises:
        SequifierError: there is no such thing; the message names what is near.
    """
    found = _matching(name)
    if found:
        return "\n\n".join(_text(places) for places in _alike(found))
    if classes := list(_classes(name)):
        return "\n\n".join(classes)
    raise SequifierError(f"there is no field `{name}`", fix=_near(name))


def _matching(name: str) -> list[Place]:
    kind, dot, rest = name.partition(".")
    wanted = rest if dot and kind in KINDS else name
    places = [place for place in all_fields() if wanted == name or place.kind == kind]
    sampling = {searched: section for section, searched in SEARCH_SECTIONS.items()}
    wanted = wanted.removeprefix("overrides.")
    section, dot, field = wanted.partition(".")
    if dot and section in sampling:
        wanted = f"{sampling[section]}.{field}"
        places = [place for place in all_fields() if place.kind == "train"]
    exact = [place for place in places if place.key == wanted]
    if exact and "." in wanted:
        return exact
    return [place for place in places if place.key == wanted or place.key.endswith(f".{wanted}")]


def _alike(places: list[Place]) -> list[list[Place]]:
    """Places of fields that are described alike, together."""
    groups: list[tuple[Described, str, list[Place]]] = []
    for place in places:
        described, name = describe(place.field), place.key.rpartition(".")[2]
        for known, known_name, group in groups:
            if known == described and known_name == name:
                group.append(place)
                break
        else:
            groups.append((described, name, [place]))
    return [group for _, _, group in groups]


def _text(places: list[Place]) -> str:
    described = describe(places[0].field)
    keys: dict[str, list[str]] = {}
    for place in places:
        keys.setdefault(place.key, []).append(place.file)
    head = "; ".join(f"{key} ({', '.join(files)})" for key, files in keys.items())
    facts = {
        "values": described.values,
        "default": described.default or "none: it is mandatory",
        "interacts with": described.interacts,
        "when to change": described.change,
        "searched": _searched(places),
        "limits": described.limits,
        "effect": "none: it is accepted because configs of older versions have it" if described.unused else "",
    }
    width = max(map(len, facts)) + 4
    lines = [head, *_wrapped(described.purpose, "  ", "  ")]
    for name, said in facts.items():
        if said:
            lines += _wrapped(said, f"  {name:<{width - 2}}", " " * width)
    return "\n".join(lines)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _searched(places: list[Place]) -> str:
    """Where a field of a run may be searched."""
    if all(place.kind != "train" for place in places) or describe(places[0].field).unused:
        return ""
    key = next(place.key for place in places if place.kind == "train")
    field = searchable().get(key.rpartition(".")[2])
    if field is None or field.key != key:
        return "not in a search: one value for all runs" if _in_a_search(key) else ""
    if field.section:
        return f"{SEARCH_SECTIONS[field.section]}.{field.name}, or overrides.{key} over a base_config_path"
    return f"{field.name} at the top level of hyperparameter_search.yaml, or overrides.{key} over a base_config_path"


def _in_a_search(key: str) -> bool:
    return key.rpartition(".")[2] in {
        *KINDS["hyperparameter_search"].model_fields,
        *ModelSampling.model_fields,
        *TrainingSampling.model_fields,
    }


def _classes(name: str) -> Iterator[str]:
    """The optimizers, schedulers and criteria of this name, with their options."""
    for family in FAMILIES:
        try:
            today, preset = resolve_name(family, name)
        except ValueError as error:
            if "not available" in str(error):
                yield str(error)
            continue
        written = f"{today} ({SINGULAR[family]})" + (f", called {name} in older versions" if today != name else "")
        lines = [written, f"  {_where(family)}"]
        lines += [f"  {option:<24}{_option(known)}" for option, known in options_of(family, today).items()]
        lines += [f"  implied: {inline(preset)}"] if preset else []
        yield "\n".join(lines)


def _where(family: Family) -> str:
    return {
        "optimizers": "training_spec.optimizer: {name: ..., option: value}; its learning rate is learning_rate",
        "schedulers": "training_spec.scheduler: {name: ..., option: value}; scheduler_step_on says what it counts",
        "criteria": "training_spec.criterion: {target: {name: ..., option: value}}",
    }[family]


def _option(option: Option) -> str:
    kind = f"list of {option.items}" if option.type == "list" else option.type
    choices = f", one of {', '.join(map(str, option.choices))}" if option.choices else ""
    default = "required" if option.required else f"default {inline(option.default)}"
    return f"{kind}{choices}, {default}"


def _near(name: str) -> str:
    kind, dot, rest = name.partition(".")
    name = rest if dot and kind in KINDS else name
    leaf = name.rpartition(".")[2]
    for place in all_fields():
        if leaf in field_about(place.field).get("old_names", ()):
            return f"it is called `{place.key.rpartition('.')[2]}` now"
    if leaf in ELSEWHERE:
        return f"`{leaf}` {ELSEWHERE[leaf]}"
    keys = list(dict.fromkeys(place.key for place in all_fields()))
    if near := nearest(name, keys):
        return "did you mean " + " or ".join(f"`{key}`" for key in near) + "?"
    leaves: dict[str, str] = {}
    for key in keys:
        leaves.setdefault(key.rpartition(".")[2], key)
    names = [known for family in FAMILIES for known in known_names(family)]
    if near := nearest(leaf, [*leaves, *names]):
        return "did you mean " + " or ".join(f"`{leaves.get(word, word)}`" for word in near) + "?"
    return "`sequifier config reference` lists every field" if len(keys) > 30 else did_you_mean(name, keys)
