"""The weights of the classes of categorical targets, with `balanced` in numbers."""

from collections.abc import Mapping

from sequifier.config.loss_fields import ClassWeights
from sequifier.dataset.batches import Split
from sequifier.errors import ConfigError, Problem


def class_weights(
    given: ClassWeights | None, train: Split, id_maps: Mapping[str, Mapping[str, int]]
) -> dict[str, list[float]]:
    """Return the weights of the classes of each target that has some, id 0 first.

    Args:
        given: as in the config.
        train: the training windows, of whose targets `balanced` counts the classes.
        id_maps: target -> class -> id.

    Raises:
        ConfigError: a class of a balanced target does not occur.
    """
    found, problems = {}, []
    for target, weights in (given or {}).items():
        if weights != "balanced":
            found[target] = weights
            continue
        ids = id_maps[target]
        counts = train.of(target).n_targets_of_class(target, len(ids) + 1)[1:]
        if absent := [name for name, number in ids.items() if not counts[number - 1]]:
            problems.append(
                Problem(
                    f"training_spec.class_weights.{target}",
                    f"`balanced`, but {_listed(absent)} of `{target}` {'does' if len(absent) == 1 else 'do'} not occur "
                    "among the training targets",
                    fix="write one weight for each class, or preprocess with vocabulary_from: train",
                )
            )
            continue
        found[target] = [1.0, *(counts.sum() / (len(counts) * counts)).tolist()]
    if problems:
        raise ConfigError(problems)
    return found


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return f"class {shown}" if len(names) == 1 else f"classes {shown}{', ...' if len(names) > 3 else ''}"
