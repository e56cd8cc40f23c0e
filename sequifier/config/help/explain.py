"""What is known about one field, optimizer, scheduler or criterion: `sequifier config explain NAME`."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches

from pydantic.fields import FieldInfo

from sequifier.config.base import field_about
from sequifier.config.catalogue.torch_names import SINGULAR, Family, Option, known_names, options_of, resolve_name
from sequifier.config.dump import inline
from sequifier.config.fields import COUNTED, MAY_DIFFER_ON_RESUME, SEARCH_SECTIONS, run_fields, searchable
from sequifier.config.help.comments import summary
from sequifier.config.help.describe import IN_ITS_FIELDS, Described, describe
from sequifier.config.help.reference import models_in
from sequifier.config.loading.kinds import KINDS
from sequifier.config.loading.old_names import ELSEWHERE, SPELLINGS, as_word
from sequifier.config.ranges import Range
from sequifier.config.search_sections import Section
from sequifier.errors import SequifierError, nearest

WIDTH = 100
FAMILIES: tuple[Family, ...] = ("optimizers", "schedulers", "criteria")
MOST_MENTIONS = 8
WELL_KNOWN = ("Adam", "AdamW", "SGD", "StepLR")


@dataclass(frozen=True)
class Place:
    """One field of one config."""

    kind: str
    key: str
    field: FieldInfo

    @property
    def file(self) -> str:
        return f"{self.kind}.yaml"

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]


def all_fields() -> Iterator[Place]:
    """Every field of every config; the fields of a search's two sections are those of a run."""
    for kind, model in KINDS.items():
        for prefix, part in models_in(model, ""):
            if not issubclass(part, Section):
                for name, field in part.model_fields.items():
                    yield Place(kind, f"{prefix}.{name}" if prefix else name, field)


def explain(name: str) -> str:
    """What is known about a field in every config that has it, as text.

    Args:
        name: a field or its dotted key, with the kind of config in front if wanted (`infer.seed`); the name of an
            optimizer, a scheduler or a criterion, or of one of its options; or what another library or an older
            version calls a field.

    Raises:
        SequifierError: there is no such thing; the message names what is similar, or fields that mention it.
    """
    kind, dot, rest = name.partition(".")
    places = [place for place in all_fields() if not (dot and kind in KINDS) or place.kind == kind]
    name = rest if dot and kind in KINDS else name
    fields = _matching(name, places)
    others = _called(name.rpartition(".")[2], places)
    if fields:
        texts = [_text(group) for group in _alike(fields)]
        if others := [place for place in others if place.name not in {field.name for field in fields}]:
            texts += [f"See also {place.key} ({place.file}): {summary(place.field)}" for place in others]
        return "\n\n".join(texts)
    if classes := list(_classes(name)):
        return "\n\n".join(classes)
    if others:
        keys = _keys(others)
        leaves = {key.rpartition(".")[2] for key in keys}
        is_of_range = len(leaves) == 1 and leaves <= Range.model_fields.keys() and all("." in key for key in keys)
        heads = [
            f"In a range, {name} is called {leaves.pop()}."
            if is_of_range
            else f"{name} is called {' or '.join(keys)} here."
        ]
        return "\n\n".join(heads + [_text(group) for group in _alike(others)])
    if (said := _elsewhere(name)) is not None:
        return said
    raise SequifierError(f"there is no field `{name}`", fix=_near(name, places))


def keys_called(kind: str, word: str) -> list[str]:
    """Return the dotted keys of the fields of one kind of config that have a name, here or in another library.

    Args:
        kind: a key of `KINDS`.
        word: the name, in any case, with `-` or `_`.
    """
    # A search has the fields of a run too, in sections with other names.
    sections = SEARCH_SECTIONS if kind == "hyperparameter_search" else {}
    places = [
        replace(each, key=f"{sections.get(section, section)}{dot}{name}")
        for each in all_fields()
        for section, dot, name in [each.key.partition(".")]
        if each.kind == kind or (each.kind == "train" and section in sections)
    ]
    return _keys([each for each in places if each.name == as_word(word)] or _called(word, places))


def _matching(name: str, places: list[Place]) -> list[Place]:
    """The fields of this name or dotted key; of a section of a search those of a run."""
    wanted = name.removeprefix("overrides.")
    section, dot, field = wanted.partition(".")
    of_run = {searched: section for section, searched in SEARCH_SECTIONS.items()}
    if dot and section in of_run:
        wanted = f"{of_run[section]}.{field}"
        places = [place for place in all_fields() if place.kind == "train"]
    exact = [place for place in places if place.key == wanted]
    if exact and "." in wanted:
        return exact
    return [place for place in places if place.key == wanted or place.key.endswith(f".{wanted}")]


def _called(word: str, places: list[Place]) -> list[Place]:
    """The fields that an older version or another library calls so."""
    word = as_word(word)
    found = []
    for place in places:
        declared = field_about(place.field)
        old = (*declared.get("old_names", ()), *declared.get("second_names", ()))
        if word in old or word in declared.get("synonyms", "").split():
            found.append(place)
    used = [place for place in found if not field_about(place.field).get("unused")]
    return used or found


def _keys(places: list[Place]) -> list[str]:
    return list(dict.fromkeys(place.key for place in places))


def _alike(places: list[Place]) -> list[list[Place]]:
    """Places of fields that are described alike, together."""
    groups: dict[tuple[str, Described], list[Place]] = {}
    for place in places:
        groups.setdefault((place.name, describe(place.field)), []).append(place)
    return list(groups.values())


def _text(places: list[Place]) -> str:
    described = describe(places[0].field)
    files: dict[str, list[str]] = {}
    for place in places:
        files.setdefault(place.key, []).append(place.file)
    head = "; ".join(f"{key} ({', '.join(names)})" for key, names in files.items())
    facts = {
        "fields": ", ".join(_fields_of(places[0])),
        "values": described.values if described.default != IN_ITS_FIELDS else "",
        "default": described.default or "none: it is mandatory",
        "interacts with": described.interacts,
        "change it": described.change,
        "limits": described.limits,
        "effect": "none: it is accepted because configs of older versions have it" if described.unused else "",
        **(_of_run(places) if not described.unused else {}),
        "also called": ", ".join(field_about(places[0].field).get("synonyms", "").split()),
    }
    width = max(map(len, facts)) + 4
    lines = [head, *_wrapped(described.purpose, "  ", "  ")]
    for name, said in facts.items():
        if said:
            lines += _wrapped(said, f"  {name:<{width - 2}}", " " * width)
    return "\n".join(lines)


def _fields_of(section: Place) -> list[str]:
    """The names of the fields of a section."""
    of_run = {searched: section for section, searched in SEARCH_SECTIONS.items()}
    kind, key = ("train", of_run[section.key]) if section.key in of_run else (section.kind, section.key)
    return [place.name for place in all_fields() if place.kind == kind and place.key.rpartition(".")[0] == key]


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _of_run(places: list[Place]) -> dict[str, str]:
    """What a field of a run is in a search, when a run resumes, and for its identity."""
    key = next((place.key for place in places if place.kind == "train"), "")
    field = next((field for field in run_fields() if field.key == key), None)
    if field is None:
        return {}
    section = f"{SEARCH_SECTIONS[field.section]}.{field.name}" if field.section else f"{field.name} at the top level"
    in_search = f"{section}, or overrides.{key} with base_config_path"
    if searchable().get(field.name) != field:
        searched = {*KINDS["hyperparameter_search"].model_fields}
        in_search = "one value for all runs" if field.section or field.name in searched else ""
    return {
        "in a search": in_search,
        "on resume": "may differ" if key in MAY_DIFFER_ON_RESUME else "",
        "identity": "another value is still the same run" if key not in COUNTED else "",
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
        is_other = today.lower() != name.lower()
        written = f"{today} ({SINGULAR[family]})" + (f", called {name} in older versions" if is_other else "")
        lines = [written, f"  {_where(family)}"]
        lines += [f"  {option:<24}{_option(known)}" for option, known in options_of(family, today).items()]
        lines += [f"  implied: {inline(preset)}"] if preset else []
        yield "\n".join(lines)


def _where(family: Family) -> str:
    return {
        "optimizers": "training_spec.optimizer: {name: ..., option: value}; its learning rate is learning_rate",
        "schedulers": "training_spec.scheduler: {name: ..., option: value}; scheduler_step_on decides what it counts",
        "criteria": "training_spec.criterion: {target: {name: ..., option: value}}",
    }[family]


def _option(option: Option) -> str:
    kind = f"list of {option.items}" if option.type == "list" else option.type
    choices = f", one of {', '.join(map(str, option.choices))}" if option.choices else ""
    default = "required" if option.required else f"default {inline(option.default)}"
    return f"{kind}{choices}, {default}"


def _elsewhere(name: str) -> str | None:
    """What is no field: an option of a class, or a key of older versions without one counterpart."""
    word = SPELLINGS.get(as_word(name), as_word(name))
    if word in ELSEWHERE:
        return "\n".join(_wrapped(f"{word} {ELSEWHERE[word]}", "", "  "))
    lines = []
    for family in FAMILIES:
        having = [known for known in known_names(family) if word in options_of(family, known)]
        having.sort(key=lambda known: known not in WELL_KNOWN)
        if having:
            some = ", ".join(having[:MOST_MENTIONS]) + (", ..." if len(having) > MOST_MENTIONS else "")
            text = f"{word} is an option of {family}: {some}; `sequifier config explain {having[0]}` shows its default"
            lines += _wrapped(text, "", "  ")
    return "\n".join(lines) or None


def _near(name: str, places: list[Place]) -> str:
    """Fields of a similar name; else fields that mention the word."""
    leaf = name.rpartition(".")[2]
    keys = _keys(places)
    leaves = {key.rpartition(".")[2]: key for key in reversed(keys)}
    synonyms = {word: place.key for place in places for word in field_about(place.field).get("synonyms", "").split()}
    near = nearest(name, keys) or [leaves[word] for word in nearest(leaf, leaves)]
    # Names of libraries are many and odd: only a strong likeness says something.
    near = near or get_close_matches(leaf, [known for family in FAMILIES for known in known_names(family)], cutoff=0.8)
    near = near or [synonyms[word] for word in get_close_matches(leaf, synonyms, n=1, cutoff=0.75)]
    if near:
        return "did you mean " + " or ".join(f"`{key}`" for key in dict.fromkeys(near)) + "?"
    word = leaf.lower().replace("_", " ")
    mention = list(dict.fromkeys(place.key for place in places if word in (place.field.description or "").lower()))
    if word.strip() and mention:
        some = ", ".join(mention[:MOST_MENTIONS]) + (", ..." if len(mention) > MOST_MENTIONS else "")
        return f"these fields mention it: {some}"
    return "`sequifier config reference` lists all fields"
