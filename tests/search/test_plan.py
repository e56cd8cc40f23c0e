"""What a search would run: merging, numbering, growing, and the files it writes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.artifacts.ledger import Record
from sequifier.config.identity import identity
from sequifier.config.loading.load import load
from sequifier.config.resolve import resolve
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, RunError
from sequifier.search import distinct_runs
from sequifier.search.estimate import disk_use
from sequifier.search.expand import Expander
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Difference, Plan, Replacement
from sequifier.search.proposals import Proposer
from sequifier.search.run_file import set_threads, write_run_files
from tests.support.searches import FINGERPRINT, metadata, plan_of, record_of, search, started


def ledger_of(*plans: Plan) -> list[Record]:
    return [record_of(run) for each in plans for run in each.new]


def test_runs_are_numbered_from_0_in_grid_order() -> None:
    found = plan_of(search(model={"num_layers": [1, 2]}, training={"dropout": [0.0, 0.1]}))
    assert [(run.number, run.name, run.changed) for run in found.runs] == [
        (0, "demo-run-0", {"dropout": 0.0, "num_layers": 1}),
        (1, "demo-run-1", {"dropout": 0.0, "num_layers": 2}),
        (2, "demo-run-2", {"dropout": 0.1, "num_layers": 1}),
        (3, "demo-run-3", {"dropout": 0.1, "num_layers": 2}),
    ]
    assert [run.config.model_name for run in found.runs] == [run.name for run in found.runs]
    assert found.runs[3].path == Path("configs/hp_search/demo-run-3.yaml")
    assert (found.n_cells, found.fingerprint, found.seed) == (4, FINGERPRINT, 1010)


def test_three_linked_widths_by_2_by_2_by_2_are_24_runs() -> None:
    found = plan_of(
        search(
            model={
                "dim_model": [16, 32, 64],
                "n_head": [1, 2, 4],
                "num_layers": [1, 2],
                "activation_fn": ["gelu", "relu"],
            },
            training={"batch_size": [8, 16]},
        )
    )
    assert [run.number for run in found.runs] == list(range(24))
    assert len({run.identity for run in found.runs}) == 24
    assert not found.merged


def test_equal_configurations_run_once_and_numbers_have_no_holes() -> None:
    found = plan_of(
        search(
            model={"n_head": 4, "attention_type": ["mha", "gqa"], "n_kv_heads": [None, 2, 3], "num_layers": [1, 2, 1]}
        )
    )
    # num_layers is outside attention_type and n_kv_heads: per depth mha (null, 2, 3) and gqa (null, 2, 3).
    assert [run.number for run in found.runs] == [0, 1, 2, 3]
    kinds = [(run.config.model_spec.num_layers, run.config.model_spec.attention_type) for run in found.runs]
    assert kinds == [(1, "mha"), (1, "gqa"), (2, "mha"), (2, "gqa")]
    assert found.n_cells == 18 == len(found.runs) + len(found.merged)
    first, second = found.merged[0], found.merged[-1]
    assert (first.run, first.values) == (0, {"num_layers": 1, "attention_type": "mha", "n_kv_heads": 2})
    assert first.reason == "mha has one group per head: n_kv_heads 2 -> null"
    assert (second.run, second.values) == (0, {"num_layers": 1, "attention_type": "gqa", "n_kv_heads": 3})
    again = next(
        cell for cell in found.merged if cell.values == {"num_layers": 1, "attention_type": "gqa", "n_kv_heads": 2}
    )
    assert (again.run, again.reason) == (1, "the same values are given twice")


def test_a_duplicate_is_explained_by_the_values_that_are_written_differently() -> None:
    """That columns are not in the order of the model holds for both cells, so it is not why they are equal."""
    found = plan_of(search(input_columns=[["length", "kind"], ["length", "kind"]]))
    assert [cell.reason for cell in found.merged] == ["the same values are given twice"]
    found = plan_of(search(input_columns=[None, ["kind", "length"], ["length", "kind"]]))
    assert [cell.reason for cell in found.merged] == [
        "input_columns null is [kind, length]",
        "input_columns null is [kind, length]; a model reads categorical input columns before real ones",
    ]


def test_a_range_is_combined_with_the_lists_of_its_group() -> None:
    training = {"learning_rate": {"low": 1e-4, "high": 3e-4, "step": 1e-4}, "scheduler": ["StepLR", "ExponentialLR"]}
    training["scheduler"] = [{"name": "StepLR", "step_size": 1}, {"name": "ExponentialLR", "gamma": 0.9}]
    found = plan_of(search(training=training))
    assert [(run.changed["learning_rate"], run.config.training_spec.scheduler.name) for run in found.runs] == [
        (rate, name) for name in ("StepLR", "ExponentialLR") for rate in (1e-4, 2e-4, 3e-4)
    ]
    assert "learning_rate is a range: it is combined with each of the 2 values of scheduler" in found.notes


def test_independent_lists_are_combined_and_equal_runs_have_equal_identities() -> None:
    training = {"learning_rate": [1e-3, 1e-4], "epochs": [1, 2, 3]}
    found = plan_of(search(training=training, independent=["learning_rate"]))
    values = [(run.config.training_spec.learning_rate, run.config.training_spec.epochs) for run in found.runs]
    assert values == [(rate, epochs) for rate in (1e-3, 1e-4) for epochs in (1, 2, 3)]
    alone = plan_of(search(training={"learning_rate": 1e-4, "epochs": 2}))
    assert alone.runs[0].identity == found.runs[4].identity


@pytest.mark.parametrize(
    "root", [{}, {"search_strategy": "sample", "n_samples": 50}, {"search_strategy": "sample", "n_samples": 4}]
)
def test_widths_that_their_heads_do_not_divide_are_left_out_and_counted(root: dict[str, Any]) -> None:
    model = {"dim_model": [8, 12, 14, 16], "n_head": [2, 3], "positional_encoding": ["learned", "rope"]}
    found = plan_of(search(model=model, independent=["dim_model", "n_head"], **root))
    shapes = {(run.config.model_spec.dim_model, run.config.model_spec.n_head) for run in found.runs}
    assert shapes <= {(8, 2), (12, 2), (12, 3), (14, 2), (16, 2)}
    if root.get("n_samples") == 4:
        assert len(found.runs) == 4
        return
    # 14 / 2 is odd, which rope cannot have; 8, 14 and 16 are no multiples of 3.
    assert len(found.runs) == 9
    assert any(
        note.startswith("7 cells are left out: dim_model and n_head do not fit together (") for note in found.notes
    )


def test_a_range_of_widths_goes_with_a_list_of_heads() -> None:
    model = {"dim_model": {"low": 8, "high": 256, "log": True}, "n_head": [2, 4]}
    found = plan_of(search(model=model, search_strategy="sample", n_samples=10))
    assert len(found.runs) == 10
    assert {run.config.model_spec.n_head for run in found.runs} == {2, 4}
    assert [run.identity for run in plan_of(search(model=model, search_strategy="sample", n_samples=6)).runs] == [
        run.identity for run in found.runs[:6]
    ]


def test_a_backbone_none_of_which_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of the 2 cells tried is a model, for example dim_model: 8"):
        plan_of(search(model={"dim_model": [8, 16], "n_head": 3}, independent=["dim_model"]))


def test_a_bayesian_search_passes_over_widths_that_do_not_fit() -> None:
    model = {"dim_model": [8, 9, 10, 11], "n_head": [2, 4]}
    config = search(model=model, independent=["n_head"], search_strategy="bayesian", n_samples=3)
    proposer = Proposer(plan_of(config), metadata())
    records: list[Record] = []
    while (run := proposer.next(records)) is not None:
        records.append(record_of(run))
        assert run.config.model_spec.dim_model % run.config.model_spec.n_head == 0
    assert len(records) == 3  # 8 with 2 and 4, 10 with 2


def test_reverted_heads_are_listed_with_the_runs_that_they_concern() -> None:
    found = plan_of(search(model={"dim_model": [24, 32], "n_head": [3, 4], "attention_type": "gqa", "n_kv_heads": 2}))
    assert found.changes == {"n_kv_heads 2 does not divide n_head 3: gqa -> mha, n_kv_heads -> null": (0,)}


def test_batches_that_make_the_same_step_are_not_merged() -> None:
    found = plan_of(search(training={"batch_size": [128, 64], "accumulation_steps": [1, 2]}))
    assert len(found.runs) == 4


def test_the_same_search_finds_the_same_runs() -> None:
    config = search(training={"dropout": [0.0, 0.1, 0.2]})
    first = plan_of(config)
    again = plan_of(config, ledger_of(first))
    assert [(run.number, run.identity) for run in again.runs] == [(run.number, run.identity) for run in first.runs]
    assert (again.new, len(again.kept), again.earlier) == ((), 3, ())


def test_added_values_are_new_runs_under_new_numbers() -> None:
    first = plan_of(search(training={"dropout": [0.1, 0.2]}))
    more = plan_of(search(training={"dropout": [0.0, 0.1, 0.15, 0.2]}), ledger_of(first))
    assert {run.number: run.config.training_spec.dropout for run in more.runs} == {0: 0.1, 1: 0.2, 2: 0.0, 3: 0.15}
    assert [run.number for run in more.new] == [2, 3]


def test_numbers_follow_the_ledger_even_where_it_has_only_part_of_the_runs() -> None:
    config = search(training={"dropout": [0.0, 0.1, 0.2, 0.3]})
    first = plan_of(config)
    assert plan_of(config, ledger_of(first)[:2]).runs[2:] == first.runs[2:]


def test_a_value_that_was_taken_away_leaves_its_run_in_the_results(tmp_path: Path) -> None:
    root = {"project_root": str(tmp_path)}
    first = plan_of(search(training={"dropout": [0.1, 0.2], "batch_size": 8}, **root))
    write_run_files(first)
    second = plan_of(search(training={"dropout": [0.1], "batch_size": 16}, **root), ledger_of(first))
    assert [(run.number, run.changed) for run in second.runs] == [(2, {"batch_size": 16, "dropout": 0.1})]
    assert [(run.record.run, run.changed) for run in second.earlier] == [
        (0, {"batch_size": 8, "dropout": 0.1}),
        (1, {"batch_size": 8, "dropout": 0.2}),
    ]


def test_other_data_stop_the_search() -> None:
    first = plan_of(search())
    with pytest.raises(RunError, match=f"trained on data {FINGERPRINT}, the metadata says fedcba"):
        make_plan(search(), metadata("fedcba9876543210"), records=ledger_of(first))


def sample(n_samples: int, **values: Any) -> SearchConfig:
    training = {"warmup_steps": {"low": 0, "high": 9}, "batch_size": {"low": 1, "high": 10}}
    return search(**{"search_strategy": "sample", "n_samples": n_samples, "training": training} | values)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 20), st.integers(0, 15), st.integers(0, 2**40))
def test_a_sample_that_grows_keeps_its_runs_and_their_numbers(short: int, more: int, seed: int) -> None:
    first = plan_of(sample(short, seed=seed))
    grown = plan_of(sample(short + more, seed=seed), ledger_of(first))
    assert [run.identity for run in grown.runs[:short]] == [run.identity for run in first.runs]
    assert [run.number for run in grown.new] == list(range(short, short + more))
    undisturbed = plan_of(sample(short + more, seed=seed))
    assert [run.identity for run in grown.runs] == [run.identity for run in undisturbed.runs]


def test_sampler_seed_draws_and_seed_trains() -> None:
    one, other = plan_of(sample(10, sampler_seed=3)), plan_of(sample(10, sampler_seed=3, seed=5))
    changes = [[run.changed for run in each.runs] for each in (one, other)]
    assert changes[0] == changes[1]
    assert {run.config.seed for run in one.runs} == {1010}
    assert {run.config.seed for run in other.runs} == {5}


def test_a_sample_larger_than_the_space_runs_each_configuration_once_and_says_so() -> None:
    model = {"n_head": 4, "attention_type": ["mha", "gqa"], "n_kv_heads": [None, 2]}
    found = plan_of(search(search_strategy="sample", n_samples=50, model=model))
    assert len(found.runs) == 2
    assert found.notes[-1] == ("the space is exhausted: n_samples is 50, but there are only 2 distinct configurations")


def test_a_sample_of_as_many_as_there_are_says_nothing() -> None:
    found = plan_of(search(search_strategy="sample", n_samples=4, training={"dropout": [0.0, 0.1, 0.2, 0.3]}))
    assert (len(found.runs), found.notes) == (4, ())


def test_a_range_without_end_that_gives_few_values_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct_runs, "MAX_REPETITIONS", 50)
    layers = {"low": 1, "high": 4, "log": True}
    found = plan_of(search(search_strategy="sample", n_samples=9, model={"num_layers": layers}))
    assert sorted(run.config.model_spec.num_layers for run in found.runs) == [1, 2, 3, 4]
    assert "exhausted" in found.notes[-1]
    assert found.n_cells is None


def test_n_samples_counts_the_runs_of_the_ledger() -> None:
    first = plan_of(sample(5))
    wider = {"training": {"warmup_steps": {"low": 0, "high": 9}, "batch_size": {"low": 1, "high": 20}}}
    same_total = plan_of(sample(5, **wider), ledger_of(first))
    assert same_total.new == ()
    assert "raise n_samples to run more" in same_total.notes[-1]
    assert [run.number for run in plan_of(sample(8, **wider), ledger_of(first)).new] == [5, 6, 7]


def test_a_space_of_10_to_the_12_is_planned_without_being_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    training = {
        field: {"low": 1, "high": 1000} for field in ("batch_size", "warmup_steps", "max_steps", "accumulation_steps")
    }
    expanded = 0
    original = Expander.expand

    def counted(self: Any, cell: Any) -> Any:
        nonlocal expanded
        expanded += 1
        return original(self, cell)

    monkeypatch.setattr(Expander, "expand", counted)
    found = plan_of(search(search_strategy="sample", n_samples=50, training=training))
    assert (len(found.runs), expanded, found.n_cells) == (50, 50, 10**12)


def test_a_grid_too_large_to_run_is_refused() -> None:
    fields = ("batch_size", "warmup_steps", "max_steps")
    with pytest.raises(ConfigError, match="the grid has 1,000,000,000 cells"):
        plan_of(search(training={field: {"low": 1, "high": 1000} for field in fields}))


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ({"repeats": 10**9}, "repeats`: 2 configurations x 1,000,000,000 are more runs than can be trained"),
        ({"search_strategy": "sample", "n_samples": 10**9}, "n_samples`: 1,000,000,000 configurations"),
        ({"search_strategy": "bayesian", "n_samples": 10**9}, "n_samples`: 1,000,000,000 configurations"),
        ({"search_strategy": "bayesian", "n_samples": 10, "repeats": 10**6}, "repeats`: 10 configurations x 1,000,000"),
    ],
)
def test_more_runs_than_anybody_can_train_are_refused_before_any_is_planned(root: dict[str, Any], message: str) -> None:
    dropout: Any = [0.1, 0.2] if root.get("search_strategy") is None else {"low": 0, "high": 0.5}
    with pytest.raises(ConfigError, match=message):
        plan_of(search(training={"dropout": dropout}, **root))


def test_many_samples_and_confirmations_of_a_small_space_are_what_there_is() -> None:
    config = search(training={"dropout": [0.1, 0.2]}, search_strategy="sample", n_samples=10**9, confirm_top=10**9)
    found = plan_of(config)
    assert len(found.runs) == 2
    assert disk_use(found).others < 10**8


def test_windows_far_longer_than_the_sequences_are_noted() -> None:
    found = plan_of(search(seq_length=[8, 5000]))  # 80 events in 4 sequences
    (note,) = [note for note in found.notes if "padding" in note]
    assert note.startswith("seq_length 5,000: the training sequences have 20 events on average, so most of each window")


def test_n_samples_is_ignored_for_a_grid_with_a_note() -> None:
    assert plan_of(search(n_samples=3)).notes == ("n_samples: 3 is ignored: a grid runs every cell",)


def test_what_the_data_refuse_is_reported_at_once_and_once_each() -> None:
    config = search(
        input_columns=[["kind"], ["kid"], ["lenght"]], training={"dropout": [0.0, 0.1], "class_weights": {"kind": [1]}}
    )
    with pytest.raises(ConfigError) as caught:
        plan_of(config)
    assert [problem.key for problem in caught.value.problems] == [
        "training_hyperparameter_sampling.class_weights.kind",
        "input_columns[1]",
        "input_columns[2]",
    ]


def test_no_seed_draws_one_and_the_ledger_remembers_it() -> None:
    config = search(seed=None, training={"dropout": [0.0, 0.1]})
    first = plan_of(config)
    assert [run.config.seed for run in first.runs] == [first.seed, first.seed]
    assert plan_of(config, ledger_of(first)).seed == first.seed
    assert plan_of(config, ledger_of(first)).new == ()


def test_start_with_is_tried_first_and_a_cell_that_says_the_same_is_the_same_run() -> None:
    training = {"dropout": [0.0, 0.1], "learning_rate": [1e-3, 1e-4], "epochs": [2, 3]}
    start = [{"training_spec.dropout": 0.1}, {"training_spec": {"learning_rate": 1e-4}}, {"seq_length": 4}]
    found = plan_of(search(training=training, start_with=start))
    values = [
        (run.config.training_spec.dropout, run.config.training_spec.epochs, run.config.seq_length) for run in found.runs
    ]
    # What is left out is the first value; the epochs of a learning rate are those linked with it.
    assert values == [(0.1, 2, 8), (0.0, 3, 8), (0.0, 2, 4), (0.0, 2, 8), (0.1, 3, 8)]
    assert found.merged == ()
    assert plan_of(search(training=training)).difference().new == (0, 1, 2, 3)


def test_start_with_counts_in_n_samples() -> None:
    start = [{"training_spec.batch_size": 99}, {"training_spec.batch_size": 3}]
    found = plan_of(sample(4, start_with=start))
    assert [run.config.training_spec.batch_size for run in found.runs[:2]] == [99, 3]
    assert len(found.runs) == 4
    alone = [run.identity for run in plan_of(sample(4)).runs]
    assert [run.identity for run in found.runs[2:]] == alone[:2]
    again = plan_of(sample(6, start_with=start), ledger_of(found))
    assert [run.number for run in again.new] == [4, 5]
    none_left = plan_of(sample(1, start_with=start))
    assert len(none_left.runs) == 1
    assert "start_with[1] is left out: n_samples is 1" in none_left.notes


def test_start_with_that_says_one_thing_twice_runs_it_once() -> None:
    found = plan_of(search(start_with=[{"training_spec.dropout": 0.5}, {"training_spec": {"dropout": 0.5}}]))
    assert [run.config.training_spec.dropout for run in found.runs] == [0.5, 0.0]
    assert found.notes == ("start_with[1] is the same run as an earlier entry",)


def test_start_with_takes_run_files_of_other_searches(tmp_path: Path) -> None:
    root = {"project_root": str(tmp_path)}
    earlier = plan_of(search(training={"dropout": [0.2, 0.3], "epochs": 4}, hp_search_name="old", seed=5, **root))
    write_run_files(earlier)
    file = "configs/hp_search/old-run-1.yaml"
    found = plan_of(search(training={"dropout": [0.0, 0.1], "device": "cpu"}, start_with=[file], **root))
    first = found.runs[0].config
    # What a search may vary is the file's; the seed, the device and the rest are those of this search.
    assert (first.training_spec.dropout, first.training_spec.epochs, first.seed) == (0.3, 4, 1010)
    assert (first.training_spec.device, first.model_name) == ("cpu", "demo-run-0")
    # A run that was cut to fit into memory is the one that was planned.
    path = tmp_path / file
    text = path.read_text(encoding="utf-8").replace("batch_size: 64", "batch_size: 32", 1)
    path.write_text(text.replace("effective_batch_size: null", "effective_batch_size: 64"), encoding="utf-8")
    assert plan_of(search(training={"dropout": [0.0, 0.1]}, start_with=[file], **root)).runs[0] == replace(
        found.runs[0],
        config=first.model_copy(update={"training_spec": first.training_spec.model_copy(update={"device": "auto"})}),
    )


def test_start_with_is_validated_like_a_cell_and_the_problem_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "target_columns: [kind]\nmodel_spec:\n  dim_model: 30\n  n_head: 4\n", encoding="utf-8"
    )
    (tmp_path / "other.yaml").write_text("target_columns: [length]\n", encoding="utf-8")
    (tmp_path / "search.yaml").write_text(
        "metadata_config_path: x.json\nhp_search_name: demo\nsearch_strategy: grid\ntarget_columns: [kind]\n"
        f"project_root: {tmp_path}\n"
        "start_with:\n  - model_spec:\n      dim_model: 63\n  - run.yaml\n  - other.yaml\n  - gone.yaml\n",
        encoding="utf-8",
    )
    loaded = load(SearchConfig, tmp_path / "search.yaml")
    with pytest.raises(ConfigError) as caught:
        plan_of(loaded.config)
    found = {problem.source: problem for problem in loaded.located(caught.value).problems}
    assert "63 is not divisible by n_head: 4" in found[f"{tmp_path}/search.yaml:8"].message
    assert "30 is not divisible by n_head: 4" in found[f"{tmp_path}/run.yaml:4"].message
    assert "predicts ['length'], this search ['kind']" in found[f"{tmp_path}/other.yaml:1"].message
    assert "no such file" in found[f"{tmp_path}/search.yaml:11"].message


def test_the_difference_lists_kept_new_changed_and_removed_runs(tmp_path: Path) -> None:
    root = {"project_root": str(tmp_path)}
    first = plan_of(search(training={"dropout": [0.0, 0.1, 0.2], "epochs": 3}, **root))
    write_run_files(first)
    assert first.difference() == Difference(kept=(), new=(0, 1, 2), changed=(), gone=())
    records = ledger_of(first)
    assert plan_of(
        search(training={"dropout": [0.0, 0.1, 0.2], "epochs": 3}, **root), records
    ).difference() == Difference(kept=(0, 1, 2), new=(), changed=(), gone=())
    other = plan_of(search(training={"dropout": [0.1, 0.3], "epochs": 3}, **root), records).difference()
    assert other == Difference(kept=(1,), new=(3,), changed=(), gone=(0, 2))
    longer = plan_of(search(training={"dropout": [0.1, 0.2, 0.3], "epochs": 5}, **root), records).difference()
    epochs = {"training_spec.epochs": (3, 5)}
    assert longer == Difference(
        kept=(), new=(5,), changed=(Replacement(1, 3, epochs), Replacement(2, 4, epochs)), gone=(0,)
    )


def test_without_its_run_file_an_earlier_run_is_gone() -> None:
    first = plan_of(search(training={"dropout": [0.1, 0.2], "epochs": 3}))
    found = plan_of(search(training={"dropout": [0.1, 0.2], "epochs": 5}), ledger_of(first)).difference()
    assert found == Difference(kept=(), new=(2, 3), changed=(), gone=(0, 1))


FIELD_TABLES = """
project_root: {root}
metadata_config_path: configs/metadata_configs/x.json
hp_search_name: my-search
model_config_write_path: configs/hp_search/
search_strategy: {strategy}
n_samples: 20
training_data_path: data/x-split0.parquet
validation_data_path: data/x-split1.parquet

input_columns: [['kind'], ['kind', 'length']]
target_columns: [kind]
seq_length: [24, 48]
target_column_types: {{kind: categorical}}
column_types: [{{kind: String}}, {{kind: String, length: Float64}}]

model_hyperparameter_sampling:
  dim_model: [64, 128]
  num_layers: [2, 3]
  n_head: [4, 8]
  dim_feedforward: [128, 256]
  initial_embedding_dim: [64, 128]
  activation_fn: ['swiglu', 'gelu', 'relu']
  attention_type: ['mha', 'mqa', 'gqa']
  n_kv_heads: [null, 2]
  normalization: ['rmsnorm', 'layer_norm']
  positional_encoding: ['learned', 'rope']

training_hyperparameter_sampling:
  learning_rate: [0.001, 1e-4]
  batch_size: [64, 128]
  epochs: [10, 20]
  dropout: [0.0]
  optimizer: [{{'name': 'AdamW'}}, {{'name': 'AdEMAMix'}}]
  scheduler: [{{name: CosineAnnealingLR, T_max: 10}}, {{name: CosineAnnealingLR, T_max: 20}}]
  accumulation_steps: [1]
"""


@pytest.mark.parametrize("strategy", ["grid", "sample", "bayesian"])
def test_the_field_tables_of_the_guide_typed_in_are_a_search(tmp_path: Path, strategy: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(FIELD_TABLES.format(root=tmp_path, strategy=strategy), encoding="utf-8")
    found = plan_of(load(SearchConfig, path).config)
    assert found.n_cells == 2 * 2 * 2 * 2 * 2 * 2 * 2 * 2 * 3 * 2 * 2 * 3 * 2
    if strategy == "bayesian":
        assert (found.runs, found.n_to_propose) == ((), 20)
        proposed = Proposer(found, metadata()).next([])
        assert proposed is not None
        found = replace(found, runs=(proposed,))
    elif strategy == "grid":
        # mha, mqa with either n_kv_heads and gqa without are 2 forms of attention; gqa with 2 is the third.
        assert len(found.runs) == found.n_cells // 2
    else:
        assert len(found.runs) == 20
    for written in write_run_files(found, limit=20):
        resolve(load(TrainConfig, written).config, metadata())


@pytest.mark.parametrize("strategy", ["sample", "bayesian"])
def test_few_fields_are_a_search(tmp_path: Path, strategy: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(
        "metadata_config_path: x.json\nhp_search_name: few\ntarget_columns: [kind]\nn_samples: 4\n"
        f"search_strategy: {strategy}\nproject_root: {tmp_path}\n"
        "model_hyperparameter_sampling: {dim_model: [32, 64], n_head: [2, 4]}\n"
        "training_hyperparameter_sampling: {learning_rate: [1e-3, 1e-4]}\n",
        encoding="utf-8",
    )
    found = plan_of(load(SearchConfig, path).config)
    assert len(found.runs) + found.n_to_propose == 4
    for written in write_run_files(found):
        resolve(load(TrainConfig, written).config, metadata())


def test_a_run_file_is_a_train_config_that_reproduces_the_identity(tmp_path: Path) -> None:
    config = search(
        project_root=str(tmp_path),
        model={"dim_model": [16, 32], "n_head": 4, "attention_type": "gqa", "n_kv_heads": [None, 2]},
        training={
            "learning_rate": [3e-4, 1e-5],
            "scheduler": [{"name": "CosineAnnealingLR", "T_max": "auto"}, {"name": "StepLR", "step_size": 2}],
            "optimizer": [{"name": "AdamW", "weight_decay": [0.1, 1e-7], "betas": [0.9, 0.95]}, "SGD"],
            "gradient_clip": [None, 1.0],
            "criterion": {"kind": "CrossEntropyLoss"},
        },
        input_columns=[None, ["kind"]],
        column_types=[{"kind": "String", "length": "Float64"}, {"kind": "String"}],
        user={"note": "no", "threshold": 1e-9},
    )
    found = plan_of(config)
    assert len(found.runs) == 96
    written = write_run_files(found)
    assert written == [run.path for run in found.runs]
    for run in found.runs:
        loaded = resolve(load(TrainConfig, run.path).config, metadata())
        assert loaded == run.config
        assert identity(loaded, FINGERPRINT) == run.identity


def test_a_run_file_says_what_it_is_and_holds_every_field_that_the_metadata_does_not_give(tmp_path: Path) -> None:
    found = plan_of(search(project_root=str(tmp_path), training={"dropout": [0.0, 0.1]}))
    write_run_files(found)
    path = found.runs[1].path
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:3] == [
        "# Run 1 of the search demo, written by sequifier hyperparameter-search.",
        f"# Data fingerprint: {FINGERPRINT}",
        f"# Run it alone: sequifier train --config-path {path}",
    ]
    given = {line.split(":")[0].strip() for line in lines if not line.startswith("#")}
    from_metadata = {
        "column_types",
        "categorical_columns",
        "real_columns",
        "n_classes",
        "id_maps",
        "target_column_types",
    }
    assert set(TrainConfig.model_fields) - given == from_metadata
    assert "  dropout: 0.1" in lines
    assert "  keep_checkpoints: 1" in lines


def test_files_of_runs_in_the_ledger_are_left_alone_unless_they_are_gone(tmp_path: Path) -> None:
    config = search(project_root=str(tmp_path), training={"dropout": [0.0, 0.1, 0.2]})
    first = plan_of(config)
    write_run_files(first)
    first.runs[0].path.write_text("# changed to fit into memory\n", encoding="utf-8")
    first.runs[1].path.unlink()
    again = plan_of(config, ledger_of(first)[:2])
    assert write_run_files(again) == [first.runs[1].path, first.runs[2].path]
    assert first.runs[0].path.read_text(encoding="utf-8") == "# changed to fit into memory\n"


def test_threads_are_set_in_a_run_file_and_nothing_else_is_changed(tmp_path: Path) -> None:
    (run,) = started(search(project_root=str(tmp_path))).runs
    planned = run.path.read_text(encoding="utf-8")
    cut = planned.replace("batch_size: 64", "batch_size: 32  # was 64, which ran out of memory")
    run.path.write_text(cut, encoding="utf-8")
    set_threads(run.with_threads(3))
    assert run.path.read_text(encoding="utf-8") == cut.replace("cpu_threads: null", "cpu_threads: 3") != cut
    set_threads(run)
    assert run.path.read_text(encoding="utf-8") == cut
    run.path.write_text(cut.replace("cpu_threads: null\n", ""), encoding="utf-8")
    set_threads(run.with_threads(3))
    assert load(TrainConfig, run.path).config.cpu_threads == 3
    assert run.with_threads(3).identity == run.identity


def test_a_dry_run_may_write_the_first_files_only(tmp_path: Path) -> None:
    found = plan_of(search(project_root=str(tmp_path), training={"warmup_steps": {"low": 0, "high": 9}}))
    assert write_run_files(found, limit=3) == [run.path for run in found.runs[:3]]
    assert sorted(path.name for path in found.runs[0].path.parent.iterdir()) == [f"demo-run-{n}.yaml" for n in range(3)]


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    found = plan_of(search(project_root=str(tmp_path), model_config_write_path="file/below"))
    with pytest.raises(RunError, match=r"cannot write demo-run-0\.yaml"):
        write_run_files(found)


def test_planning_loads_no_heavy_library() -> None:
    import subprocess
    import sys

    code = "import sys, sequifier.search.make_plan, sequifier.search.table; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "polars", "onnx", "optuna", "numpy"} & set(run.stdout.split())
