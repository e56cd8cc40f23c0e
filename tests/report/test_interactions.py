"""Interactions against least squares done another way."""

import random

import numpy as np
import pytest

from sequifier.report.interactions import interactions
from sequifier.results.trials import Table, Trial


def table_of(kind: str, n: int = 80) -> Table:
    draw = random.Random(1)
    trials = []
    for number in range(n):
        x, y, z = draw.choice("ab"), draw.choice([1, 2, 3]), draw.choice([True, False])
        value = {"both": float((x == "a") == (y > 1)), "added": (x == "a") + y}[kind] + draw.gauss(0, 0.2)
        trials.append(Trial("t", number, "r", "finished", settings={"x": x, "y": y, "z": z}, value=float(value)))
    return Table("t", "training", "val_loss", "minimize", tuple(trials), ("x", "y", "z"))


def test_a_planted_interaction_is_found_and_additive_effects_are_not_interactions() -> None:
    names = ["x", "y", "z"]
    first = interactions(table_of("both"), names)[0]
    assert first.parameters == ("x", "y") and first.share > 0.3 and first.p_value == 1 / 500
    assert all(each.p_value > 0.02 for each in interactions(table_of("added"), names))


def test_shares_match_two_regressions_on_ranks() -> None:
    table = table_of("both")
    values = np.array([trial.value for trial in table.trials])
    ranks = np.argsort(np.argsort(values)).astype(float)

    def explained(*columns: list[object]) -> float:
        parts = [np.ones(len(ranks))]
        for column in columns:
            parts += [np.array([float(value == level) for value in column]) for level in set(column)]
        design = np.stack(parts, axis=1)
        fit = design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
        return float(1 - ((ranks - fit) ** 2).sum() / ((ranks - ranks.mean()) ** 2).sum())

    x, y = ([trial.settings[name] for trial in table.trials] for name in "xy")
    found = next(each for each in interactions(table, ["x", "y", "z"]) if each.parameters == ("x", "y"))
    assert found.added == pytest.approx(explained(x, y))
    assert found.together == pytest.approx(explained(list(zip(x, y, strict=True))))
    assert found.share == pytest.approx(found.together - found.added)
    for one, other, mean, count in found.cells:
        inside = [v for v, a, b in zip(values, x, y, strict=True) if (a, str(b)) == (one, other)]
        assert (mean, count) == (pytest.approx(np.mean(inside)), len(inside))


def test_few_trials_say_nothing() -> None:
    assert interactions(table_of("both", n=5), ["x", "y"]) == []
    assert interactions(table_of("both", n=9), ["x", "y"]) == [], "hardly two trials in each combination"
