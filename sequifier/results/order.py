"""What the order of events is worth: the best run against the same configuration on histories in random order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sequifier.artifacts.sequence_losses import OF_TEST, ONE_MODEL, Units, read_unit_sums
from sequifier.results.comparison import difference
from sequifier.results.ranking import Configuration, SeedNoise, seed_noise
from sequifier.results.search_folder import order_sums
from sequifier.results.student import half_width
from sequifier.results.trials import Table, Trial

SHUFFLE = "training_spec.shuffle_history"


@dataclass(frozen=True)
class WorthOfOrder:
    """What order is worth, by one of the two runs of `order_check`.

    Attributes:
        shuffled: what of a history was in random order: `all` of it, or all `before_last`.
        run: number of the run on shuffled histories.
        of: number of the run on histories in their order.
        metric: in which both are compared.
        split: on which; the best run was chosen on the validation split, so the test split counts where there is one.
        in_order: the metric of the run in order.
        in_random_order: the metric of the other run.
        worth: by how much the run in order is better; negative where it is worse.
        error: standard error of that, over the targets' sampling units and, where configurations were trained with
            several seeds, over training seeds; None where it is unknown.
        degrees: degrees of freedom of the error.
        by_seeds: whether the error counts the training seed.
        is_significant: whether the difference is above t(degrees, .975) standard errors; None where this is unknown.
    """

    shuffled: str
    run: int
    of: int
    metric: str
    split: Literal["validation", "test"]
    in_order: float
    in_random_order: float
    worth: float
    error: float | None
    degrees: float | None
    by_seeds: bool
    is_significant: bool | None


def worth_of_order(table: Table, rows: Sequence[Configuration]) -> tuple[WorthOfOrder, ...]:
    """Return what order is worth, all of it first, then the order before the last event; empty without order checks.

    Args:
        table: of the search.
        rows: its ranked configurations.
    """
    checks = [check for check in table.order_checks if check.value is not None]
    if not checks:
        return ()
    best = next((row.first.number for row in rows if row.rank == 1), None)
    # The best run may have changed since, because the search was extended.
    of = best if any(check.order_of == best for check in checks) else checks[-1].order_of
    run = next((trial for trial in table.trials if trial.number == of), None)
    if run is None:
        return ()
    found = [each for check in checks if check.order_of == of for each in _compared(table, rows, run, check)]
    return tuple(sorted(found, key=lambda each: each.shuffled != "all"))


def sentence(found: WorthOfOrder) -> str:
    """What order is worth, for people: two numbers compared, and whether they differ."""
    whole = found.shuffled == "all"
    what = "The order of events" if whole else "The order of the events before the last one"
    error = "" if found.error is None else f" ± {found.error:.2g}"
    shuffled = "all" if whole else "all but the last"
    values = (
        f"{found.metric} {found.in_order:.4g} in order, {found.in_random_order:.4g} with {shuffled} of a history "
        f"shuffled ({found.split} split"
    )
    seeds = "" if found.error is None or found.by_seeds else "; ± without the effect of the training seed"
    verdict = f"is worth {found.worth:.3g}{error}"
    if found.is_significant is False:
        verdict += ", which is not significant"
    return f"{what} {verdict}: {values}{seeds})."


def _compared(table: Table, rows: Sequence[Configuration], run: Trial, check: Trial) -> Iterator[WorthOfOrder]:
    metric = table.metric if table.metric in check.metrics else "val_loss"  # an evaluation script measures models alone
    values = run.metrics.get(metric, run.best_val_loss), check.metrics.get(metric, check.best_val_loss)
    split: Literal["validation", "test"] = "validation"
    units = _units(run.sequence_losses, metric), _units(check.sequence_losses, metric)
    on_test = None
    if table.test.get("run") == run.number:
        on_test = _units(table.folder / OF_TEST, metric), _units(order_sums(table.folder, check.number), metric)
    if on_test is not None and on_test[0] is not None and on_test[1] is not None:
        split, units, values = "test", on_test, (on_test[0].value, on_test[1].value)
    if values[0] is None or values[1] is None:
        return
    sign = -1 if metric == table.metric and table.maximize else 1
    worth = sign * (values[1] - values[0])
    error, degrees, by_seeds = _error(units, seed_noise(table, rows) if metric == table.metric else None)
    least = half_width(error, degrees)
    yield WorthOfOrder(
        shuffled=str(check.setting(SHUFFLE)),
        run=check.number,
        of=run.number,
        metric=metric,
        split=split,
        in_order=values[0],
        in_random_order=values[1],
        worth=worth,
        error=error,
        degrees=degrees,
        by_seeds=by_seeds,
        is_significant=None if least is None else abs(worth) > least,
    )


def _error(
    units: tuple[Units | None, Units | None], seeds: SeedNoise | None
) -> tuple[float | None, float | None, bool]:
    """Standard error of a difference that is paired by unit, its degrees of freedom, and whether seeds count in it."""
    one, other = units
    if one is None or other is None or not (one.is_usable and other.is_usable and one.pairs_with(other)):
        return None, None, False
    found = difference({0: one}, {0: other})
    if seeds is None or not seeds.deviation:
        return found.standard_error, found.degrees, False
    # Equal seeds draw equal weights at first, but then two trainings on different histories have nothing in common.
    parts = (found.standard_error**2, found.degrees), (2 * seeds.deviation**2, seeds.n_trials - seeds.n_configurations)
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / free for variance, free in parts)
    return total**0.5, total**2 / spread, True  # degrees of freedom by Satterthwaite 1946


def _units(path: Path | None, metric: str) -> Units | None:
    return None if path is None else read_unit_sums(path).get(ONE_MODEL, {}).get(metric)
