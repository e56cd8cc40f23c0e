"""The normal form of a run: fields and options that are written but equal their default are left out.

`identity` hashes a run as it is written. Two runs with the same normal form train alike although their identities
differ: the identity of the normal form is their `merge_key`, by which a plan merges them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sequifier.config.architecture import automatic_widths
from sequifier.config.base import ColumnType, Named
from sequifier.config.catalogue.distributions import POINT
from sequifier.config.catalogue.torch_names import Family, options_of
from sequifier.config.model import ModelSpec
from sequifier.config.training import TrainingSpec


@dataclass
class Normal:
    """Changes to a section that do not change the training.

    Attributes:
        update: field -> value in normal form.
        reasons: why each changes nothing, for the plan.
    """

    update: dict[str, Any]
    reasons: list[str]

    def put(self, field: str, value: Any, reason: str) -> None:
        """Change one field."""
        self.update[field] = value
        self.reasons.append(reason)


def normal_inputs(columns: Sequence[str], kinds: Mapping[str, ColumnType]) -> list[str]:
    """Input columns in the order in which a model reads them: categorical ones first."""
    return [*_of_kind("categorical", columns, kinds), *_of_kind("real", columns, kinds)]


def normal_model(spec: ModelSpec, inputs: Sequence[str]) -> Normal:
    """A model in normal form.

    Args:
        spec: in canonical form.
        inputs: as `normal_inputs` gives them.
    """
    found = Normal({}, [])
    widths = spec.feature_embedding_dims
    if widths is not None and set(widths) == set(inputs):
        even = automatic_widths(len(inputs), spec.initial_embedding_dim)
        if tuple(widths[column] for column in inputs) == even:
            found.put("feature_embedding_dims", None, "feature_embedding_dims are the widths that null gives")
    distributions = {target: name for target, name in spec.distribution.items() if name != POINT}
    if distributions != spec.distribution:
        found.put("distribution", distributions, "distribution point is the default")
    if spec.tie_weights != sorted(spec.tie_weights):
        found.put("tie_weights", sorted(spec.tie_weights), "the order of tie_weights has no effect")
    return found


def normal_training(
    spec: TrainingSpec, seq_length: int, prediction_horizon: int, criteria: Mapping[str, str]
) -> Normal:
    """A training in normal form.

    Args:
        spec: in canonical form, checked.
        seq_length, prediction_horizon: of the run.
        criteria: the default criterion of each target.
    """
    found = Normal({}, [])
    families: list[tuple[str, Family, Named]] = [
        ("optimizer", "optimizers", spec.optimizer),
        ("scheduler", "schedulers", spec.scheduler),
    ]
    for field, family, entry in families:
        shorter, left_out = _without_defaults(family, entry)
        if left_out:
            found.put(field, shorter, _are_defaults(field, entry.name, left_out))
    _put_losses(found, spec, criteria)
    decay = spec.optimizer.options.get("weight_decay", _default("optimizers", spec.optimizer.name, "weight_decay"))
    if spec.decay_all and decay == 0:
        found.put("decay_all", False, "decay_all has no effect without weight_decay")
    if spec.effective_batch_size == spec.batch_size * spec.accumulation_steps:
        found.put("effective_batch_size", None, "effective_batch_size is batch_size x accumulation_steps")
    if spec.early_stopping_epochs is not None and spec.early_stopping_epochs >= spec.epochs:
        found.put("early_stopping_epochs", None, "early_stopping_epochs has no effect: it is not below epochs")
    if spec.evaluation_stride is not None and spec.evaluation_context == "split":
        found.put("evaluation_stride", None, "evaluation_stride has no effect with evaluation_context split")
    elif spec.evaluation_stride == max(seq_length // 2, 1):
        found.put("evaluation_stride", None, f"evaluation_stride {spec.evaluation_stride} is seq_length // 2")
    if spec.evaluation_horizon == prediction_horizon > 1:
        found.put("evaluation_horizon", None, f"evaluation_horizon {prediction_horizon} is prediction_horizon")
    if spec.layer_type_dtypes is not None and not spec.layer_autocast:
        found.put("layer_autocast", True, "layer_autocast has no effect with layer_type_dtypes")
    return found


def _put_losses(found: Normal, spec: TrainingSpec, defaults: Mapping[str, str]) -> None:
    criterion = {}
    for target, entry in spec.criterion.items():
        shorter, left_out = _without_defaults("criteria", entry)
        if left_out:
            found.reasons.append(_are_defaults(f"criterion.{target}", entry.name, left_out))
        if not shorter.options and shorter.name == defaults.get(target):
            found.reasons.append(f"criterion.{target} {entry.name} is the default")
        else:
            criterion[target] = shorter
    if criterion != spec.criterion:
        found.update["criterion"] = criterion
    weights = {target: weight for target, weight in (spec.loss_weights or {}).items() if weight != 1}
    if spec.loss_weights is not None and weights != spec.loss_weights:
        found.put("loss_weights", weights or None, "loss_weights of 1 are the default")
    of_classes = {
        target: row
        for target, row in (spec.class_weights or {}).items()
        if row == "balanced" or any(w != 1 for w in row[1:])
    }
    if spec.class_weights is not None and of_classes != spec.class_weights:
        found.put("class_weights", of_classes or None, "class_weights of 1 are the default")

    samples = {target: asked for target, asked in spec.softmax.items() if asked != "full"}
    if samples != spec.softmax:
        found.put("softmax", samples, "softmax full is the default")


def _without_defaults(family: Family, entry: Named) -> tuple[Named, list[str]]:
    """An entry without the options that equal their default, and the names of those."""
    left_out = [
        option
        for option, value in entry.options.items()
        if _same(value, _default(family, entry.name, option, missing=_NONE))
    ]
    kept = {option: value for option, value in entry.options.items() if option not in left_out}
    if family == "schedulers" and isinstance(parts := kept.get("schedulers"), list):
        shorter = [_without_defaults(family, Named.model_validate(part)) for part in parts]
        kept["schedulers"] = [{"name": part.name, **part.options} for part, _ in shorter]
        left_out += [option for _, inside in shorter for option in inside]
    return Named(name=entry.name, **kept), left_out


_NONE = object()


def _default(family: Family, name: str, option: str, *, missing: Any = None) -> Any:
    described = options_of(family, name).get(option)
    return missing if described is None or described.required else described.default


def _same(value: Any, default: Any) -> bool:
    """Whether two values are equal: 1 equals 1.0, but not true."""
    if isinstance(value, bool) or isinstance(default, bool):
        return value is default
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return len(value) == len(default) and all(map(_same, value, default))
    return bool(value == default)


def _are_defaults(field: str, name: str, options: Sequence[str]) -> str:
    is_default = "is its default" if len(options) == 1 else "are its defaults"
    return f"{field} {name}: {', '.join(options)} {is_default}"


def _of_kind(kind: ColumnType, columns: Sequence[str], kinds: Mapping[str, ColumnType]) -> list[str]:
    return [column for column in columns if kinds[column] == kind]
