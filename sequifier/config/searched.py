"""Several values for a field of a run: a list of them, or a range where it is a number.

Every value is validated by the field's own type, bounds and validators, and an error has the place of that value.
"""

from collections.abc import Mapping
from copy import copy
from functools import cache
from typing import Any, Literal, get_origin

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from sequifier.config.base import Named, StrictModel, plain_type
from sequifier.config.catalogue.torch_names import Option, check_optimizer, check_scheduler, options_of, resolve_name
from sequifier.config.placed_errors import problem, relocated
from sequifier.config.ranges import Range, Searched, some_values


class ValuesOf:
    """Annotation: values of a field of another model, each validated as it is there.

    Args:
        owner: the model that declares the field.
        name: of the field.
        searched: whether a list of values or a range is taken; else exactly one value.
    """

    def __init__(self, owner: type[BaseModel], name: str, *, searched: bool) -> None:
        self.owner, self.name, self.searched = owner, name, searched
        self.kind = plain_type(owner.model_fields[name].annotation)

    @property
    def is_number(self) -> bool:
        """Whether a range may stand for the values."""
        return self.kind in (int, float)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        validate = self.validate_all if self.searched else self.validate_one
        return core_schema.no_info_plain_validator_function(validate, json_schema_input_schema=handler(source))

    def validate_all(self, raw: Any) -> Searched:
        """A list, a single value or a range, as validated values."""
        if self.is_number and isinstance(raw, Mapping):
            return self._range(raw)
        if not isinstance(raw, list) or self._is_one_list(raw):
            return [self.validate_one(raw)]
        if not raw:
            raise ValueError("the list is empty; give a value, or leave the field out")
        values, errors = [], []
        for index, value in enumerate(raw):
            try:
                values.append(self.validate_one(value))
            except ValidationError as error:
                errors += relocated(error, drop=0, prefix=(index,))
            except ValueError as error:
                errors.append(problem((index,), str(error), value))
        if errors:
            raise ValidationError.from_exception_data(self.name, errors)
        return values

    def validate_one(self, raw: Any) -> Any:
        """One value, by the field's type, bounds and validators."""
        if self.searched and self.kind is Named:
            return self._entry(raw)
        try:
            return getattr(_one_field_model(self.owner, self.name).model_validate({self.name: raw}), self.name)
        except ValidationError as error:
            raise ValidationError.from_exception_data(self.name, relocated(error, drop=1)) from error

    def _is_one_list(self, raw: list[Any]) -> bool:
        return get_origin(self.kind) is list and bool(raw) and all(isinstance(item, str) for item in raw)

    def _range(self, raw: Mapping[Any, Any]) -> Range:
        if not Range.described_by(raw):
            raise ValueError("a map must be a range: {low, high}, optionally with step or log")
        bounds = Range.model_validate(raw)
        errors = []
        for bound in ("low", "high"):
            try:
                self.validate_one(getattr(bounds, bound))
            except ValidationError as error:
                errors += relocated(error, drop=0, prefix=(bound,))
        if self.kind is int and not bounds.has_whole_step:
            errors.append(problem(("step",), f"{bounds.step} is not an integer", bounds.step))
        if errors:
            raise ValidationError.from_exception_data(self.name, errors)
        return bounds

    def _entry(self, raw: Any) -> Named:
        """An optimizer or scheduler, whose options may be lists and ranges themselves."""
        if isinstance(raw, Named):
            return raw
        named = Named.model_validate(raw)
        options = {
            option: Range.model_validate(value) if Range.described_by(value) else value
            for option, value in named.options.items()
        }
        entry = Named(name=named.name, **options)
        searched = searched_options(self.name, entry)
        first = {option: some_values(values)[0] for option, values in searched.items()}
        check = check_optimizer if self.name == "optimizer" else check_scheduler
        check(Named(name=entry.name, **{**entry.options, **first}))
        for option, values in searched.items():
            if (
                isinstance(values, Range)
                and takes_whole_numbers(self.name, entry, option)
                and not values.has_whole_step
            ):
                raise ValueError(f"{entry.name}: `{option}`: step: {values.step} is not an integer")
            for value in some_values(values):
                check(Named(name=entry.name, **{**entry.options, **first, option: value}))
        return entry


def searched_options(field: str, entry: Named) -> dict[str, Searched]:
    """The options of an optimizer or scheduler that have several values.

    An option that is itself a list, like `betas`, is searched as a list of lists.

    Raises:
        ValueError: there is no such optimizer or scheduler; the message names similar ones.
    """
    known = _known_options(field, entry)
    searched: dict[str, Searched] = {}
    for option, value in entry.options.items():
        is_list = option == "schedulers" or (option in known and known[option].type == "list")
        if isinstance(value, Range) or (isinstance(value, list) and (not is_list or _all_lists(value))):
            if value == []:
                raise ValueError(f"{entry.name}: {option}: the list is empty")
            searched[option] = value
    return searched


def takes_whole_numbers(field: str, entry: Named, option: str) -> bool:
    """Whether an option of an optimizer or scheduler entry is an integer."""
    known = _known_options(field, entry)
    return option in known and known[option].type == "int"


def _known_options(field: str, entry: Named) -> Mapping[str, Option]:
    family: Literal["optimizers", "schedulers"] = "optimizers" if field == "optimizer" else "schedulers"
    return options_of(family, resolve_name(family, entry.name)[0])


@cache
def _one_field_model(owner: type[BaseModel], name: str) -> type[BaseModel]:
    """A model of one field alone, with its validators. Rules between fields pass, because the others are missing."""
    decorators: Any = owner.__pydantic_decorators__
    of_field: Any = field_validator
    before: Any = model_validator(mode="before")
    inherited = StrictModel.__pydantic_decorators__.model_validators
    validators: dict[str, Any] = {
        key: of_field(name, mode=found.info.mode)(classmethod(found.func.__func__))
        for key, found in decorators.field_validators.items()
        if name in found.info.fields
    } | {
        key: before(classmethod(found.func.__func__))
        for key, found in decorators.model_validators.items()
        if found.info.mode == "before" and key not in inherited
    }
    field = owner.model_fields[name]
    fields: dict[str, Any] = {name: (field.annotation, copy(field))}
    return create_model(f"{owner.__name__}.{name}", __base__=StrictModel, __validators__=validators, **fields)


def _all_lists(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, list) for item in value)
