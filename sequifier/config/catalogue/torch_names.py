"""Optimizers, schedulers and criteria that a config may name, and their options.

Everything is read from `torch_names.json`, which `python -m tools.torch_names` writes by trying each class of
the installed libraries; so a config is checked without importing torch. Names match without regard to case, and v1's
names are understood.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sequifier.config.base import ColumnType, Named
from sequifier.errors import did_you_mean

Family = Literal["optimizers", "schedulers", "criteria"]
SINGULAR = {"optimizers": "optimizer", "schedulers": "scheduler", "criteria": "criterion"}

DEFAULT_CRITERIA: dict[ColumnType, str] = {"categorical": "CrossEntropyLoss", "real": "MSELoss"}

MEDIAN_CRITERION = "L1Loss"
"""Default criterion of times and of targets with log1p. It predicts the median, which is the median of the original
values too; the mean of logarithms is not the mean of the values."""

AUTO = "auto"
"""A length of the run in a scheduler's options; see `sequifier.config.catalogue.schedules`."""

AUTO_OPTIONS = ("T_max", "T_0", "total_steps", "total_iters", "epochs", "steps_per_epoch")


@dataclass(frozen=True)
class Option:
    """One keyword argument of a class.

    Attributes:
        type: of a value; a "list" has `items`, exactly `length` of them where that is given.
        default: the value when left out (a number that JSON cannot write is a string: "inf"); None if required.
        choices: the allowed values; empty: any.
        minimum: the smallest allowed value.
    """

    type: Literal["bool", "int", "float", "str", "list"]
    default: Any = None
    required: bool = False
    nullable: bool = False
    choices: tuple[Any, ...] = ()
    items: Literal["int", "float", "str"] | None = None
    length: int | None = None
    minimum: int | None = None


@dataclass(frozen=True)
class OptimizerEntry:
    """One optimizer.

    Attributes:
        library: "torch" or "pytorch_optimizer".
        options: by name, without those that a config does not set (`lr`).
        our_defaults: options whose default here is not the library's.
        matrices_only: it trains the matrices of the blocks, and AdamW everything else.
        state_copies: numbers that it stores for each parameter.
        moves_padding: a step moves the padding row of an embedding, although its gradient is 0.
        ignores: the fields without effect: "learning_rate", "scheduler".
    """

    library: Literal["torch", "pytorch_optimizer"]
    options: Mapping[str, Option]
    our_defaults: Mapping[str, Any] = field(default_factory=dict)
    matrices_only: bool = False
    state_copies: int = 2
    moves_padding: bool = False
    ignores: tuple[str, ...] = ()


def check_optimizer(named: Named) -> Named:
    """The optimizer as its library spells it, with checked options.

    Raises:
        ValueError: all problems of name and options, with similar names.
    """
    name, preset = resolve_name("optimizers", named.name)
    checked = _checked("optimizers", name, preset | _today(name, named.options))
    if checked.options.get("fused") and checked.options.get("foreach"):
        raise ValueError(f"{name}: `fused` and `foreach` exclude each other; leave one of them out")
    return checked


def check_scheduler(named: Named) -> Named:
    """The scheduler as torch spells it, with checked options; `auto` stays in lengths.

    Entries of `schedulers` are checked too and returned as plain maps.

    Raises:
        ValueError: all problems, with similar names.
    """
    name, _ = resolve_name("schedulers", named.name)
    options = named.options
    if name not in NESTING:
        return _checked("schedulers", name, options)
    parts = [check_scheduler(part) for part in scheduler_parts(Named(name=name, **options))]
    for part in parts:
        if part.name == "ReduceLROnPlateau":
            raise ValueError(f"{name} cannot contain ReduceLROnPlateau, which does not count steps")
    rest = {option: value for option, value in options.items() if option != "schedulers"}
    checked = _checked("schedulers", name, rest)
    if name == "SequentialLR" and len(checked.options["milestones"]) != len(parts) - 1:
        raise ValueError(
            f"SequentialLR: {len(parts)} schedulers need {len(parts) - 1} milestones, one at each change, "
            f"not {len(checked.options['milestones'])}"
        )
    if sorted(set(checked.options.get("milestones", []))) != checked.options.get("milestones", []):
        raise ValueError(f"SequentialLR: milestones {checked.options['milestones']} are not increasing")
    plain = [{"name": part.name, **part.options} for part in parts]
    return Named(name=name, schedulers=plain, **checked.options)


def check_criterion(named: Named, kind: Literal["categorical", "real"]) -> Named:
    """The criterion as torch.nn spells it, for a target of this kind, with checked options.

    Raises:
        ValueError: all problems, with similar names.
    """
    name, _ = resolve_name("criteria", named.name)
    fitting = criteria(kind)
    if name not in fitting:
        other = "real" if kind == "categorical" else "categorical"
        raise ValueError(f"{name} is for {other} targets; a {kind} one takes {', '.join(fitting)}")
    return _checked("criteria", name, named.options)


def ignored_fields(named: Named) -> str | None:
    """A note on the fields that a checked optimizer ignores; None for nearly all."""
    ignores = optimizer_entry(named.name).ignores
    if not ignores:
        return None
    fields = ["learning_rate"] * ("learning_rate" in ignores) + ["scheduler", "warmup_steps"]
    return f"{named.name} ignores {', '.join(fields[:-1])} and {fields[-1]}"


NESTING = ("SequentialLR", "ChainedScheduler")
"""Schedulers made of others, given as `schedulers: [{name: ...}, ...]`."""


def scheduler_parts(named: Named) -> list[Named]:
    """The schedulers inside a SequentialLR or ChainedScheduler, as given.

    Raises:
        ValueError: `schedulers` is not a list of names or maps.
    """
    parts = named.options.get("schedulers")
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"{named.name}: `schedulers` must be a list like [{{name: LinearLR, total_iters: 5}}, ...]")
    for part in parts:
        if not isinstance(part, str) and not (isinstance(part, Mapping) and isinstance(part.get("name"), str)):
            raise ValueError(f"{named.name}: {part!r} in `schedulers` is neither a name nor a map with one")
    return [Named.model_validate(part) for part in parts]


def known_names(family: Family) -> list[str]:
    """Every name that a config may use."""
    return list(_names()[family])


def criteria(kind: Literal["categorical", "real"]) -> list[str]:
    """The criteria for targets of one kind."""
    return [name for name, entry in _names()["criteria"].items() if entry["kind"] == kind]


@cache
def options_of(family: Family, name: str) -> Mapping[str, Option]:
    """The options of a name as today's library spells it."""
    return _options(_names()[family][name])


@cache
def optimizer_entry(name: str) -> OptimizerEntry:
    """How to build this optimizer; `name` as its library spells it."""
    return read_optimizer_entry(_names()["optimizers"][name])


def read_optimizer_entry(entry: Mapping[str, Any]) -> OptimizerEntry:
    """An entry as torch_names.json holds it."""
    return OptimizerEntry(
        library=entry["from"],
        options=_options(entry),
        our_defaults={
            option: described["default"]
            for option, described in entry["options"].items()
            if "library_default" in described
        },
        matrices_only=entry.get("matrices_only", False),
        state_copies=entry.get("state_copies", 2),
        moves_padding=entry.get("moves_padding", False),
        ignores=tuple(entry.get("ignores", ())),
    )


@cache
def _names() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("torch_names.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _options(entry: Mapping[str, Any]) -> dict[str, Option]:
    options = {}
    for name, described in entry["options"].items():
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in described.items()
            if key != "library_default"
        }
        options[name] = Option(**fields)
    return options


def resolve_name(family: Family, name: str) -> tuple[str, dict[str, Any]]:
    """Today's name, and the options that v1's name implies.

    The exact spelling counts first: `Adafactor` is torch's, `AdaFactor` pytorch_optimizer's; v1's `Apollo` is
    ApolloDQN, not the later APOLLO.
    """
    names = _names()
    known, aliases, unsupported = names[family], names["aliases"][family], names["unsupported"][family]
    exact = name in known or name in aliases or name in unsupported
    spellings = (
        [name]
        if exact
        else [spelling for spelling in [*known, *aliases, *unsupported] if spelling.lower() == name.lower()]
    )
    if not spellings:
        fix = did_you_mean(name, [*known, *aliases])
        raise ValueError(f"unknown {SINGULAR[family]} `{name}`; {fix}")
    as_alias = [spelling for spelling in spellings if spelling in aliases]
    if as_alias and len(spellings) > 1:
        raise ValueError(
            f"`{name}` could be {' or '.join(f'`{spelling}`' for spelling in spellings)}; spell it exactly"
        )
    spelling = spellings[0]  # torch's names are listed first
    if spelling in known:
        return spelling, {}
    if spelling in aliases:
        return aliases[spelling]["name"], aliases[spelling].get("options", {})
    raise ValueError(f"{SINGULAR[family]} `{spelling}` is not available: {unsupported[spelling]}")


def _today(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options under the names of today's libraries, which have renamed some since v1."""
    renamed = _names()["option_aliases"].get(name, {})
    return {renamed.get(option, option): value for option, value in options.items()}


def _checked(family: Family, name: str, options: Mapping[str, Any]) -> Named:
    known, reserved = options_of(family, name), _names()["reserved"][family]
    problems, values = [], {}
    for option, value in options.items():
        if option in known:
            try:
                values[option] = _value(known[option], value, auto=family == "schedulers" and option in AUTO_OPTIONS)
            except ValueError as error:
                problems.append(f"`{option}`: {error}")
        elif option in reserved:
            problems.append(f"`{option}` {reserved[option]}")
        else:
            fix = did_you_mean(option, known) if known else "it has none"
            problems.append(f"unknown option `{option}`; {fix}")
    missing = [option for option, described in known.items() if described.required and option not in options]
    problems += [f"`{option}` is required" for option in missing]
    if problems:
        raise ValueError(f"{name}: " + "; ".join(problems))
    return Named(name=name, **values)


def _value(option: Option, value: Any, *, auto: bool) -> Any:
    if value is None and option.nullable:
        return None
    if auto and value == AUTO:
        return AUTO
    if option.type != "list":
        converted = _scalar(option.type, value)
    elif isinstance(value, list | tuple):
        assert option.items is not None
        converted = [None if item is None and option.nullable else _scalar(option.items, item) for item in value]
        if option.length is not None and len(converted) != option.length:
            raise ValueError(f"{value} has {len(converted)} entries, {option.length} are needed")
    else:
        raise ValueError(f"{value!r} is not a list")
    if option.choices and converted not in option.choices:
        raise ValueError(f"{value!r} is not one of {', '.join(map(str, option.choices))}")
    if option.minimum is not None and converted < option.minimum:
        raise ValueError(f"{value!r} is less than {option.minimum}")
    return converted


def _scalar(kind: str, value: Any) -> Any:
    """The value as its type, or a ValueError; 2.0 is an int, 2 a float, and a boolean is neither."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "int" and is_number and math.isfinite(value) and value == int(value):
        return int(value)
    if kind == "float" and is_number and math.isfinite(value):
        return float(value)
    if (kind == "bool" and isinstance(value, bool)) or (kind == "str" and isinstance(value, str)):
        return value
    wanted = {
        "int": "an integer",
        "float": "a finite number" if is_number else "a number",
        "bool": "true or false",
        "str": "a string",
    }[kind]
    raise ValueError(f"{value!r} is not {wanted}")
