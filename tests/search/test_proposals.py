"""A bayesian search from its plan to its last proposal, with results that a formula gives instead of a training."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts.ledger import Record, State
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError
from sequifier.search.bayesian import STARTUP
from sequifier.search.build_space import build_space
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import PlannedRun
from sequifier.search.proposals import Proposer
from sequifier.search.run_file import run_file, write_run_files
from sequifier.search.space import MAX_EXTREMES
from tests.support import searches
from tests.support.searches import metadata, search

ADAMW = {"name": "AdamW", "weight_decay": {"low": 1e-5, "high": 1e-1, "log": True}}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., SearchConfig]:
    """A search over widths, layers, optimizers and a range of learning rates."""

    def make(n_samples: int = 18, **values: Any) -> SearchConfig:
        defaults: dict[str, Any] = {
            "search_strategy": "bayesian",
            "n_samples": n_samples,
            "project_root": str(tmp_path),
            "model": {"dim_model": [16, 32, 64], "n_head": [2, 4, 4], "num_layers": [1, 2, 3]},
            "training": {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}, "optimizer": ["Adam", ADAMW]},
        }
        return search(**defaults | values)

    return make


def loss(run: PlannedRun) -> float:
    training, model = run.config.training_spec, run.config.model_spec
    return (math.log10(training.learning_rate) + 3) ** 2 + abs(model.dim_model - 32) / 32 + model.num_layers / 10


def record_of(run: PlannedRun, state: State = "finished", **values: Any) -> Record:
    measured = {"best_val_loss": loss(run)} if state == "finished" else {}
    return searches.record_of(run, state, **measured | values)


def proposer(config: SearchConfig, records: list[Record] | None = None) -> Proposer:
    return Proposer(make_plan(config, metadata(), records=records or []), metadata())


def searched(config: SearchConfig, n_runs: int, records: list[Record] | None = None) -> list[Record]:
    """The ledger of so many runs, the proposer kept from the first to the last."""
    records = list(records or [])
    plan = make_plan(config, metadata(), records=records)
    asked = Proposer(plan, metadata())
    while len({record.run for record in records}) < n_runs:
        run = asked.next(records)
        assert run is not None
        write(run, config)
        records += [record_of(run, "running"), record_of(run)]
    return records


def write(run: PlannedRun, config: SearchConfig) -> None:
    run.path.parent.mkdir(parents=True, exist_ok=True)
    run.path.write_text(run_file(run, make_plan(config, metadata())), encoding="utf-8")


def test_runs_are_proposed_one_by_one_until_there_are_n_samples(config: Any) -> None:
    records = searched(config(), 18)
    assert [record.run for record in records[::2]] == list(range(18))
    assert len({record.identity for record in records}) == 18
    assert proposer(config(), records).next(records) is None
    assert proposer(config(19), records).next(records) is not None


def test_the_plan_is_what_the_ledger_knows_and_says_how_many_will_follow(config: Any) -> None:
    first = make_plan(config(), metadata())
    assert (first.runs, first.n_to_propose, first.n_cells) == ((), 18, None)
    records = searched(config(), 12)
    plan = make_plan(config(), metadata(), records=records)
    assert [(run.number, run.identity) for run in plan.runs] == [(each.run, each.identity) for each in records[::2]]
    assert (plan.new, plan.earlier, plan.n_to_propose) == ((), (), 6)
    # Every searched field is shown, also where the runs so far do not differ.
    assert {"learning_rate", "optimizer", "dim_model", "n_head", "num_layers"} <= set(plan.runs[0].changed)
    proposed = Proposer(plan, metadata()).next(records)
    assert proposed is not None
    assert set(proposed.changed) == set(plan.runs[0].changed)


@pytest.mark.parametrize("at", [3, 11, 15])
def test_a_search_that_was_killed_proposes_what_it_would_have_proposed(config: Any, at: int) -> None:
    undisturbed = searched(config(), 18)
    resumed = searched(config(), 18, undisturbed[: 2 * at])
    assert [(each.run, each.identity) for each in resumed] == [(each.run, each.identity) for each in undisturbed]


def test_other_seeds_propose_other_configurations_and_sampler_seed_is_the_one_that_counts(config: Any) -> None:
    def rates(**values: Any) -> list[Any]:
        records = searched(config(**values), 12)
        plan = make_plan(config(**values), metadata(), records=records)
        return [run.config.training_spec.learning_rate for run in plan.runs]

    one = rates(sampler_seed=3)
    assert one == rates(sampler_seed=3, seed=77, hp_search_name="other")
    assert one != rates(sampler_seed=4, hp_search_name="third")


def test_it_homes_in_on_the_best(config: Any) -> None:
    records = searched(config(40), 40)
    values = [record.best_val_loss or 0.0 for record in records[1::2]]
    assert sorted(values[-10:])[5] < sorted(values[:10])[5] / 2


def test_a_run_rewritten_to_fit_into_memory_counts_as_the_same(config: Any) -> None:
    batch = {"training": {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}, "batch_size": [16, 32, 64]}}
    records = searched(config(**batch), 14)
    expected = proposer(config(**batch), records).next(records)
    for record in records[::2]:
        if record.batch_size == 64:
            path = Path(config().project_root) / "configs/hp_search" / f"{record.name}.yaml"
            text = path.read_text(encoding="utf-8")
            # 32 is a value of the search too, so it is the identity that tells which it was.
            text = text.replace("  batch_size: 64", "  batch_size: 32  # was 64, which ran out of memory")
            text = text.replace("  accumulation_steps: 1", "  accumulation_steps: 2  # was 1")
            path.write_text(
                text.replace("  effective_batch_size: null", "  effective_batch_size: 64"), encoding="utf-8"
            )
    assert sum(record.batch_size == 64 for record in records) > 0
    plan = make_plan(config(**batch), metadata(), records=records)
    assert (len(plan.runs), plan.earlier) == (14, ())
    assert proposer(config(**batch), records).next(records) == expected


def test_a_configuration_in_another_form_is_known_for_what_it_is(config: Any) -> None:
    """gqa with a head count that does not divide is written down as mha; a null as what it stands for."""
    reverting = {
        "model": {"n_head": 4, "attention_type": ["gqa", "mqa"], "n_kv_heads": [3, 2], "rope_theta": [2e4, 5e5]},
        "training": {"scheduler": [{"name": "CosineAnnealingLR", "T_max": "auto"}], "optimizer": ["adamw", ADAMW]},
        "input_columns": [None, ["kind"]],
        "seq_length": [None, 4],
    }
    records = searched(config(12, **reverting), 12)
    plan = make_plan(config(12, **reverting), metadata(), records=records)
    assert (len(plan.runs), plan.earlier) == (12, ())


def test_failed_runs_are_not_proposed_again_and_do_not_steer(config: Any) -> None:
    records = searched(config(30), 16)
    failed = [*records[:-1], records[-1].model_copy(update={"state": "failed", "best_val_loss": None})]
    without = proposer(config(30), failed).next(failed)
    assert without is not None
    assert without.number == 16
    assert without.identity not in {record.identity for record in records}


def test_an_unfinished_run_is_not_proposed_twice(config: Any) -> None:
    records = searched(config(), 13)
    running = records[:-1]
    plan = make_plan(config(), metadata(), records=running)
    assert [run.number for run in plan.kept if run.record and run.record.state == "running"] == [12]
    following = Proposer(plan, metadata()).next(running)
    assert following is not None
    assert (following.number, following.identity != running[-1].identity) == (13, True)


def test_a_run_that_waits_at_a_rung_is_learned_from(config: Any) -> None:
    def next_after(last: float) -> PlannedRun | None:
        paused = [
            record_of(run, "interrupted", error="paused after epoch 1", curve=[loss(run) * last])
            for run in make_plan(config(), metadata(), records=records).runs
        ]
        return proposer(config(), paused).next(paused)

    records = searched(config(), 12)
    one, other = next_after(1.0), next_after(-1.0)
    assert one is not None
    assert other is not None
    assert one.identity != other.identity


def test_a_run_whose_file_was_lost_before_it_finished_is_proposed_again_under_its_number(config: Any) -> None:
    records = searched(config(), 14)
    (Path(config().project_root) / "configs/hp_search/demo-run-13.yaml").unlink()
    running = records[:-1]
    plan = make_plan(config(), metadata(), records=running)
    assert [earlier.record.run for earlier in plan.earlier] == [13]
    again = Proposer(plan, metadata()).next(running)
    assert again is not None
    assert (again.number, again.identity, again.record) == (13, records[-1].identity, running[-1])


def test_results_of_a_sample_over_another_space_are_used_where_they_are_in_this_one(config: Any) -> None:
    narrow = {"training": {"learning_rate": [1e-4, 1e-3, 1e-2], "optimizer": ["Adam", "SGD"]}}
    sampled = make_plan(config(30, search_strategy="sample", **narrow), metadata())
    write_run_files(sampled)
    records = [record_of(run) for run in sampled.runs]
    wider = config(36)
    plan = make_plan(wider, metadata(), records=records)
    with_adam = [run.number for run in sampled.runs if run.config.training_spec.optimizer.name == "Adam"]
    assert [run.number for run in plan.runs] == with_adam
    assert plan.n_to_propose == 6
    proposed = Proposer(plan, metadata()).next(records)
    assert proposed is not None
    assert proposed.number == 30
    # They steer it: other values, another proposal.
    assert len(with_adam) >= STARTUP
    upside_down = [record.model_copy(update={"best_val_loss": -(record.best_val_loss or 0.0)}) for record in records]
    assert proposer(wider, upside_down).next(upside_down) != proposed


def test_a_finite_space_ends_with_its_last_configuration(config: Any) -> None:
    small = {"model": {"num_layers": [1, 2, 3, 4]}, "training": {"dropout": [0.0, 0.1, 0.2]}}
    records = searched(config(50, **small), 12)
    assert proposer(config(50, **small), records).next(records) is None


def test_repeats_count_neither_as_configurations_nor_as_results(config: Any) -> None:
    records = searched(config(), 12)
    expected = proposer(config(), records).next(records)
    repeats = [
        record.model_copy(update={"run": 12 + record.run, "name": "x", "identity": f"r{record.run}", "seed": 1011})
        for record in records
    ]
    found = proposer(config(), [*records, *repeats]).next([*records, *repeats])
    assert expected is not None
    assert found is not None
    assert (found.identity, found.number) == (expected.identity, 24)


def test_start_with_comes_before_proposals_and_counts(config: Any) -> None:
    start = [{"training_spec": {"learning_rate": 1e-3, "optimizer": "Adam"}}, {"model_spec.dim_model": 64}]
    plan = make_plan(config(4, start_with=start), metadata())
    assert [(run.number, run.config.model_spec.dim_model) for run in plan.runs] == [(0, 16), (1, 64)]
    assert plan.n_to_propose == 2
    proposed = Proposer(plan, metadata()).next([])
    assert proposed is not None
    assert proposed.number == 2
    records = searched(config(4, start_with=start), 2, [record_of(run) for run in plan.runs])
    assert proposer(config(2, start_with=start), records).next(records) is None


def test_the_extremes_of_every_dimension_are_validated_before_anything_starts(config: Any) -> None:
    one_cycle = {"name": "OneCycleLR", "max_lr": 0.01, "total_steps": {"low": 5, "high": 20}}
    with pytest.raises(ConfigError, match="OneCycleLR has 5 steps, the run has 10 epochs"):
        make_plan(config(training={"scheduler": one_cycle}), metadata())
    # Only together: an odd head width, and rope.
    odd = {"dim_model": [16, 12], "n_head": [4, 4], "positional_encoding": ["learned", "rope"]}
    with pytest.raises(ConfigError, match="rope needs an even head width"):
        make_plan(config(model=odd), metadata())
    with pytest.raises(ConfigError, match="`lenght` is not in the preprocessed data"):
        make_plan(config(input_columns=[["kind"], ["kind", "lenght"]]), metadata())


def test_extremes_are_every_value_of_a_list_and_the_ends_of_a_range_pair_by_pair(config: Any) -> None:
    space = build_space(config())
    found = {tuple(sorted((key, str(value)) for key, value in space.values(cell).items())) for cell in space.extremes()}
    assert len(found) == len(list(space.extremes()))
    rates = {dict(each)["training_spec.learning_rate"] for each in found}
    assert rates == {"1e-05", "0.1"}
    pairs = {(dict(each)["model_spec.dim_model"], dict(each)["model_spec.num_layers"]) for each in found}
    assert len(pairs) == 9
    large = build_space(
        config(
            training={
                field: [*range(1, 99)] for field in ("batch_size", "warmup_steps", "max_steps", "accumulation_steps")
            }
        )
    )
    assert len(list(large.extremes())) < MAX_EXTREMES


def test_an_invalid_cell_between_the_extremes_is_passed_over(config: Any) -> None:
    widths = {"model": {"dim_model": {"low": 4, "high": 40}, "n_head": 4}, "training": {}}
    asked = proposer(config(9, **widths))
    records: list[Record] = []
    while (run := asked.next(records)) is not None:
        write(run, config(9, **widths))
        records.append(record_of(run))
    assert [record.run for record in records] == list(range(9))
    assert any("is not divisible by n_head: 4" in reason for reason in asked.refused)
    assert set(asked.refused.values()) == {1}, "each width is one cell, however often it is proposed"
