"""`hyperparameter_search.yaml`: one search over models, training settings and input columns.

Here are the rules between its fields: which values are tried together (`LINKED`), and whether they fit.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails

from sequifier.config.base import KeyPath, Named
from sequifier.config.catalogue.distributions import POINT
from sequifier.config.catalogue.metric_names import split_step, step_name
from sequifier.config.model import ModelSpec
from sequifier.config.placed_errors import problem, relocated
from sequifier.config.ranges import Range
from sequifier.config.search_fields import SearchFields
from sequifier.config.search_sections import LINKED, is_whole, searchable_fields
from sequifier.config.searched import searched_options, takes_whole_numbers
from sequifier.errors import did_you_mean


class SearchConfig(SearchFields):
    """A search: which configurations to try, and how. Each becomes a `train.yaml` of its own."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        errors = [*self._independent_problems(), *self._link_problems()]
        if not errors:  # the groups exist, so their lengths can be compared
            errors = [*chain.from_iterable(map(self._length_problems, self.groups().values()))]
        if not errors:
            errors = [*self._backbone_problems()]
        errors += [*self._strategy_problems(), *self._metric_problems(), *self._criterion_problems()]
        errors += self._horizon_problems()
        shuffle = dict(self.training_hyperparameter_sampling)["shuffle_history"]
        if self.order_check and shuffle != "none":
            message = f"compares with histories in their order, but shuffle_history is {shuffle}; leave one of them out"
            errors.append(problem(("order_check",), message, self.order_check))
        if self.overrides and self.base_config_path is None:
            errors.append(problem(("overrides",), "requires base_config_path", self.overrides))
        if errors:
            raise ValidationError.from_exception_data("SearchConfig", errors)
        return self

    def _independent_problems(self) -> Iterator[InitErrorDetails]:
        linked = [field for fields in LINKED.values() for field in fields]
        for index, field in enumerate(self.independent):
            place = ("independent", index)
            if field in self.independent[:index]:
                yield problem(place, f"`{field}` is given twice; keep one of them", field)
            elif field not in linked and field in searchable_fields():
                yield problem(
                    place, f"`{field}` is in no built-in group, so it is independent already; leave it out", field
                )
            elif field not in linked:
                yield problem(
                    place, f"`{field}` is not a field of a built-in group; {did_you_mean(field, linked)}", field
                )

    def _link_problems(self) -> Iterator[InitErrorDetails]:
        linked = {field: name for name, fields in self.groups().items() if name in LINKED for field in fields}
        free = [field for field in searchable_fields() if field not in linked]
        for index, fields in enumerate(self.links):
            place = ("links", index)
            if len(fields) < 2:
                yield problem(place, f"{fields} has one field; a group needs at least two", fields)
            for field in fields:
                if field in linked:
                    by = linked[field]
                    fix = f"; to free it, write independent: [{field}]" if by in LINKED else ""
                    yield problem(place, f"`{field}` is linked already, in {by}{fix}", fields)
                elif field not in free:
                    yield problem(place, f"`{field}` is not a searchable field; {did_you_mean(field, free)}", fields)
                linked.setdefault(field, f"links[{index}]")

    def _length_problems(self, fields: Sequence[str]) -> Iterator[InitErrorDetails]:
        several = {
            field: values for field in fields if isinstance(values := self.searched(field), list) and len(values) > 1
        }
        if not several:
            return
        anchor, expected = max(several.items(), key=lambda item: len(item[1]))
        if self.is_given(fields[0]) and fields[0] in several:
            anchor, expected = fields[0], several[fields[0]]
        built_in = {field for linked in LINKED.values() for field in linked} - {*self.independent}
        for field in fields:
            if field in several and len(several[field]) != len(expected):
                message = (
                    f"{field} has {len(several[field])} values {_shown(several[field])}, but {anchor}, which is "
                    f"linked with it by index, has {len(expected)}: {_shown(expected)}; give {field} "
                    f"{len(expected)} values, or one that is used with each"
                )
                if field in built_in:
                    message += f"; or write independent: [{field}] to combine each {field} with each {anchor}"
                yield problem(self.place(field), message, several[field])

    def _backbone_problems(self) -> Iterator[InitErrorDetails]:
        """Rules between fields of one model, reported at the line of the value; other rules need the whole cell."""
        if self.is_free_backbone():
            return  # the plan checks the models that occur
        fields = [field for field in LINKED["backbone"] if self.searched(field) is not None]
        if any(isinstance(self.searched(field), Range) for field in fields):
            return
        lists: dict[str, Any] = {field: self.searched(field) for field in fields}
        for index in range(max(map(len, lists.values()))):
            values = {field: found[index if len(found) > 1 else 0] for field, found in lists.items()}
            try:
                ModelSpec.model_validate(values)
            except ValidationError as error:
                for detail in relocated(error, drop=0):
                    if detail["type"] == "default_factory_not_called":
                        continue  # the consequence of another problem
                    field = str(detail["loc"][0]) if detail["loc"] else _named_first(detail, fields)
                    place = self.place(field) if field in lists else ("model_hyperparameter_sampling",)
                    if field in lists and len(lists[field]) > 1:
                        place = (*place, index)
                    detail["loc"] = place
                    yield detail

    def _strategy_problems(self) -> Iterator[InitErrorDetails]:
        if self.search_strategy != "grid" and self.n_samples is None:
            yield problem(
                ("n_samples",),
                f"is required for search_strategy {self.search_strategy}: the number of configurations to run",
            )
        if self.search_strategy == "grid":
            for place, name, values, whole in self._ranges():
                if not values.is_listable(whole=whole):
                    message = (
                        f"grid cannot list every value of {name} between {values.low} and {values.high}; give a list "
                        f"or a step, or use search_strategy sample"
                    )
                    yield problem(place, message, values)

    def _ranges(self) -> Iterator[tuple[KeyPath, str, Range, bool]]:
        """Every range: its place, its name, itself, and whether it holds integers."""
        for field in searchable_fields():
            values = self.searched(field)
            if isinstance(values, Range):
                yield self.place(field), field, values, is_whole(field)
            elif field in ("optimizer", "scheduler"):
                for index, entry in enumerate(values or ()):
                    for option, inner in searched_options(field, entry).items():
                        if isinstance(inner, Range):
                            whole = takes_whole_numbers(field, entry, option)
                            yield (*self.place(field), index, option), f"{entry.name}.{option}", inner, whole

    def _metric_problems(self) -> Iterator[InitErrorDetails]:
        """A metric that depends on a varied field cannot rank: a smaller weight is not a better model."""
        if self.metric == "val_loss":
            bending = ["criterion", "loss_weights", "class_weights", "distribution"]
        elif self.metric.endswith("_loss") and not self.metric.endswith("_log_loss"):
            bending = ["criterion", "class_weights", "distribution"]
        else:
            return
        varied = [field for field in bending if len(self.searched(field)) > 1]  # type: ignore[arg-type]
        if varied:
            kinds = self.target_column_types or {}
            independent = []
            for target in self.target_columns:
                error = self._error_metric(target)
                of_kind = {"categorical": ("log_loss",), "real": (error,)}
                found = of_kind.get("real" if error == "crps" else kinds.get(target, ""), ("log_loss", error))
                independent += [f"val_{target}_{metric}" for metric in found]
            message = (
                f"{self.metric} is measured with the {' and '.join(varied)} that this search varies, so it cannot "
                f"rank the runs; use a metric that does not depend on them: {', '.join(independent)}"
                + ("" if kinds else " (log_loss for a categorical target, the other one for a real one)")
            )
            yield problem(("metric",), message, self.metric)

    def _error_metric(self, target: str) -> str:
        """The metric of a real target that does not depend on its loss: `crps` where every run has a distribution."""
        distributions: Any = self.searched("distribution")
        found = {each.get(target, POINT) for each in distributions}
        if POINT not in found:
            return "crps"
        return "rmse" if len(found) == 1 else "mae"

    def _horizon_problems(self) -> Iterator[InitErrorDetails]:
        """Losses and metrics of several horizons are means over different steps, so a step that all have must rank."""
        shortest, longest = self.horizons
        of_script = self.evaluation_script is not None and self.metric in self.evaluation_script.metrics
        metric, step = split_step(self.metric)
        if shortest == longest or of_script or (step is not None and step <= shortest):
            return
        better = ", ".join(
            f"val_{target}_{step_name(name, 1)}"
            for target in self.target_columns
            for name in {"categorical": ("log_loss",), "real": ("mae",)}.get(
                (self.target_column_types or {}).get(target, ""), ("log_loss", "mae")
            )
        )
        what = f"{metric} is a mean over the steps of prediction_horizon, which is {shortest} to {longest} here"
        if step is not None:
            what = f"prediction_horizon: {shortest} has no step {step}"
        kinds = "" if self.target_column_types else " (log_loss for a categorical target, mae for a real one)"
        yield problem(("metric",), f"{what}; use a metric of a step that all runs have: {better}{kinds}", self.metric)

    def _criterion_problems(self) -> Iterator[InitErrorDetails]:
        criteria: Any = self.searched("criterion")
        for index, criterion in enumerate(criteria):
            if set(criterion) != set(criteria[0]):
                message = (
                    f"names the targets {sorted(criterion)}, the first criterion {sorted(criteria[0])}; a search "
                    f"varies the loss of a target, not which targets have one"
                )
                yield problem((*self.place("criterion"), index), message, plain_names(criterion))


def plain_names(criterion: Mapping[str, Named]) -> dict[str, str]:
    """Each target's criterion, for a message."""
    return {target: named.name for target, named in criterion.items()}


def _named_first(detail: InitErrorDetails, fields: Sequence[str]) -> str:
    """The field that a message about a whole section begins with."""
    message = str(detail.get("ctx", {}).get("error", ""))
    return next((field for field in fields if message.startswith(field)), "")


def _shown(values: Sequence[Any]) -> str:
    texts = [f"{value.name}" if isinstance(value, Named) else str(value) for value in values]
    return "[" + ", ".join(texts) + "]"
