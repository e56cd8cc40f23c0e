"""Small searches, a data set to plan them on, and records of their runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from sequifier.artifacts.ledger import Record, State
from sequifier.artifacts.metadata import Metadata
from sequifier.config.search import SearchConfig
from sequifier.results.ranking import ranked, with_baselines
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.repeats import with_repeats
from sequifier.search.run_file import write_run_files
from sequifier.search.table import search_table
from tests.support.data_section import data_section

FINGERPRINT = "0123456789abcdef"


def metadata(fingerprint: str = FINGERPRINT) -> Metadata:
    """Return metadata of two columns: `kind` with three categories, and the real `length`."""
    return Metadata(
        n_classes={"kind": 4},
        id_maps={"kind": {"a": 1, "b": 2, "c": 3}},
        split_paths=["data/x-split0.parquet", "data/x-split1.parquet"],
        column_types={"kind": "String", "length": "Float64"},
        selected_columns_statistics={"length": {"std": 1.0, "mean": 0.0}},
        sequifier=data_section(
            ["kind", "length"],
            stride_by_split=[8, 8],
            split_ratios=[0.8, 0.2],
            rows=[80, 20],
            sequences=[4, 4],
            column_hashes=[{}, {}],
            fingerprint=fingerprint,
        ),
    )


def search(*, model: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **root: Any) -> SearchConfig:
    """Return a grid search over the given sections; everything else is small or omitted."""
    values: dict[str, Any] = {
        "metadata_config_path": "configs/metadata_configs/x.json",
        "hp_search_name": "demo",
        "search_strategy": "grid",
        "target_columns": ["kind"],
        "model_hyperparameter_sampling": model or {},
        "training_hyperparameter_sampling": training or {},
    }
    return SearchConfig.model_validate(values | root)


def plan_of(config: SearchConfig, records: list[Record] | None = None) -> Plan:
    return make_plan(config, metadata(), records=records or [])


def started(config: SearchConfig, records: list[Record] | None = None) -> Plan:
    """Plan a search that is started on these records, and write its run files."""
    plan = with_repeats(plan_of(config, records), records or [])
    write_run_files(plan)
    return plan


def record_of(run: PlannedRun, state: State = "finished", *, loss: float | None = None, **values: Any) -> Record:
    """Return a ledger record of a planned run.

    Args:
        run: the planned run.
        state: its state.
        loss: validation loss of its one epoch.
        values: further fields.
    """
    known: dict[str, Any] = {
        "run": run.number,
        "name": run.name,
        "identity": run.identity,
        "data": FINGERPRINT,
        "state": state,
        "batch_size": run.config.training_spec.batch_size,
        "seed": run.config.seed or 0,
    }
    if loss is not None:
        known |= {"best_val_loss": loss, "metrics": {"val_loss": loss}, "curve": [loss]}
    return Record.model_validate(known | values)


def ended(run: PlannedRun, state: State = "finished") -> Record:
    """Return the last record of a run; a finished run has a loss."""
    loss = 1.0 + run.number / 7 if state == "finished" else None
    return record_of(run, state, loss=loss, merge_key=run.merge_key, files={"config": str(run.path)})


def results(
    plan: Plan,
    records: Sequence[Record],
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    *,
    test: Mapping[str, Any] | None = None,
) -> list[Any]:
    """The rows of the ranked table, the baselines among them."""
    table = search_table(plan, records, baselines=baselines, test=test)
    return with_baselines(ranked(table), table)
